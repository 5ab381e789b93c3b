"""A word that nobody knows is told of as long as a run sits in it, and can be taught."""

import asyncio
import copy
import pickle
from typing import Any

import msgspec
import pytest

from codegen_async import CodegenClient, ConfigurationError, MiddeskClient, Phase
from codegen_async.testing import CodegenServer, MiddeskServer
from tests.middesk.helpers import client_of
from tests.support.canary import CANARY

pytestmark = pytest.mark.asyncio(loop_factories=["virtual"])


def lines(caplog: pytest.LogCaptureFixture, word: str) -> list[str]:
    found = [record.getMessage() for record in caplog.records if word in record.getMessage()]
    return [line for line in found if line.startswith("waiting: run ")]


def codegen(server: CodegenServer, **options: Any) -> CodegenClient:
    return CodegenClient(CANARY, org_id=server.org_id, base_url=server.url, **options)


async def test_a_run_in_an_unknown_word_is_told_of_at_once_and_hourly(
    codegen_server: CodegenServer, caplog: pytest.LogCaptureFixture
) -> None:
    run = codegen_server.world.create("x", script=[(0.0, "ACTIVE"), (60.0, "MAROONED")])
    async with codegen(codegen_server) as client:
        wait = asyncio.ensure_future(client.wait_for_run(run.id))
        await asyncio.sleep(70)
        (line,) = lines(caplog, "MAROONED")
        assert str(run.id) in line
        await asyncio.sleep(3000)
        assert len(lines(caplog, "MAROONED")) == 1
        await asyncio.sleep(7200)
        assert len(lines(caplog, "MAROONED")) == 3
        codegen_server.world.end(run.id)
        await wait


async def test_many_runs_in_unknown_words_do_not_flood_the_log(
    codegen_server: CodegenServer, caplog: pytest.LogCaptureFixture
) -> None:
    ids = [codegen_server.world.create("x", script=[(0.0, "STRANDED")]).id for _ in range(60)]
    async with codegen(codegen_server) as client:
        wait = asyncio.ensure_future(client.wait_for_runs(ids))
        await asyncio.sleep(600)
        assert len(lines(caplog, "STRANDED")) == 20
        assert "not named" in lines(caplog, "STRANDED")[-1]
        wait.cancel()


@pytest.mark.parametrize("word", ["ABORTED", "aborted", " Aborted "])
@pytest.mark.parametrize("runs", [1, 30])
async def test_a_word_can_be_taught(
    codegen_server: CodegenServer, word: str, runs: int, caplog: pytest.LogCaptureFixture
) -> None:
    ids = [codegen_server.world.create("x", script=[(0.0, "ACTIVE"), (60.0, "ABORTED")]).id for _ in range(runs)]
    async with codegen(codegen_server, phases={word: Phase.FAILED}) as client:
        assert {run.phase for run in await client.wait_for_runs(ids)} == {Phase.FAILED}
        assert (await client.get_run(ids[0], max_age=0)).phase is Phase.FAILED
        page = await client.list_runs_page()
        assert {run.phase for run in page.items} == {Phase.FAILED}
        assert (await client.run_logs_page(ids[0])).phase is Phase.FAILED
    assert lines(caplog, "ABORTED") == []


async def test_what_one_client_was_taught_no_other_knows(codegen_server: CodegenServer) -> None:
    run = codegen_server.world.create("x", script=[(0.0, "CASTAWAY")])
    async with (
        codegen(codegen_server, phases={"CASTAWAY": "blocked"}) as taught,
        codegen(codegen_server) as other,
    ):
        assert (await taught.get_run(run.id)).phase is Phase.BLOCKED
        assert (await other.get_run(run.id)).phase is Phase.RUNNING


async def test_a_known_word_can_be_taught_anew(codegen_server: CodegenServer) -> None:
    run = codegen_server.world.create("x", script=[(0.0, "EVALUATION")])
    async with codegen(codegen_server, phases={"EVALUATION": Phase.SUCCEEDED}) as client:
        assert (await client.wait_for_run(run.id)).phase is Phase.SUCCEEDED


async def test_middesk_is_taught_as_well(middesk_server: MiddeskServer, caplog: pytest.LogCaptureFixture) -> None:
    ids = [middesk_server.world.create(script=[(30.0, "aborted")]).id for _ in range(20)]
    async with client_of(middesk_server, phases={"aborted": Phase.FAILED}) as client:
        assert {run.phase for run in await client.wait_for_runs(ids)} == {Phase.FAILED}
        assert (await client.wait_for_run(ids[0], include_steps=True)).phase is Phase.FAILED
        assert {run.phase async for run in client.list_runs()} == {Phase.FAILED}
    assert lines(caplog, "aborted") == []


async def test_what_was_taught_goes_with_copies(codegen_server: CodegenServer) -> None:
    run = codegen_server.world.create("x", script=[(0.0, "ABORTED")])
    async with codegen(codegen_server, phases={"ABORTED": Phase.FAILED}) as client:
        shown = await client.get_run(run.id)
    assert copy.copy(shown).phase is Phase.FAILED
    assert pickle.loads(pickle.dumps(shown)).phase is Phase.FAILED  # noqa: S301 - our own
    assert b"taught" not in msgspec.json.encode(shown)


@pytest.mark.parametrize("phases", [{"ABORTED": "gone"}, {"": Phase.FAILED}, {3: Phase.FAILED}, {"A": 3}, ["A"], "A"])
async def test_what_cannot_be_taught_is_refused(phases: Any) -> None:
    for kind in (CodegenClient, MiddeskClient):
        with pytest.raises(ConfigurationError, match="phases"):
            kind("x" * 20, phases=phases)
