"""Batches at APIs that the package has never heard of: nothing missing, nothing twice, whatever is lost or dies."""

import asyncio
import contextlib
import json
import shutil
from collections import Counter
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest

from codegen_async import CodegenClient, HostedRun, HostedRuns, NotOfferedError, Rate
from codegen_async.batch.batch import Batch, export_journal
from codegen_async.batch.items import Outcome, State
from codegen_async.cli.app import run
from codegen_async.errors import InvalidArgumentError, JournalError
from codegen_async.hosted.dialect import Dialect
from codegen_async.models import Phase
from codegen_async.testing import CodegenServer
from tests.batch.helpers import client_of, loop_time
from tests.hosted.api import Api, Keyed, Named, Plain, Tagged
from tests.support.canary import CANARY

pytestmark = pytest.mark.asyncio(loop_factories=["virtual"])

RATES = {"create": Rate(10, 10.0), "read": Rate(1000, 10.0)}
SAFE: list[type[Plain]] = [Named, Keyed, Tagged]


def api_of(dialect: type[Plain], lag: float = 0.0) -> Api:
    return Api(keyed=dialect is Keyed, lag=lag)


@contextlib.asynccontextmanager
async def opened(
    api: Api, path: Path, dialect: Dialect[HostedRun], **options: Any
) -> AsyncGenerator[Batch[HostedRun, str]]:
    """Open a batch with a client of its own, as a new process would."""
    async with (
        HostedRuns(dialect, CANARY, sender=api, rates=RATES) as client,
        Batch(client, path, clock=loop_time, **options) as batch,
    ):
        yield batch


async def run_all(batch: Batch[HostedRun, str], **options: Any) -> list[Outcome[HostedRun, str]]:
    return [outcome async for outcome in batch.run(**options)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "batch.db"


@pytest.mark.parametrize("dialect", [*SAFE, Plain])
async def test_each_item_becomes_a_run_and_comes_to_its_end(path: Path, dialect: type[Plain]) -> None:
    api = api_of(dialect)
    async with opened(api, path, dialect()) as batch:
        for n in range(20):
            batch.add(key=str(n), task=f"do {n}")
        outcomes = await run_all(batch)
    assert len(api.runs) == 20
    assert {outcome.key for outcome in outcomes} == {str(n) for n in range(20)}
    for outcome in outcomes:
        assert outcome.succeeded
        assert outcome.run is not None
        assert outcome.run_id == outcome.run.id
        assert isinstance(outcome.run_id, str)
        assert (outcome.run.phase, outcome.fields) == (Phase.SUCCEEDED, {"task": f"do {outcome.key}"})


@pytest.mark.parametrize("dialect", SAFE)
@pytest.mark.parametrize("lag", [0.0, 10.0])
async def test_lost_answers_make_nothing_missing_and_nothing_twice(
    path: Path, dialect: type[Plain], lag: float
) -> None:
    api = api_of(dialect, lag)
    async with opened(api, path, dialect()) as batch:
        for n in range(12):
            batch.add(key=str(n), task=str(n))
        api.faults = ["", "before", "after", "", "after", "before", "before", "", "after"]
        outcomes = await run_all(batch)
    assert [outcome.state for outcome in outcomes] == [State.ENDED] * 12
    assert len(api.runs) == len({outcome.run_id for outcome in outcomes}) == 12


async def test_where_nothing_helps_a_lost_create_is_unknown_until_a_person_decides(path: Path) -> None:
    api = Api()
    async with opened(api, path, Plain()) as batch:
        for n in range(4):
            batch.add(key=str(n), task=str(n))
        api.faults = ["", "before"]
        outcomes = await run_all(batch)
        assert Counter(outcome.state for outcome in outcomes) == {State.ENDED: 3, State.UNKNOWN: 1}
        (unknown,) = [outcome.key for outcome in outcomes if outcome.state is State.UNKNOWN]
        await batch.resend(unknown)
        (outcome,) = await run_all(batch)
        assert outcome.succeeded
    assert len(api.runs) == 4


@pytest.mark.parametrize("dialect", SAFE)
@pytest.mark.parametrize("seconds", [0.0, 0.5, 1.0, 3.0, 7.0, 12.0, 21.0, 30.0, 45.0, 80.0])
async def test_a_batch_that_is_left_at_any_moment_goes_on_where_it_stood(
    path: Path, dialect: type[Plain], seconds: float
) -> None:
    api = api_of(dialect, lag=2.0)
    api.faults = ["", "after", "before", ""] * 4
    for wait in (seconds, seconds / 2):
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait), opened(api, path, dialect()) as batch:
                for n in range(15):
                    batch.add(key=str(n), task=str(n))
                await batch.save()
                await run_all(batch)
    async with opened(api, path, dialect()) as batch:
        for n in range(15):
            batch.add(key=str(n), task=str(n))
        await run_all(batch)
        status = await batch.status()
    assert status[State.ENDED] + status[State.UNKNOWN] == 15
    assert len(api.runs) == status[State.ENDED]
    if dialect is not Tagged:  # of the very first create, nothing was there before to tell that a search would show it
        assert status[State.UNKNOWN] == 0


