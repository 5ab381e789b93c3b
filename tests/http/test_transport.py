"""Calls over a sender without a network: when they are repeated, how long they wait, what they leave behind."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import anyio
import msgspec
import pytest

from codegen_async.errors import (
    APIError,
    ConnectionFailedError,
    DecodeError,
    GatewayError,
    NotFoundError,
    OutcomeUnknownError,
    RateLimitedError,
    RequestTimeoutError,
    ServerError,
    StatusError,
)
from codegen_async.http.answers import NoAnswerError, Request
from codegen_async.http.retry import Backoff
from codegen_async.http.transport import ForeignAnswerError, Transport
from codegen_async.limits import Limits, Priority, Rate
from codegen_async.secret import Secret
from tests.support.canary import CANARY, failure_of
from tests.support.sender import LOST, REFUSED, SILENT, FakeSender, Hang, Reply, reply

pytestmark = pytest.mark.asyncio(loop_factories=["virtual"])

GET = Request(endpoint="get", method="GET", path="/run/17")
LIST = Request(endpoint="list", method="GET", path="/runs")
POST = Request(endpoint="create", method="POST", path="/run", body=b"{}")

PERIOD = 30.0
OK = reply(body={"id": 17})

decode: Callable[[bytes], dict[str, Any]] = msgspec.json.Decoder(dict[str, Any]).decode


class LongestBackoff(Backoff, frozen=True):
    """Waits as long as the jitter could make it."""

    def delay(
        self, attempt: int, *, retry_after: float | None = None, jitter: Callable[[float, float], float] = max
    ) -> float:
        return super().delay(attempt, retry_after=retry_after, jitter=jitter)


def limits(limit: int = 60, ceiling: Rate | None = None) -> Limits:
    return Limits({name: Rate(limit, PERIOD) for name in ("get", "list", "create")}, ceiling=ceiling)


def transport(sender: FakeSender, bounds: Limits | None = None, attempts: int = 4) -> Transport:
    return Transport(
        sender, bounds or limits(), token=Secret(CANARY), attempts=attempts, backoff=LongestBackoff(first=1.0)
    )


async def call(*replies: Reply, request: Request = GET) -> tuple[FakeSender, dict[str, Any] | APIError]:
    """Make one call; return its result or error."""
    sender = FakeSender(*replies)
    try:
        return sender, await transport(sender).call(request, decode)
    except APIError as exc:
        return sender, exc


def gaps(sender: FakeSender) -> list[float]:
    """Return the seconds between requests; the virtual clock ticks a microsecond at each jump."""
    return [round(later - earlier, 2) for earlier, later in zip(sender.times, sender.times[1:], strict=False)]


def now() -> float:
    return asyncio.get_running_loop().time()


# Repeating.

TRUNCATED = reply(body=b'{"id": 1')
CUT = reply(body=b"{", problem="the answer was cut short or damaged")


@pytest.mark.parametrize(
    "passing", [REFUSED, LOST, SILENT, CUT, TRUNCATED, *(reply(s) for s in (408, 421, 425, 500, 503, 524, 999))]
)
async def test_a_get_is_repeated_with_growing_delays(passing: Reply) -> None:
    sender, result = await call(passing, passing, passing, OK)
    assert result == {"id": 17}
    assert gaps(sender) == [1.0, 2.0, 4.0]
    assert sender.requests == [GET] * 4


@pytest.mark.parametrize(
    ("passing", "kind"),
    [
        (REFUSED, ConnectionFailedError),
        (LOST, ConnectionFailedError),
        (SILENT, RequestTimeoutError),
        (CUT, GatewayError),
        (TRUNCATED, GatewayError),
        (reply(502), ServerError),
        (reply(408), ServerError),
        (reply(429), RateLimitedError),
    ],
)
async def test_a_get_gives_up_after_four_attempts_and_says_so(passing: Reply, kind: type[APIError]) -> None:
    sender, error = await call(*[passing] * 5)
    assert type(error) is kind
    assert error.attempts == len(sender.times) == 4
    assert "(after 4 attempts)" in str(error)


async def test_an_error_speaks_of_the_last_attempt() -> None:
    _, error = await call(LOST, reply(500), reply(404, {"message": "No."}))
    assert isinstance(error, NotFoundError)
    assert (error.status, error.attempts) == (404, 3)


@pytest.mark.parametrize("status", [301, 400, 401, 402, 403, 404, 409, 413, 422])
@pytest.mark.parametrize("request_", [GET, POST])
async def test_a_refusal_is_final(request_: Request, status: int) -> None:
    sender, error = await call(reply(status), OK, request=request_)
    assert isinstance(error, StatusError)
    assert (error.status, error.attempts, len(sender.times)) == (status, 1, 1)


async def test_a_whole_answer_of_another_shape_is_not_asked_for_again() -> None:
    sender, error = await call(reply(body=[1, 2]), OK)
    assert isinstance(error, DecodeError)
    assert len(sender.times) == 1


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b'{"id": NaN}', b'{"a": "\xff"}', b'{"a":' * 20_000, '{"id": 17}'.encode("utf-16")]
)
async def test_an_answer_that_is_not_json_is_asked_for_again(body: bytes) -> None:
    sender, result = await call(reply(body=body), OK)
    assert result == {"id": 17}
    assert len(sender.times) == 2


@pytest.mark.parametrize("repeated", [REFUSED, reply(421), reply(425), reply(429)])
async def test_a_post_is_repeated_where_the_server_did_not_act(repeated: Reply) -> None:
    sender, result = await call(repeated, OK, request=POST)
    assert result == {"id": 17}
    assert sender.requests == [POST, POST]


UNKNOWN_TO_A_POST = [LOST, SILENT, *(reply(status) for status in (408, 500, 502, 503, 504, 520, 524, 999))]


@pytest.mark.parametrize("unknown", UNKNOWN_TO_A_POST)
async def test_a_post_that_may_have_been_carried_out_is_never_repeated(unknown: Reply) -> None:
    sender, error = await call(unknown, OK, request=POST)
    assert isinstance(error, OutcomeUnknownError)
    assert not error.likely_done
    assert sender.requests == [POST]


@pytest.mark.parametrize("unreadable", [CUT, TRUNCATED, reply(body=[1]), reply(201, b""), reply(204, b"")])
async def test_a_post_with_an_unreadable_success_was_likely_done(unreadable: Reply) -> None:
    sender, error = await call(unreadable, OK, request=POST)
    assert isinstance(error, OutcomeUnknownError)
    assert error.likely_done
    assert sender.requests == [POST]


async def test_a_post_that_was_refused_a_connection_first_is_judged_anew_each_time() -> None:
    sender, error = await call(REFUSED, REFUSED, LOST, OK, request=POST)
    assert isinstance(error, OutcomeUnknownError)
    assert error.attempts == len(sender.times) == 3


async def test_the_status_of_an_answer_that_was_cut_still_counts() -> None:
    sender, error = await call(reply(404, b'{"mess', problem="the answer was cut short or damaged"), OK)
    assert isinstance(error, NotFoundError)
    assert len(sender.times) == 1


# Waiting.


@pytest.mark.parametrize("status", [408, 425, 500, 503])
async def test_retry_after_wins_over_the_backoff(status: int) -> None:
    sender, _ = await call(reply(status, retry_after="17"), reply(status, retry_after="0.25"), OK)
    assert gaps(sender) == [17.0, 0.25]


@pytest.mark.parametrize("hint", ["0", "0.0"])
async def test_a_retry_after_of_nothing_does_not_say_when(hint: str) -> None:
    sender, error = await call(*[reply(503, retry_after=hint)] * 4)
    assert isinstance(error, ServerError)
    assert gaps(sender) == [1.0, 2.0, 4.0]


async def test_after_a_429_the_endpoint_rests_for_as_long_as_the_server_says() -> None:
    sender, _ = await call(reply(429, retry_after="7"), OK)
    assert gaps(sender) == [7.0]


async def test_after_a_429_without_a_word_the_endpoint_rests_for_a_period() -> None:
    bounds = limits()
    sender = FakeSender(reply(429), OK)
    await transport(sender, bounds).call(GET, decode)
    assert gaps(sender) == [round(PERIOD + bounds["get"].margin, 2)]


async def test_a_429_holds_all_calls_of_its_endpoint_and_no_other() -> None:
    bounds = limits()
    sender = FakeSender(reply(429, retry_after="20"), OK, OK, OK, OK)
    caller = transport(sender, bounds)
    began = now()
    first = asyncio.create_task(caller.call(GET, decode))
    await asyncio.sleep(1)
    others = [asyncio.create_task(caller.call(GET, decode)) for _ in range(2)]
    await caller.call(LIST, decode)
    assert now() - began < 2
    await asyncio.gather(first, *others)
    at = [round(time - began) for time in sender.times]
    # The 429 also turns even pacing on: 60 in 30 s at 95 %.
    assert at[:2] == [0, 1]
    assert at[2] == 20
    assert at[2:] == sorted(at[2:])
    assert bounds.states["list"].rejections == 0
    assert bounds.states["get"].rejections == 1


async def test_a_429_is_learned_once_by_all_who_wait() -> None:
    sender = FakeSender(reply(429, retry_after="20"), *[OK] * 50)
    caller = transport(sender)
    began = now()
    await asyncio.gather(*(caller.call(GET, decode) for _ in range(50)))
    assert len(sender.times) == 51
    # Those that were under way with the first one could not know; nobody else went while the gate was closed.
    assert not [time for time in sender.times if 0.1 < time - began < 19.9]


@pytest.mark.parametrize(
    ("obstacle", "kind"),
    [
        (reply(503, retry_after="100"), ServerError),
        (reply(429, retry_after="100"), RateLimitedError),
        (reply(429), RateLimitedError),
    ],
)
async def test_a_wait_beyond_the_deadline_is_not_begun(obstacle: Reply, kind: type[APIError]) -> None:
    sender = FakeSender(obstacle, OK)
    began = now()
    with anyio.fail_after(20):
        error = await failure_of(transport(sender).call(GET, decode))
    assert type(error) is kind
    assert now() == began
    assert len(sender.times) == 1


async def test_a_backoff_beyond_the_deadline_is_not_begun() -> None:
    sender = FakeSender(*[LOST] * 4)
    began = now()
    with anyio.fail_after(2.5):
        error = await failure_of(transport(sender).call(GET, decode))
    assert isinstance(error, ConnectionFailedError)
    assert error.attempts == 2  # the second delay, of 2 s, would have ended after the deadline
    assert now() - began == pytest.approx(1.0, abs=0.01)


async def test_a_wait_within_the_deadline_is_waited() -> None:
    sender = FakeSender(reply(503, retry_after="100"), OK)
    with anyio.fail_after(101):
        assert await transport(sender).call(GET, decode) == {"id": 17}


async def test_asyncio_timeouts_are_obeyed_as_well() -> None:
    sender = FakeSender(reply(503, retry_after="100"), OK)
    began = now()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(20):
            await transport(sender).call(GET, decode)
    assert now() - began == pytest.approx(20, abs=0.01)


# Slots.


@pytest.mark.parametrize("request_", [GET, POST])
async def test_a_429_that_the_ceiling_answers_for_holds_every_endpoint(request_: Request) -> None:
    bounds = limits(ceiling=Rate(100, PERIOD))
    sender = FakeSender(reply(429, retry_after="20"), OK)
    task = asyncio.create_task(transport(sender, bounds).call(request_, decode))
    await asyncio.sleep(1)
    assert bounds.states["ceiling"].held_for == pytest.approx(19, abs=0.01)
    assert await task == {"id": 17}


@pytest.mark.parametrize(
    ("replies", "cooling"),
    [
        ([OK], 1),
        ([reply(404)], 1),
        ([LOST, LOST, OK], 3),
        ([REFUSED, REFUSED, OK], 1),
        ([REFUSED] * 4, 0),
        ([reply(500), OK], 2),
    ],
)
async def test_a_slot_is_spent_for_each_attempt_that_was_sent(replies: list[Reply], cooling: int) -> None:
    bounds = limits()
    with suppress(APIError):
        await transport(FakeSender(*replies), bounds).call(GET, decode)
    state = bounds.states["get"]
    assert (state.cooling, state.in_flight, state.available) == (cooling, 0, 60 - cooling)


@pytest.mark.parametrize("obstacle", [LOST, REFUSED, TRUNCATED, reply(500), reply(408), reply(429, retry_after="3")])
async def test_a_poll_is_tried_once_on_the_slot_it_brings(obstacle: Reply) -> None:
    bounds = limits()
    sender = FakeSender(obstacle, OK)
    slot = bounds.slot("get", Priority.BACKGROUND)
    async with slot:
        error = await failure_of(transport(sender, bounds).call(GET, decode, slot=slot))
    assert isinstance(error, APIError)
    assert (error.attempts, len(sender.times)) == (1, 1)
    state = bounds.states["get"]
    assert state.in_flight == 0
    assert state.cooling == (0 if obstacle is REFUSED else 1)
    assert bool(state.held_for) == (isinstance(error, RateLimitedError))


async def test_calls_wait_in_line_by_priority() -> None:
    bounds = limits(limit=1)
    sender = FakeSender(OK, OK, OK)
    caller = transport(sender, bounds)
    await caller.call(GET, decode)
    background = Request(endpoint="get", method="GET", path="/background")
    later = asyncio.create_task(caller.call(background, decode, priority=Priority.BACKGROUND))
    await asyncio.sleep(1)
    sooner = asyncio.create_task(caller.call(GET, decode))
    await asyncio.gather(later, sooner)
    assert sender.requests == [GET, GET, background]


# Answers to other questions.


def foreign_until(good: int) -> Callable[[bytes], int]:
    def read(body: bytes) -> int:
        found = msgspec.json.decode(body, type=int)
        if found < good:
            raise ForeignAnswerError(f"the answer is about run {found}")
        return found

    return read


async def test_an_answer_to_another_question_is_asked_for_again_on_new_connections() -> None:
    sender = FakeSender(reply(body=b"666"), reply(body=b"667"), reply(body=b"700"))
    assert await transport(sender).call(GET, foreign_until(700)) == 700
    assert sender.renewals == 2
    assert gaps(sender) == [1.0, 2.0]


async def test_a_foreign_answer_to_a_post_is_not_asked_for_again() -> None:
    sender = FakeSender(reply(body=b"666"), reply(body=b"700"))
    error = await failure_of(transport(sender).call(POST, foreign_until(700)))
    assert isinstance(error, OutcomeUnknownError)
    assert error.likely_done
    assert "run 666" in str(error)
    assert (sender.renewals, len(sender.times)) == (1, 1)


# Errors.


@pytest.mark.parametrize("obstacle", [LOST, SILENT, reply(404), reply(body=[1]), reply(body=b"666")])
async def test_an_error_stands_alone(obstacle: Reply) -> None:
    error = await failure_of(transport(FakeSender(obstacle), attempts=1).call(GET, foreign_until(700)))
    assert isinstance(error, APIError)
    assert (error.__cause__, error.__context__) == (None, None)


async def test_what_a_failed_attempt_leaves_behind_is_dropped_between_attempts() -> None:
    lost = NoAnswerError("the connection broke", sent=True)
    await call(lost, OK)
    assert lost.__traceback__ is None


# Cancellation.


@pytest.mark.parametrize("request_", [GET, POST])
@pytest.mark.parametrize("where", ["slot", "sent", "answered"])
async def test_a_call_that_is_cancelled_gives_its_slot_back(request_: Request, where: str) -> None:
    bounds = limits(limit=1)
    sender = FakeSender(Hang(where), OK)
    caller = transport(sender, bounds)
    began = now()
    task = asyncio.create_task(caller.call(request_, decode))
    await asyncio.sleep(1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await caller.call(request_, decode) == {"id": 17}
    lateness = bounds[request_.endpoint].lateness
    margin = bounds[request_.endpoint].margin
    cooled = {"slot": 1, "sent": 1 + PERIOD + margin + lateness, "answered": PERIOD + margin}[where]
    assert sender.times[1] - began == pytest.approx(cooled, abs=0.01)


async def test_a_call_that_is_cancelled_in_line_disturbs_nobody() -> None:
    bounds = limits(limit=1)
    sender = FakeSender(OK, OK)
    caller = transport(sender, bounds)
    await caller.call(GET, decode)
    waiting = [asyncio.create_task(caller.call(GET, decode)) for _ in range(3)]
    await asyncio.sleep(1)
    waiting[0].cancel()
    waiting[2].cancel()
    assert await waiting[1] == {"id": 17}
    assert waiting[0].cancelled()
    assert waiting[2].cancelled()
    assert bounds.states["get"].queue_length == 0


@pytest.mark.parametrize("ceiling", [None, Rate(1, PERIOD)])
async def test_a_call_that_is_cancelled_in_the_tick_in_which_it_is_served_passes_its_slot_on(
    ceiling: Rate | None,
) -> None:
    bounds = limits(limit=1, ceiling=ceiling)
    sender = FakeSender(OK, OK)
    caller = transport(sender, bounds)
    began = now()
    await caller.call(GET, decode)
    first = asyncio.create_task(caller.call(GET, decode))
    second = asyncio.create_task(caller.call(GET, decode))
    free_at = began + PERIOD + bounds["get"].margin
    # Set up last, so it runs in the same tick as the limiter's own timer, and after it.
    await asyncio.sleep(0)
    asyncio.get_running_loop().call_at(free_at, first.cancel)
    assert await second == {"id": 17}
    assert first.cancelled()
    assert sender.times[1] == pytest.approx(free_at, abs=0.01)


async def test_a_call_that_is_cancelled_between_attempts_sends_nothing_more() -> None:
    sender = FakeSender(reply(503, retry_after="10"), OK)
    task = asyncio.create_task(transport(sender).call(GET, decode))
    await asyncio.sleep(5)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.sleep(10)
    assert len(sender.times) == 1


async def test_closing_closes_the_sender() -> None:
    sender = FakeSender()
    await transport(sender).aclose()
    assert sender.closed
