"""A client of an API that the package has never heard of."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from codegen_async.errors import (
    CapacityError,
    ConfigurationError,
    CreateOutcomeUnknownError,
    DecodeError,
    InvalidArgumentError,
    InvalidRequestError,
    NotFoundError,
    NotOfferedError,
    RunBlockedError,
    RunFailedError,
)
from codegen_async.hosted.dialect import Call, Dialect
from codegen_async.hosted.run import Cost, HostedRun
from codegen_async.hosted.runs import HostedRuns
from codegen_async.http.answers import NoAnswerError, Refusal, Request, Response
from codegen_async.limits import Rate, Slot
from codegen_async.models import Phase
from codegen_async.testing.rates import worst_window
from tests.hosted.api import DONE, Api, Keyed, Misspelt, Named, Plain, Settling, Tagged, now
from tests.support.canary import CANARY

pytestmark = pytest.mark.asyncio(loop_factories=["virtual"])


def client(api: Api, dialect: Dialect[HostedRun] | None = None, **more: Any) -> HostedRuns[HostedRun]:
    return HostedRuns(dialect or Plain(), CANARY, sender=api, **more)


async def test_a_run_is_created_waited_for_and_read() -> None:
    api = Api()
    async with client(api) as runs:
        run = await runs.create_run(task="a")
        assert (run.id, run.status, run.phase) == ("run/0", "working", Phase.RUNNING)
        final = await runs.wait_for_run(run)
        assert (final.status, final.phase, final.cost) == ("done/ok", Phase.SUCCEEDED, Cost(0.25, "USD"))
        assert final.created_time is not None
        assert final.raw["id"] == "run/0"
        assert await runs.get_run("run/0") == final
    assert {dict(request.headers).get("X-Version") for request in api.requests} == {"3"}
    assert {request.path for request in api.requests} == {"/runs", "/runs/run%2F0"}


async def test_many_runs_are_waited_for_at_once_within_the_rate_of_reads() -> None:
    api = Api()
    async with client(api, rates={"create": Rate(100, 1.0)}) as runs:
        made = await asyncio.gather(*(runs.create_run(task=str(n)) for n in range(50)))
        final = await runs.wait_for_runs(made)
        assert [run.id for run in final] == [run.id for run in made]
        assert all(run.phase is Phase.SUCCEEDED for run in final)


@pytest.mark.parametrize("faults", [["before"], ["after"], ["after", "before"], ["before", "before", "after"]])
@pytest.mark.parametrize("lag", [0.0, 10.0])
async def test_a_run_of_a_chosen_name_is_created_once_whatever_is_lost(faults: list[str], lag: float) -> None:
    api = Api(lag=lag)
    api.faults = [*faults]
    async with client(api, Named()) as runs:
        run = await runs.create_run(idempotency_key="my-name")
        assert run.id == "my-name"
        assert (await runs.create_run(idempotency_key="my-name")).id == "my-name"
    assert list(api.runs) == ["my-name"]


class Gone(Api):
    """Loses the answer to the first create, and cannot be reached for the next ones, or refuses them."""

    def __init__(self, status: int | None, *, times: int) -> None:
        super().__init__()
        self.faults = ["after"]
        self._status = status
        self._times = times

    async def send(self, request: Request, take_slot: Callable[[], Slot]) -> Response:
        if request.method == "GET" or not self.runs or not self._times:
            return await super().send(request, take_slot)
        self._times -= 1
        async with take_slot() as slot:
            if self._status is None:
                raise NoAnswerError("refused", sent=False)
            slot.sent()
            slot.answered()
            return Response(status=self._status, body=b'{"detail": "not now"}')


@pytest.mark.parametrize("times", [1, 1000])
@pytest.mark.parametrize("status", [None, 401, 402, 403, 421, 511])
async def test_what_becomes_of_a_later_sending_does_not_say_that_the_first_made_no_run(
    status: int | None, times: int
) -> None:
    api = Gone(status, times=times)
    async with client(api, Named()) as runs:
        run = await runs.create_run(idempotency_key="my-name")
    assert list(api.runs) == [run.id] == ["my-name"]


async def test_a_later_sending_that_the_server_refuses_for_its_content_is_refused() -> None:
    api = Gone(422, times=1000)
    async with client(api, Named()) as runs:
        with pytest.raises(InvalidRequestError):
            await runs.create_run(idempotency_key="my-name")


@pytest.mark.parametrize("faults", [["before"], ["after"], ["after", "before"], ["before", "before", "after"]])
async def test_a_key_that_the_server_knows_creates_once_whatever_is_lost(faults: list[str]) -> None:
    api = Api(keyed=True)
    api.faults = [*faults]
    async with client(api, Keyed()) as runs:
        run = await runs.create_run(idempotency_key="k")
        assert (await runs.create_run(idempotency_key="k")).id == run.id
    assert len(api.runs) == 1


async def test_a_keyed_create_that_never_arrives_is_unknown_and_not_called_a_failure() -> None:
    api = Api(keyed=True)
    api.faults = ["before"] * 10
    async with client(api, Keyed()) as runs:
        with pytest.raises(CreateOutcomeUnknownError) as unknown:
            await runs.create_run(idempotency_key="k")
    assert unknown.value.key == "k"


@pytest.mark.parametrize("lag", [0.0, 40.0])
async def test_a_lost_create_is_found_by_its_key_where_the_list_shows_keys(lag: float) -> None:
    api = Api(lag=lag)
    api.faults = ["after"]
    async with client(api, Tagged()) as runs:
        run = await runs.create_run(task="a", on_unknown="retry")
    assert list(api.runs) == [run.id]


async def test_a_create_that_was_not_carried_out_is_sent_again_only_when_that_is_proven() -> None:
    api = Api()
    async with client(api, Tagged()) as runs:
        await runs.create_run(task="before")
        api.faults = ["before"]
        lost = asyncio.create_task(runs.create_run(task="lost", on_unknown="retry"))
        await asyncio.sleep(5.0)
        await runs.create_run(task="after")
        await lost
    assert len(api.runs) == 3


@pytest.mark.parametrize("controls", ["none", "before", "after"])
async def test_without_a_run_before_and_one_after_nothing_proves_that_there_is_none(controls: str) -> None:
    api = Api()
    async with client(api, Tagged()) as runs:
        if controls == "before":
            await runs.create_run(task="before")
        api.faults = ["before"]
        lost = asyncio.create_task(runs.create_run(task="lost", on_unknown="retry"))
        await asyncio.sleep(5.0)
        if controls == "after":
            await runs.create_run(task="after")
        with pytest.raises(CreateOutcomeUnknownError):
            await lost
    assert len(api.runs) == (controls != "none")


async def test_a_list_that_lags_beyond_the_settle_time_proves_nothing() -> None:
    api = Api(lag=200.0)
    async with client(api, Tagged()) as runs:
        await runs.create_run(task="before")
        api.faults = ["after"]
        lost = asyncio.create_task(runs.create_run(task="lost", on_unknown="retry"))
        await asyncio.sleep(5.0)
        await runs.create_run(task="after")
        with pytest.raises(CreateOutcomeUnknownError) as unknown:
            await lost
        assert len(api.runs) == 3
        await asyncio.sleep(200.0)
        assert await runs.find_run_by_key(unknown.value.key) is not None


async def test_a_search_that_ignores_the_key_hands_out_no_run_of_another() -> None:
    api = Api()
    async with client(api, Misspelt()) as runs:
        await runs.create_run(task="of another")
        api.faults = ["before"]
        with pytest.raises(CreateOutcomeUnknownError):
            await runs.create_run(task="a", on_unknown="retry")
        with pytest.raises(DecodeError, match="`find` shows a run under a key that nobody has"):
            await runs.create_run(task="b", idempotency_key="k")
        with pytest.raises(DecodeError, match="it must filter by the key"):
            await runs.find_run_by_key("k")
    assert len(api.runs) == 1


async def test_a_search_is_tried_with_a_key_that_nobody_has_once() -> None:
    api = Api()
    async with client(api, Tagged()) as runs:
        for key in ("a", "b"):
            await runs.create_run(idempotency_key=key)
        for key in ("a", "b"):
            assert await runs.find_run_by_key(key) is not None
    asked = [dict(request.query)["tag"] for request in api.requests if request.path == "/runs" and request.query]
    assert len([key for key in asked if key not in ("a", "b")]) == 1


async def test_where_nothing_helps_a_lost_create_is_unknown_and_sent_once() -> None:
    api = Api()
    api.faults = ["after"]
    async with client(api) as runs:
        with pytest.raises(CreateOutcomeUnknownError):
            await runs.create_run(task="a", on_unknown="retry")
        with pytest.raises(NotOfferedError, match="plain has no search for keys"):
            await runs.find_run_by_key("k")
    assert len(api.runs) == 1


async def test_a_key_of_the_callers_is_looked_for_before_it_is_sent() -> None:
    api = Api()
    async with client(api, Tagged()) as runs:
        first = await runs.create_run(idempotency_key="k")
        again = await runs.create_run(idempotency_key="k")
    assert again.id == first.id
    assert len(api.runs) == 1


async def test_a_cancelled_create_that_was_sent_says_how_to_find_its_run(caplog: pytest.LogCaptureFixture) -> None:
    api = Api(lag=1000.0)
    api.faults = ["after"]
    async with client(api, Tagged()) as runs:
        task = asyncio.create_task(runs.create_run(idempotency_key="k"))
        await asyncio.sleep(1.0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError) as cancelled:
            await task
    assert "find_run_by_key('k')" in "".join(cancelled.value.__notes__)
    assert "has the key 'k'" in caplog.text


async def test_a_run_is_cancelled_and_one_that_has_ended_is_no_error() -> None:
    api = Api()
    async with client(api) as runs:
        run = await runs.create_run(task="a")
        assert (await runs.cancel_run(run.id)).phase is Phase.CANCELLED
        with pytest.raises(RunFailedError, match="ended as stopped"):
            await runs.wait_for_run(run.id, raise_on_failure=True)
        other = await runs.create_run(task="b")
        await runs.wait_for_run(other)
        assert (await runs.cancel_run(other.id)).phase is Phase.SUCCEEDED


async def test_a_run_that_asks_is_answered_and_goes_on() -> None:
    api = Api()
    async with client(api) as runs:
        run = await runs.create_run(task="a")
        api.script = lambda _: "asking"
        with pytest.raises(RunBlockedError):
            await runs.wait_for_run(run)

        async def answer(blocked: HostedRun) -> None:
            api.script = lambda run: "done/ok" if now() - run["at"] >= 3 else "working"
            assert (await runs.reply(blocked.id, "go on")).phase is Phase.RUNNING

        assert (await runs.wait_for_run(run, on_blocked=answer)).phase is Phase.SUCCEEDED


async def test_a_word_that_passes_is_believed_when_it_has_stood_and_then_all_is_read() -> None:
    api = Api()
    api.script = lambda run: "done" if now() - run["at"] < 10 or now() - run["at"] > 60 else "working"
    async with client(api, Settling()) as runs:
        run = await runs.create_run(task="a")
        began = now()
        final = await runs.wait_for_run(run.id)
        assert now() - began >= 90
        assert (final.phase, final.text) == (Phase.SUCCEEDED, "all of it")


async def test_composed_words_are_looked_up_whole_and_then_by_their_first_part() -> None:
    api = Api()
    async with client(api) as runs:
        run = await runs.create_run(task="a")
        for status, phase in {
            "Done/Badly": Phase.FAILED,
            "done/whatever": Phase.SUCCEEDED,
            "WORKING/x": Phase.RUNNING,
        }.items():
            api.script = lambda _, status=status: status  # type: ignore[misc]
            assert (await runs.get_run(run.id, max_age=0)).phase is phase


async def test_a_new_run_may_be_denied_for_as_long_as_the_dialect_says() -> None:
    class Slow(Plain):
        unseen_for = 300.0

    api = Api(lag=250.0)
    async with client(api, Slow()) as runs:
        run = await runs.create_run(task="a")
        assert (await runs.wait_for_run(run)).phase is Phase.SUCCEEDED
    api = Api(lag=250.0)
    async with client(api) as runs:
        run = await runs.create_run(task="a")
        with pytest.raises(NotFoundError):
            await runs.wait_for_run(run)


async def test_a_null_is_a_404() -> None:
    class Null(Plain):
        def get(self, run_id: str) -> Call[HostedRun | None]:
            return Call(limit="read", path="/runs", query={"tag": run_id}, read=lambda _: None)

    async with client(Api(), Null()) as runs:
        with pytest.raises(NotFoundError, match="no such run"):
            await runs.get_run("x")
        with pytest.raises(NotFoundError):
            await runs.wait_for_run("x")


@pytest.mark.parametrize("error", [KeyError("status"), TypeError("None"), ValueError("no number"), AttributeError("x")])
async def test_whatever_a_reader_stumbles_over_is_a_decode_error(error: Exception) -> None:
    def stumble(_: object) -> HostedRun:
        raise error

    class Odd(Plain):
        def get(self, run_id: str) -> Call[HostedRun | None]:
            return Call(limit="read", path="/runs/{run}", values={"run": run_id}, read=stumble)

    async with client(Api(), Odd()) as runs:
        run = await runs.create_run(task="a")
        with pytest.raises(DecodeError, match="not as promised"):
            await runs.get_run(run.id)


async def test_what_the_api_does_not_offer_is_said_before_anything_is_sent() -> None:
    class Least(Dialect[HostedRun]):
        name = "least"
        base_url = "http://127.0.0.1:9"
        token_variable = "LEAST_TOKEN"
        rates = Plain.rates
        phases = Plain.phases
        get = Plain.get
        create = Plain.create

    api = Api()
    async with client(api, Least()) as runs:
        with pytest.raises(NotOfferedError, match="least has no way to cancel runs"):
            await runs.cancel_run("x")
        with pytest.raises(NotOfferedError, match="least has no way to reply"):
            await runs.reply("x", "y")
    assert not api.requests


async def test_a_full_server_is_told_apart_from_a_rate_limit() -> None:
    api = Api()
    api.refusal = 429, {"error": {"code": "full", "message": "too many runs"}}
    async with client(api) as runs:
        with pytest.raises(CapacityError, match="too many runs"):
            await runs.create_run(task="a", patience=1.0)
        assert runs.limits["create"].held_for == 0


async def test_a_page_of_a_gateway_that_the_dialect_cannot_read_is_an_outage() -> None:
    class Hasty(Plain):
        def refused(self, answer: Response) -> Refusal | None:
            return {"full": Refusal.FULL}[answer.json()["error"]["code"]]

    api = Api()
    api.refusal = 403, {}
    async with client(api, Hasty()) as runs:
        with pytest.raises(CreateOutcomeUnknownError):
            await runs.create_run(task="a")


@pytest.mark.parametrize("name", ["name", "base_url", "token_variable", "rates", "phases"])
async def test_a_dialect_that_lacks_something_is_told_what(name: str) -> None:
    class Lacking(Plain):
        pass

    setattr(Lacking, name, None)
    with pytest.raises(ConfigurationError, match=rf"Lacking\.{name}: expected"):
        HostedRuns(Lacking(), CANARY)


async def test_the_token_comes_from_the_variable_that_the_dialect_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PLAIN_TOKEN", raising=False)
    with pytest.raises(ConfigurationError, match="PLAIN_TOKEN"):
        HostedRuns(Plain())
    monkeypatch.setenv("PLAIN_TOKEN", CANARY)
    assert CANARY not in repr(vars(HostedRuns(Plain())))


@pytest.mark.parametrize("key", ["", " ", "a b", "ü", "x" * 129])
async def test_keys_that_cannot_be_sent_are_refused(key: str) -> None:
    api = Api()
    async with client(api) as runs:
        with pytest.raises(InvalidArgumentError, match="idempotency_key"):
            await runs.create_run(idempotency_key=key)
    assert not api.requests


class Crowded(Api):
    """Lets only so many runs go on at once."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most = most
        self.refused = 0
        self.fullest = 0

    def _create(self, fields: dict[str, Any], headers: Mapping[str, str]) -> tuple[int, Any]:
        going_on = sum(not self.script(run).startswith("done") for run in self.runs.values())
        if going_on >= self.most:
            self.refused += 1
            return 429, {"error": {"code": "full", "message": "too many runs"}}
        self.fullest = max(self.fullest, going_on + 1)
        return super()._create(fields, headers)


