"""What refusals mean to a call of its own, ids of several parts, and what is looked for by a path of its own."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from codegen_async.errors import CreateOutcomeUnknownError, InvalidArgumentError, NotFoundError, OutcomeUnknownError
from codegen_async.hosted.dialect import Call
from codegen_async.hosted.run import HostedRun
from codegen_async.hosted.runs import HostedRuns
from codegen_async.http.answers import Refusal, Response
from codegen_async.models import Phase
from tests.hosted.api import Api, Plain, Tagged, now, one
from tests.support.canary import CANARY

pytestmark = pytest.mark.asyncio(loop_factories=["virtual"])


def client(api: Api, dialect: Plain) -> HostedRuns[HostedRun]:
    return HostedRuns(dialect, CANARY, sender=api)


class Curt(Plain):
    """The API says by a 404 that there is nothing to cancel."""

    def cancel(self, run_id: str) -> Call[object]:
        path = "/runs/{run}/cancel"
        values = {"run": run_id}
        refusals = {404: Refusal.STILL}
        return Call(limit="create", method="POST", path=path, values=values, read=lambda _: None, refusals=refusals)


async def test_a_status_means_what_a_call_says() -> None:
    api = Api()
    api.refusal = (404, {"detail": "nothing to cancel"})
    async with client(api, Curt()) as runs:
        api.runs["a"] = {"id": "a", "tag": None, "at": now(), "created": now(), "life": 0, "cancelled": False}
        assert (await runs.cancel_run("a")).phase is Phase.SUCCEEDED
        with pytest.raises(NotFoundError):
            await runs.cancel_run("b")


async def test_a_gateways_page_means_nothing_to_a_call() -> None:
    class Gateway(Curt):
        def is_own(self, status: int, said: Mapping[str, Any]) -> bool:  # noqa: ARG002 - an interface
            return "detail" in said

    api = Api()
    api.refusal = (404, {"path": "/nowhere"})
    async with client(api, Gateway()) as runs:
        api.runs["a"] = {"id": "a", "tag": None, "at": now(), "created": now(), "life": 9, "cancelled": False}
        with pytest.raises(OutcomeUnknownError):
            await runs.cancel_run("a")


class Own(Tagged):
    """A run is looked for by a path that ends in its key, and the server says when it is there."""

    def find(self, key: str, since: float | None) -> Call[HostedRun | None]:  # noqa: ARG002 - an interface
        return Call(limit="read", path="/runs/{key}", values={"key": key}, read=one)

    def create(self, key: str, fields: Mapping[str, Any]) -> Call[HostedRun]:
        return Call(limit="create", method="POST", path="/runs", json={**fields, "name": key}, read=one)


async def test_what_is_looked_for_by_its_own_path_is_not_there_where_that_path_is_not() -> None:
    api = Api()
    async with client(api, Own()) as runs:
        assert await runs.find_run_by_key("k") is None
        run = await runs.create_run(task="a", idempotency_key="k")
        assert await runs.create_run(task="a", idempotency_key="k") == run
        assert await runs.find_run_by_key("k") == run
    assert list(api.runs) == ["k"]


async def test_a_run_that_the_server_says_is_there_is_looked_up_whatever_another_send_would_make() -> None:
    api = Api(lag=10.0)
    async with client(api, Own()) as runs:
        first = await runs.create_run(task="a", idempotency_key="k")
        assert (await runs.create_run(task="a", idempotency_key="k")).id == first.id
    assert list(api.runs) == ["k"]


class Late(Tagged):
    unseen_for = 300.0


async def test_a_lost_create_is_looked_for_as_long_as_new_runs_may_be_unseen() -> None:
    api = Api(lag=200.0)
    api.faults = ["after"]
    async with client(api, Late()) as runs:
        run = await runs.create_run(task="a")
    assert list(api.runs) == [run.id]
    api.faults = ["after"]
    async with client(api, Tagged()) as runs:
        with pytest.raises(CreateOutcomeUnknownError):
            await runs.create_run(task="b")


class OfAgents(Plain):
    """The id of a run says whose it is."""

    id_parts = ("agent", "run")

    def get(self, run_id: str) -> Call[HostedRun | None]:
        return Call(limit="read", path="/agents/{agent}/runs/{run}", values=self.parts(run_id), read=of_agent)


def of_agent(answer: Response) -> HostedRun:
    fields = json.loads(answer.body)
    return HostedRun(id=f"{fields['agent']}/{fields['id']}", status="done")


class Agents(Api):
    def _answer(self, request: Any) -> tuple[int, Any]:
        assert request.path == "/agents/a%20b/runs/r"
        return 200, {"agent": "a b", "id": "r"}


async def test_an_id_of_parts_is_taken_apart() -> None:
    async with client(Agents(), OfAgents()) as runs:
        assert (await runs.wait_for_run("a b/r")).id == "a b/r"


@pytest.mark.parametrize("odd", ["a", "a/b/c", "a/", "/r", "../r", "a/..", "./r"])
async def test_an_id_that_is_not_made_of_its_parts_is_refused_before_anything_is_sent(odd: str) -> None:
    api = Agents()
    async with client(api, OfAgents()) as runs:
        for way in (runs.get_run, runs.cancel_run, runs.wait_for_run):
            with pytest.raises(InvalidArgumentError, match="expected an id of the form agent/run"):
                await way(odd)
        with pytest.raises(InvalidArgumentError, match=r"run_id: .* agent/run"):
            await runs.reply(odd, "go on")
        with pytest.raises(InvalidArgumentError, match="agent/run"):
            await runs.wait_for_runs([odd])
        with pytest.raises(InvalidArgumentError, match="agent/run"):
            runs.notify(odd)
    assert not api.requests


@pytest.mark.parametrize("odd", [".", ".."])
async def test_an_id_that_leads_upwards_is_refused(odd: str) -> None:
    api = Api()
    async with client(api, Plain()) as runs:
        with pytest.raises(InvalidArgumentError, match="run_id"):
            await runs.get_run(odd)
    assert not api.requests
