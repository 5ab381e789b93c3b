"""The audit finds what does not fit, and only that."""

from collections.abc import Callable
from pathlib import Path

import pytest

from codegen_async.batch.items import idempotency_key
from codegen_async.codegen.searching import IDEMPOTENCY_KEY
from codegen_async.testing import CodegenServer
from tests.batch.helpers import SHORT, opened, run_all
from tests.support.odd import Odd

pytestmark = pytest.mark.asyncio(loop_factories=["virtual"])


async def test_runs_of_others_are_no_concern_of_a_batch(codegen_server: CodegenServer, tmp_path: Path) -> None:
    world = codegen_server.world
    world.script = SHORT
    world.create("somebody else's")
    async with opened(codegen_server, tmp_path / "one.db") as one, opened(codegen_server, tmp_path / "two.db") as two:
        for batch in (one, two):
            for n in range(3):
                batch.add(f"do {n}")
        await run_all(one)
        await run_all(two)
        world.create("with a key", metadata={IDEMPOTENCY_KEY: "0123"})
        world.create("with an odd key", metadata={IDEMPOTENCY_KEY: 5})
        report = await one.audit()
    assert (report.ok, report.items, report.runs) == (True, 3, 3)


async def test_an_audit_before_anything_was_sent_is_fine(codegen_server: CodegenServer, tmp_path: Path) -> None:
    async with opened(codegen_server, tmp_path / "one.db") as batch:
        batch.add("do")
        report = await batch.audit()
    assert (report.ok, report.runs) == (True, 0)


async def test_missing_doubled_unrecorded_and_foreign_runs_are_found(
    codegen_server: CodegenServer, tmp_path: Path
) -> None:
    world = codegen_server.world
    world.script = SHORT
    async with opened(codegen_server, tmp_path / "one.db") as batch:
        for name in ("good", "missing", "doubled"):
            batch.add(name, key=name)
        outcomes = {outcome.key: outcome for outcome in await run_all(batch)}
        batch.add("refused", key="refused", agent_type="none such")
        await run_all(batch)
        keys = {run.prompt: (run.metadata or {})[IDEMPOTENCY_KEY] for run in world.runs.values()}
        world.delete(outcomes["missing"].run_id or 0)
        second = world.create("doubled", metadata={IDEMPOTENCY_KEY: keys["doubled"]})
        batch_id = keys["good"].split("-")[0]
        foreign = world.create("foreign", metadata={IDEMPOTENCY_KEY: f"{batch_id}-{'0' * 16}-1"})
        refused = world.create("late", metadata={IDEMPOTENCY_KEY: idempotency_key(batch_id, "refused", 1)})
        report = await batch.audit()
    assert not report.ok
    assert report.missing == ("missing",)
    assert report.duplicates == {"doubled": [outcomes["doubled"].run_id, second.id]}
    assert report.unrecorded == {"refused": refused.id}
    assert report.foreign == (foreign.id,)
    assert (report.items, report.runs) == (4, 5)


def _late(seconds: float) -> Callable[[Odd], None]:
    def bend(server: Odd) -> None:
        server.row = lambda run, row: None if server.world.now() < run.created + seconds else row

    return bend


def _strip(server: Odd) -> None:
    server.row = lambda _, row: {**row, "metadata": None}


def _cut(server: Odd) -> None:
    server.row = lambda _, row: {**row, "metadata": {IDEMPOTENCY_KEY: row["metadata"][IDEMPOTENCY_KEY][:9]}}


def _spoil(server: Odd) -> None:
    server.row = lambda run, row: {**row, "id": "?"} if run.prompt == "do 1" else row


@pytest.mark.parametrize(
    ("bend", "complete"),
    [(_late(40.0), True), (_late(1e9), False), (_strip, False), (_cut, False), (_spoil, False)],
    ids=["late", "never", "without keys", "with cut keys", "a row that cannot be read"],
)
async def test_no_run_is_missing_that_the_server_has_whatever_its_list_shows(
    tmp_path: Path, bend: Callable[[Odd], None], complete: bool
) -> None:
    async with Odd() as server, opened(server, tmp_path / "one.db") as batch:
        for n in range(3):
            batch.add(f"do {n}")
        await run_all(batch)
        bend(server)
        report = await batch.audit()
    assert (report.missing, report.unproven, report.complete) == ((), (), complete)
    assert report.ok == complete


async def test_what_neither_the_list_nor_the_run_shows_is_told_as_unproven(tmp_path: Path) -> None:
    async with Odd() as server, opened(server, tmp_path / "one.db") as batch:
        for n in range(3):
            batch.add(f"do {n}", key=str(n))
        outcomes = {outcome.key: outcome.run_id or 0 for outcome in await run_all(batch)}
        server.world.runs[outcomes["1"]].metadata = None
        server.world.delete(outcomes["2"])
        report = await batch.audit()
    assert (report.missing, report.unproven, report.ok) == (("2",), ("1",), False)