@pytest.mark.parametrize("stated", [None, 3])
async def test_no_more_runs_go_on_at_once_than_may(stated: int | None) -> None:
    class Narrow(Plain):
        concurrency = stated

    api = Crowded(3)
    async with client(api, Narrow()) as runs:

        async def one() -> HostedRun:
            return await runs.wait_for_run(await runs.create_run(task="a"))

        final = await asyncio.gather(*(one() for _ in range(20)))
        assert {run.phase for run in final} == {Phase.SUCCEEDED}
        assert runs.concurrency.source == ("learned" if stated is None else "stated")
        assert runs.concurrency.running == 0
    assert len(api.runs) == 20
    assert api.fullest == 3
    assert (api.refused > 0) is (stated is None)
    assert api.refused <= 20  # those who came before it was known, and one a minute


async def test_room_that_nobody_makes_is_waited_for_no_longer_than_patience() -> None:
    api = Crowded(1)
    api.script = lambda _: "working"
    async with client(api) as runs:
        await runs.create_run(task="a")
        began = now()
        with pytest.raises(CapacityError):
            await runs.create_run(task="b", patience=30.0)
        assert now() - began < 31
        assert runs.concurrency.running == 1
    assert len(api.runs) == 1


@pytest.mark.parametrize("rates", [(Rate(5, 1.0), Rate(20, 60.0)), ()])
async def test_several_rates_hold_at_once_and_none_is_assumed(rates: tuple[Rate, ...]) -> None:
    class Several(Plain):
        pass

    Several.rates = dict.fromkeys(("create", "read"), rates)
    api = Api()
    async with client(api, Several()) as runs:
        made = [await runs.create_run(task=str(n)) for n in range(25)]
        await runs.wait_for_runs(made)
        assert runs.limits["create"].source == ("stated" if rates else "assumed")
    assert worst_window(api.reads, 60.0) <= 60
    if rates:
        assert worst_window(api.reads, 60.0) <= 20
        assert worst_window(api.reads, 1.0) <= 5


