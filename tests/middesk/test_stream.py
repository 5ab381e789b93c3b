"""A stream yields a run's events as they come, and the run itself when it has ended, however it has ended."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager

import pytest

from codegen_async.errors import (
    AuthenticationError,
    ConfigurationError,
    ConnectionFailedError,
    DecodeError,
    NotFoundError,
    RateLimitedError,
    RequestTimeoutError,
    ServerError,
    StatusError,
)
from codegen_async.http.answers import NoAnswerError, Request, Response
from codegen_async.limits import Rate, Slot
from codegen_async.middesk.client import MiddeskClient
from codegen_async.middesk.models import MiddeskRun, Snapshot, StreamEvent
from codegen_async.models import Phase
from codegen_async.settings import Timeouts
from codegen_async.testing import Fault, MiddeskServer
from tests.middesk.helpers import ask, begin, client_of, client_with, endpoints, now
from tests.support.canary import CANARY
from tests.support.sender import LOST, SILENT, FakeSender, reply

pytestmark = pytest.mark.asyncio(loop_factories=["virtual"])

RUN = reply(body={"object": "run", "id": "r-1", "status": "running"})


class StreamingFake(FakeSender):
    """A `FakeSender` that streams: pieces, an answer other than success, or none.

    Args:
        stream: what comes of it.
        replies: the answers to other requests.
    """

    def __init__(self, stream: list[bytes] | Response | NoAnswerError, *replies: Response) -> None:
        super().__init__(*replies)
        self._stream = stream
        self.silence = 0.0
        self.open = 0

    @asynccontextmanager
    async def stream(
        self, request: Request, take_slot: Callable[[], Slot], *, silence: float
    ) -> AsyncGenerator[Response | AsyncIterator[bytes]]:
        self.silence = silence
        async with take_slot() as slot:
            self.requests.append(request)
            slot.sent()
            if isinstance(self._stream, NoAnswerError):
                raise self._stream
            slot.answered()
        self.open += 1
        try:
            yield self._stream if isinstance(self._stream, Response) else pieces(self._stream)
        finally:
            self.open -= 1


async def pieces(content: list[bytes]) -> AsyncGenerator[bytes]:
    for piece in content:
        yield piece


async def collect(client: MiddeskClient, run_id: str = "r-1") -> tuple[list[StreamEvent], MiddeskRun]:
    """Read a stream to its end; the run must come last, once."""
    items = [item async for item in client.stream_run(run_id)]
    *events, run = items
    assert isinstance(run, MiddeskRun)
    return [event for event in events if isinstance(event, StreamEvent)], run


# Against the simulated server


async def test_events_come_as_they_happen_and_the_run_last(middesk_server: MiddeskServer) -> None:
    run = middesk_server.world.create(script=[(100.0, "completed")])
    seen: list[tuple[float, str | None]] = []
    async with client_of(middesk_server) as client:
        began = now()
        async for item in client.stream_run(run.id):
            seen.append((round(now() - began), item.type if isinstance(item, StreamEvent) else item.status))
            if isinstance(item, StreamEvent):
                assert item.run_id == run.id
    assert seen == [
        (0, "RUN_STARTED"),
        (0, "STATE_SNAPSHOT"),
        (100, "STATE_SNAPSHOT"),
        (100, "RUN_FINISHED"),
        (100, "completed"),
    ]
    assert endpoints(middesk_server) == ["stream", "get"]


async def test_a_snapshot_shows_steps_and_artifacts(middesk_server: MiddeskServer) -> None:
    run = middesk_server.world.create(script=[(10.0, "completed")])
    async with client_of(middesk_server) as client:
        events, final = await collect(client, run.id)
    snapshots = [event.snapshot for event in events if event.snapshot is not None]
    assert [len(snapshot.steps or ()) for snapshot in snapshots] == [1, 2]
    assert final.output is not None
    assert snapshots[-1].artifacts[0].id == final.output.artifacts[0].id


async def test_a_run_that_has_ended_is_replayed(middesk_server: MiddeskServer) -> None:
    run = middesk_server.world.create(script=[(10.0, "error")])
    await asyncio.sleep(60.0)
    async with client_of(middesk_server) as client:
        events, final = await collect(client, run.id)
    assert [event.type for event in events] == ["RUN_STARTED", "STATE_SNAPSHOT", "STATE_SNAPSHOT", "RUN_FINISHED"]
    assert final.phase is Phase.FAILED  # no event says so


async def test_a_stream_that_ends_with_a_question_is_told_from_an_end(middesk_server: MiddeskServer) -> None:
    run = middesk_server.world.create(script=[(10.0, ask("a"))])
    async with client_of(middesk_server) as client:
        events, shown = await collect(client, run.id)
    assert events[-1].type == "RUN_FINISHED"
    assert shown.phase is Phase.BLOCKED


async def test_a_stream_that_breaks_off_ends_with_the_run(middesk_server: MiddeskServer) -> None:
    run = middesk_server.world.create(script=[(100.0, "completed")])
    middesk_server.cut_streams = 1
    async with client_of(middesk_server) as client:
        events, shown = await collect(client, run.id)
        assert ([event.type for event in events], shown.phase) == (["RUN_STARTED"], Phase.RUNNING)
        events, shown = await collect(client, run.id)
        assert shown.phase is Phase.SUCCEEDED
    assert endpoints(middesk_server) == ["stream", "get", "stream", "get"]


async def test_a_stream_that_falls_silent_ends_with_the_run(middesk_server: MiddeskServer) -> None:
    run = middesk_server.world.create(script=[(5000.0, "completed")])
    async with client_of(middesk_server, timeouts=Timeouts(read=5.0, total=20.0)) as client:
        began = now()
        items = [item async for item in client.stream_run(run.id, silence=600.0)]
        assert isinstance(items[-1], MiddeskRun)
        assert items[-1].phase is Phase.RUNNING
        assert now() - began == pytest.approx(600.0, abs=2.0)


async def test_a_stream_may_be_longer_than_any_other_answer(middesk_server: MiddeskServer) -> None:
    run = middesk_server.world.create(script=[(200.0, "completed")])
    async with client_of(middesk_server, timeouts=Timeouts(read=5.0, total=20.0)) as client:
        _, final = await collect(client, run.id)
    assert final.phase is Phase.SUCCEEDED


async def test_what_a_stream_brings_ends_a_wait_too(middesk_server: MiddeskServer) -> None:
    run = middesk_server.world.create(script=[(100.0, "completed")])
    async with client_of(middesk_server, latency=3600.0) as client:
        wait = begin(client.wait_for_run(run.id))
        await collect(client, run.id)
        assert (await wait).phase is Phase.SUCCEEDED


async def test_leaving_a_stream_early_closes_it_and_reads_nothing_more(middesk_server: MiddeskServer) -> None:
    run = middesk_server.world.create(script=[(100.0, "completed")])
    async with client_of(middesk_server) as client:
        async with aclosing(client.stream_run(run.id)) as items:
            async for _ in items:
                break
        assert (await client.get_run(run.id)).phase is Phase.RUNNING
    assert endpoints(middesk_server) == ["stream", "get"]


async def test_a_stream_can_be_cancelled(middesk_server: MiddeskServer) -> None:
    run = middesk_server.world.create(script=[(100.0, "completed")])
    async with client_of(middesk_server) as client:
        reading = begin(collect(client, run.id))
        await asyncio.sleep(50.0)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        assert (await client.wait_for_run(run.id)).phase is Phase.SUCCEEDED


async def test_an_open_stream_holds_no_slot() -> None:
    async with MiddeskServer(token=CANARY, rates={"ceiling": (2, 10.0)}) as server:
        run = server.world.create(script=[(200.0, "completed")])
        async with client_of(server, rate=Rate(2, 10.0)) as client:
            await asyncio.gather(*(collect(client, run.id) for _ in range(6)))
    opened = [request.time for request in server.requests if request.endpoint == "stream"]
    assert (len(opened), server.violations) == (6, 0)
    assert opened[-1] - opened[0] <= 21.0  # all six are open long before the first of them ends


async def test_opening_a_stream_waits_for_a_slot(middesk_server: MiddeskServer) -> None:
    run = middesk_server.world.create(script=[(10.0, "completed")])
    async with client_of(middesk_server) as client:
        await asyncio.gather(*(collect(client, run.id) for _ in range(60)))
    assert middesk_server.violations == 0
    assert middesk_server.worst("ceiling").seen == 20


async def test_a_stream_of_a_run_that_is_not_there_is_refused(middesk_server: MiddeskServer) -> None:
    async with client_of(middesk_server) as client:
        with pytest.raises(NotFoundError, match="Run not found"):
            await collect(client, "nothing")
    assert endpoints(middesk_server) == ["stream"]


async def test_a_stream_needs_the_right_key(middesk_server: MiddeskServer) -> None:
    async with MiddeskClient("wrong", base_url=middesk_server.url) as client:
        with pytest.raises(AuthenticationError):
            await collect(client)


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Fault.ERROR_BEFORE, ServerError),
        (Fault.RESET_BEFORE, ConnectionFailedError),
        (Fault.DROP_BEFORE, RequestTimeoutError),
    ],
)
async def test_a_stream_that_cannot_be_opened_raises(
    middesk_server: MiddeskServer, fault: Fault, error: type[Exception]
) -> None:
    middesk_server.faults.add(fault, endpoint="stream", times=None)
    run = middesk_server.world.create(script=[])
    async with client_of(middesk_server) as client:
        began = now()
        with pytest.raises(error):
            await collect(client, run.id)
        assert now() - began <= 61.0


async def test_a_429_for_a_stream_stops_everybody(middesk_server: MiddeskServer) -> None:
    middesk_server.faults.add(Fault.RATE_LIMITED, endpoint="stream", retry_after=30)
    run = middesk_server.world.create(script=[])
    async with client_of(middesk_server) as client:
        with pytest.raises(RateLimitedError) as caught:
            await collect(client, run.id)
        assert caught.value.retry_after == 30.0
        refused = now()
        await client.get_run(run.id)
        assert now() - refused >= 30.0


# Against a fake


async def test_a_stream_is_asked_for_as_one() -> None:
    sender = StreamingFake([], RUN)
    async with client_with(sender) as client:
        assert await collect(client) == ([], MiddeskRun(id="r-1", object="run", status="running"))
    assert [(one.method, one.path) for one in sender.requests] == [
        ("GET", "/v1/runs/r-1/stream"),
        ("GET", "/v1/runs/r-1"),
    ]
    assert sender.silence == 300.0


async def test_events_that_nobody_knows_are_events() -> None:
    stream = b"".join(
        [
            b'data: {"type": "NEW_THING", "run_id": "r-1", "more": [1]}\n\n',
            b'event: NAMED\ndata: {"type": "OTHER"}\n\n',
            b"data: no json\n\n",
            b"data: [1, 2]\n\n",
            b'data: {"type": 7, "run_id": 7, "snapshot": {"steps": "odd"}}\n\n',
            b"data: " + b"[" * 5000 + b"\n\n",
        ]
    )
    async with client_with(StreamingFake([stream], RUN)) as client:
        events, _ = await collect(client)
    assert [(event.type, event.run_id, event.snapshot) for event in events] == [
        ("NEW_THING", "r-1", None),
        ("NAMED", None, None),
        ("message", None, None),
        ("message", None, None),
        ("message", None, Snapshot()),
        ("message", None, None),
    ]
    assert events[0].data["more"] == [1]
    assert events[2].data == "no json"
    assert events[3].data == [1, 2]


@pytest.mark.parametrize("depth", [1, 150, 300, 450])
async def test_an_odd_step_spoils_nothing_however_deep_it_is(depth: int) -> None:
    step = '{"id": "s", "steps": [' * depth + '{"id": "odd", "name": 7}' + "]}" * depth
    event = f'data: {{"type": "STATE_SNAPSHOT", "snapshot": {{"steps": [{step}]}}}}\n\n'.encode()
    run = f'{{"id": "r-1", "object": "run", "status": "COMPLETED", "steps": [{step}]}}'.encode()
    async with client_with(StreamingFake([event], reply(body=run))) as client:
        shown, final = await collect(client)
    assert [event.type for event in shown] == ["STATE_SNAPSHOT"]
    assert (final.id, final.phase) == ("r-1", Phase.SUCCEEDED)
    assert isinstance(final.steps, tuple)
    assert final.steps[0].id == "s"


async def test_an_event_is_bounded() -> None:
    sender = StreamingFake([b"data: small\n\n", b"data: " + b"x" * 1000, b"x" * 1000], RUN)
    async with client_with(sender, max_body=1500) as client:
        items = client.stream_run("r-1")
        assert isinstance(await anext(items), StreamEvent)
        with pytest.raises(DecodeError, match="larger than 1500 bytes"):
            await anext(items)
        assert sender.open == 0


@pytest.mark.parametrize(("failure", "error"), [(LOST, ConnectionFailedError), (SILENT, RequestTimeoutError)])
async def test_no_answer_is_an_error_without_the_inside_of_the_sender(
    failure: NoAnswerError, error: type[Exception]
) -> None:
    sender = StreamingFake(failure)
    async with client_with(sender) as client:
        with pytest.raises(error) as caught:
            await collect(client)
    assert caught.value.__context__ is None
    assert len(sender.requests) == 1


@pytest.mark.parametrize("status", [302, 404, 418, 500])
async def test_an_answer_other_than_success_is_an_error(status: int) -> None:
    sender = StreamingFake(reply(status, {"errors": [{"message": "because"}]}))
    async with client_with(sender) as client:
        with pytest.raises(StatusError) as caught:
            await collect(client)
    assert caught.value.status == status
    assert sender.open == 0


async def test_a_sender_that_cannot_stream_says_so() -> None:
    async with client_with(FakeSender()) as client:
        with pytest.raises(ConfigurationError, match="FakeSender cannot stream"):
            await collect(client)