async def test_what_failed_is_tried_again_with_a_run_of_its_own(path: Path) -> None:
    api = Api()
    api.script = lambda run: "done/badly" if run["life"] == 1 else "done/ok"
    async with opened(api, path, Tagged()) as batch:
        batch.add(key="a", task="a", life=1)
        (first,) = await run_all(batch)
        assert first.run is not None
        assert first.run.phase is Phase.FAILED
        api.script = lambda _: "done/ok"
        assert await batch.retry("a") == ("a",)
        (second,) = await run_all(batch)
    assert second.succeeded
    assert (second.attempts, second.run_id == first.run_id) == (2, False)


@pytest.mark.parametrize("dialect", [Named, Tagged])
async def test_an_audit_asks_for_the_run_of_each_key(path: Path, dialect: type[Plain]) -> None:
    api = Api()
    async with opened(api, path, dialect()) as batch:
        for n in range(3):
            batch.add(key=str(n), task=str(n))
        outcomes = await run_all(batch)
        report = await batch.audit()
        assert (report.ok, report.items, report.runs) == (True, 3, 3)
        lost = outcomes[1]
        del api.runs[lost.run_id or ""]
        assert (await batch.audit()).missing == [lost.key]


async def test_where_keys_are_not_shown_there_is_no_audit(path: Path) -> None:
    async with opened(Api(), path, Plain()) as batch:
        with pytest.raises(NotOfferedError, match="plain has no search for keys"):
            await batch.audit()


async def test_a_journal_is_exported_without_its_dialect(path: Path, tmp_path: Path) -> None:
    async with opened(Api(), path, Tagged()) as batch:
        batch.add(key="a", task="a")
        await run_all(batch)
    for kind in ("jsonl", "csv", "tsv", "json"):
        assert await export_journal(path, tmp_path / f"out.{kind}") == 1
    (text,) = (await asyncio.to_thread((tmp_path / "out.jsonl").read_text)).splitlines()
    line = json.loads(text)
    told = {name: line[name] for name in ("key", "run_id", "status", "phase", "cost", "cost_unit", "fields")}
    assert told == {
        "key": "a",
        "run_id": "run/0",
        "status": "done/ok",
        "phase": "succeeded",
        "cost": 0.25,
        "cost_unit": "USD",
        "fields": {"task": "a"},
    }


class Other(Tagged):
    name = "other"