@pytest.mark.parametrize("dialect", [Named(), Keyed(), Tagged()], ids=lambda dialect: type(dialect).__name__)
@pytest.mark.parametrize("faults", [[], ["after"]])
async def test_callers_of_one_key_at_once_get_one_run(dialect: Dialect[HostedRun], faults: list[str]) -> None:
    api = Api(keyed=isinstance(dialect, Keyed), lag=5.0)
    api.faults = faults
    async with client(api, dialect) as runs:
        made = await asyncio.gather(*(runs.create_run(idempotency_key="k") for _ in range(5)))
    assert len({run.id for run in made}) == 1
    assert len(api.runs) == 1


async def test_callers_of_one_key_at_once_share_what_comes_of_it() -> None:
    api = Api()
    async with client(api, Tagged()) as runs:
        api.refusal = 400, {"detail": "no"}
        failed = await asyncio.gather(*(runs.create_run(idempotency_key="k") for _ in range(5)), return_exceptions=True)
        assert [type(error) for error in failed] == [InvalidRequestError] * 5
        assert len({id(error) for error in failed}) == 5
        assert len([request for request in api.requests if request.method == "POST"]) == 1
        api.refusal = None
        reads = len(api.reads)
        await asyncio.gather(*(runs.create_run(idempotency_key="k") for _ in range(5)))
        assert len(api.reads) == reads + 1  # the look for the key; nobody reads what another was just given
    assert len(api.runs) == 1


