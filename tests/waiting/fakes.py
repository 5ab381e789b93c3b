"""A server without HTTP, and the waits that are on it."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from datetime import datetime
from types import TracebackType
from typing import Any, Self, TypeVar

import msgspec

from codegen_async import limits
from codegen_async.errors import ConnectionFailedError, NotFoundError, StatusError
from codegen_async.limits import Rate
from codegen_async.models import Phase, RunId
from codegen_async.polling import GetPoll, Listing, ListPoll, NumberedListing, Poll, PollSchedule, Stream
from codegen_async.waiting import Page, Waiting

RATE = Rate(60, 30.0)
LONG = 50_000.0

T = TypeVar("T")


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """A snapshot; `life` counts how often the run was taken up again."""

    id: int
    phase: Phase = Phase.RUNNING
    status: str | None = "ANY"
    web_url: str | None = None
    source_type: str | None = "API"
    created_time: datetime | None = None
    life: int = 0


def down(_: object) -> Exception:
    """Be out of reach."""
    return ConnectionFailedError("the server cannot be reached", method="GET", path="/run")


def answer(kind: type[StatusError], status: int) -> Callable[[object], Exception]:
    """Refuse everything with one status."""
    return lambda _: kind(str(status), method="GET", path="/run", status=status)


class Slot:
    """The permission for one request; waits until its stream is not held up."""

    waited: float = 0.0
    taken_at: float | None = None

    def __init__(self, remote: "Remote", stream: Stream) -> None:
        self._remote = remote
        self._stream = stream
        self._open = False

    async def __aenter__(self) -> Self:
        if not self._open:
            await self._remote.gates[self._stream].wait()
            self._open = True
            self._remote.open_slots += 1
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        if self._open:
            self._open = False
            self._remote.open_slots -= 1

    def sent(self) -> None: ...

    def answered(self) -> None: ...

    def heard(self, budget: limits.Budget) -> None: ...

    def rejected(self, retry_after: float | None) -> bool:
        raise NotImplementedError


class Remote:
    """Answers polls after `latency` seconds, from what is true when the answer leaves."""

    def __init__(self) -> None:
        self.runs: dict[int, Run] = {}
        """Oldest first."""
        self.gets: list[int] = []
        self.pages: list[ListPoll] = []
        self.asked_at: list[float] = []
        self.latency = 0.1
        self.page_latency: float | None = None
        self.fault: Callable[[Poll], Exception | None] = lambda _: None
        """Returns what goes wrong with a poll, decided when its answer leaves."""
        self.open_slots = 0
        self.gates = {stream: asyncio.Event() for stream in Stream}
        """Whether slots are given out."""
        for gate in self.gates.values():
            gate.set()

    @property
    def requests(self) -> int:
        return len(self.asked_at)

    def start(self, *ids: int, phase: Phase = Phase.RUNNING) -> None:
        for run_id in ids:
            self.runs[run_id] = Run(id=run_id, phase=phase)

    def move(self, run_id: int, phase: Phase) -> Run:
        self.runs[run_id] = msgspec.structs.replace(self.runs[run_id], phase=phase)
        return self.runs[run_id]

    def end(self, *ids: int) -> None:
        for run_id in ids:
            self.move(run_id, Phase.SUCCEEDED)

    def resume(self, run_id: int) -> Run:
        run = self.runs[run_id]
        self.runs[run_id] = msgspec.structs.replace(run, phase=Phase.RUNNING, life=run.life + 1)
        return self.runs[run_id]

    def slot(self, stream: Stream) -> limits.Slot:
        return Slot(self, stream)

    async def get(self, run_id: RunId, slot: limits.Slot) -> Run:
        assert isinstance(run_id, int)
        self.gets.append(run_id)
        await self._travel(slot, GetPoll(run_id), self.latency)
        if run_id not in self.runs:
            raise NotFoundError("404", method="GET", path=f"/run/{run_id}", status=404)
        return self.runs[run_id]

    async def page(self, poll: ListPoll, slot: limits.Slot) -> Page[Run]:
        self.pages.append(poll)
        await self._travel(slot, poll, self.latency if self.page_latency is None else self.page_latency)
        return self.list_page(poll)

    def list_page(self, poll: ListPoll) -> Page[Run]:
        newest_first = [run for run in self.runs.values() if poll.source in {None, run.source_type}][::-1]
        return Page(newest_first[poll.skip : poll.skip + poll.limit], len(newest_first))

    async def _travel(self, slot: limits.Slot, poll: Poll, latency: float) -> None:
        async with slot:
            self.asked_at.append(asyncio.get_running_loop().time())
            await asyncio.sleep(latency)
        if error := self.fault(poll):
            raise error


@asynccontextmanager
async def waiting_on(
    remote: Remote,
    *,
    latency: float = 5.0,
    get: Rate = RATE,
    page: Rate | None = RATE,
    share: float = 0.8,
    numbered: bool = False,
    without_run: Callable[[], Awaitable[object]] | None = None,
) -> AsyncGenerator[Waiting[Run]]:
    """Yield the waits of a client; when they are closed, no task and no slot may be left."""
    look = NumberedListing() if numbered else Listing("API")
    schedule = PollSchedule(get=get, page=page, share=share, listing=look, shared=numbered)
    waiting = Waiting(remote, schedule, latency=latency, end_of=lambda run: run.life, without_run=without_run)
    mine = asyncio.all_tasks()
    try:
        async with asyncio.timeout(LONG):  # a wait that hangs must not hang the test
            yield waiting
    finally:
        await waiting.aclose()
    assert asyncio.all_tasks() <= mine
    assert remote.open_slots == 0
    assert len(schedule) == 0


def begin(wait: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    """Let a wait go on by itself."""
    return asyncio.create_task(wait)


def now() -> float:
    return asyncio.get_running_loop().time()