async def test_the_journal_of_one_api_is_refused_with_another(path: Path, codegen_server: CodegenServer) -> None:
    async with opened(Api(), path, Tagged()) as batch:
        batch.add(key="a", task="a")  # planned is enough: another API takes other fields
    with pytest.raises(JournalError, match=r"belongs to plain at .*, and this is other at"):
        async with opened(Api(), path, Other()):
            pass
    with pytest.raises(JournalError, match=r"belongs to plain at .*, and this is organization"):
        async with client_of(codegen_server) as client, Batch(client, path, clock=loop_time):
            pass


async def test_a_journal_of_codegen_is_refused_with_a_dialect(path: Path, codegen_server: CodegenServer) -> None:
    client: CodegenClient
    async with client_of(codegen_server) as client, Batch(client, path, clock=loop_time) as batch:
        batch.add("do", key="a")
    with pytest.raises(JournalError, match=r"belongs to organization .*, and this is plain at"):
        async with opened(Api(), path, Tagged()):
            pass


async def test_the_journal_of_one_server_is_refused_with_another(path: Path) -> None:
    async with opened(Api(), path, Tagged()) as batch:
        batch.add(key="a", task="a")
        await run_all(batch)
    async with HostedRuns(Tagged(), CANARY, sender=Api(), base_url="http://127.0.0.1:10") as client:
        with pytest.raises(JournalError, match="where its runs are not"):
            async with Batch(client, path, clock=loop_time):
                pass


async def test_fields_that_cannot_be_sent_are_refused_when_they_are_added(path: Path) -> None:
    async with opened(Api(), path, Tagged()) as batch:
        with pytest.raises(InvalidArgumentError, match="fields"):
            batch.add(key="a", task=object())
        assert sum((await batch.status()).values()) == 0


@pytest.mark.parametrize("dialect", SAFE)
async def test_a_copy_makes_no_second_run_for_what_the_original_has_sent(
    path: Path, tmp_path: Path, dialect: type[Plain]
) -> None:
    api = api_of(dialect)
    async with opened(api, path, dialect()) as batch:
        batch.add(key="first", task="first")
        await run_all(batch)
        batch.add(key="second", task="second")
    copy = tmp_path / "copy.db"
    await asyncio.to_thread(shutil.copy, path, copy)
    async with opened(api, path, dialect()) as batch:
        await run_all(batch)
    assert len(api.runs) == 2
    async with opened(api, copy, dialect()) as batch:
        await run_all(batch)
    assert len(api.runs) == 2


async def test_a_copy_is_refused_where_nothing_tells_what_the_original_has_sent(path: Path, tmp_path: Path) -> None:
    api = Api()
    async with opened(api, path, Plain()) as batch:
        batch.add(key="a", task="a")
    copy = tmp_path / "copy.db"
    await asyncio.to_thread(shutil.copy, path, copy)
    async with opened(api, path, Plain()) as batch:
        await run_all(batch)
    async with opened(api, copy, Plain()) as batch:
        with pytest.raises(JournalError, match="is a copy"):
            await run_all(batch)
    assert len(api.runs) == 1


async def test_the_commands_that_read_a_journal_need_no_dialect(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async with opened(Api(), path, Tagged()) as batch:
        batch.add(key="a", task="do a")
        batch.add(key="b", task="do b")
        await run_all(batch)
    said: list[str] = []
    for words in (["list"], ["list", "--json"], ["status"], ["export", "--format", "jsonl"]):
        more = ["-"] if words[0] == "export" else []
        assert await asyncio.to_thread(run, ["batch", words[0], str(path), *more, *words[1:]]) == 0
        said.append(capsys.readouterr().out)
    listed, as_json, standing, exported = said
    assert [line.split()[:3] for line in listed.splitlines()] == [
        ["a", "run/0", "succeeded"],
        ["b", "run/1", "succeeded"],
    ]
    assert [item["run_id"] for item in json.loads(as_json)] == ["run/0", "run/1"]
    assert "succeeded\t2" in standing
    assert [json.loads(line)["fields"] for line in exported.splitlines()] == [{"task": "do a"}, {"task": "do b"}]