async def test_a_reply_that_is_cancelled_when_it_was_sent_leaves_no_old_end_to_be_believed() -> None:
    class Late(Api):
        async def send(self, request: Request, take_slot: Callable[[], Slot]) -> Response:
            answer = await super().send(request, take_slot)
            if request.path.endswith("/messages"):
                await asyncio.sleep(5.0)
            return answer

    async with client(Late()) as runs:
        run = await runs.create_run()
        await runs.wait_for_run(run)
        reply = asyncio.create_task(runs.reply(run.id, "go on"))
        await asyncio.sleep(1.0)
        reply.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reply
        began = now()
        await runs.wait_for_run(run.id)
        assert now() - began > DONE / 2


@pytest.mark.parametrize("left", ["given up", "cancelled"])
async def test_a_key_of_which_nobody_knows_is_not_sent_again_before_it_is_proven(left: str) -> None:
    api = Api(lag=500.0)
    async with client(api, Tagged()) as runs:
        api.faults = ["after"]
        first = asyncio.create_task(runs.create_run(idempotency_key="k"))
        await asyncio.sleep(1.0)
        if left == "cancelled":
            first.cancel()
        with pytest.raises((CreateOutcomeUnknownError, asyncio.CancelledError)):
            await first
        with pytest.raises(CreateOutcomeUnknownError):
            await runs.create_run(idempotency_key="k", on_unknown="retry")
        assert len(api.runs) == 1
        await asyncio.sleep(500.0)
        assert (await runs.create_run(idempotency_key="k")).id == "run/0"
    assert len(api.runs) == 1


async def test_keys_are_known_when_the_client_is_opened_again() -> None:
    api = Api(lag=100.0)
    runs = client(api, Tagged())
    async with runs:
        first = await runs.create_run(idempotency_key="k")
        await asyncio.sleep(100.0)
    async with runs:
        assert (await runs.create_run(idempotency_key="k")).id == first.id
    assert len(api.runs) == 1
