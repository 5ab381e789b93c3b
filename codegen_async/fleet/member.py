"""A member at one board: it calls when its callers want something or give something back.

One call at a time, in a task of the member's own: no caller's cancellation reaches the store. Between two calls there
is at most a timer. A board that was read, or written, is kept until the next call, which tries with it first.
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
from collections.abc import Callable, Collection, Iterator
from functools import cached_property

import msgspec

from codegen_async.fleet.board import Outcome, Present, Refusal, exchange, expected_delay
from codegen_async.fleet.clock import StoreClock
from codegen_async.fleet.records import Board, NewerBoardError, read, write
from codegen_async.fleet.slots import Moment, Slots
from codegen_async.fleet.store import StoreAwayError
from codegen_async.fleet.watch import WatchedStore
from codegen_async.limits.rates import FleetState, MemberState, Rate

_log = logging.getLogger("codegen_async")

_GATHER = 0.002  # seconds; wishes that come within so long are one call
_NEWS = 0.1  # seconds; what has begun to cool, or comes back while nobody waits, can wait so long to be told
_APART = 0.004  # seconds between two calls
_RETRY, _RETRIES = 0.1, 1.0  # seconds until a store that is away is asked again: so much more each time, at most
_NEWER = 5.0  # seconds until a board of a newer form is looked at again


class View(msgspec.Struct, frozen=True):
    """Be a board as it was last seen.

    Attributes:
        version: the store's name for it.
        value: what is there; None: nothing.
        epoch: the store's.
        uptime: see `Reply`.
    """

    version: bytes
    value: bytes | None
    epoch: str
    uptime: float

    def board(self) -> Board | None:
        """Return it, if there is one that can be read."""
        return None if self.value is None else read(self.value)


class Member:
    """Take part in one board.

    Args:
        name: what the member is called.
        key: returns the board's key, when it is first used.
        store: where it lies.
        slots: what it holds; who changes them says so to `changed`.
        demand: tells how many callers wait, by priority.
        confirmed: hears of each call that was, when all that it brought is there.
    """

    def __init__(
        self,
        name: str,
        key: Callable[[], str],
        store: WatchedStore,
        slots: Slots,
        *,
        demand: Callable[[], tuple[int, int]],
        confirmed: Callable[[Outcome], None],
    ) -> None:
        self.name: str = name
        self.slots: Slots = slots
        self._key_of = key
        self._store = store
        self._demand = demand
        self._confirmed = confirmed
        self._process = os.getpid()
        self._clock = StoreClock(slots.terms.life(slots.rate.period))
        self._view: View | None = None
        self._last: View | None = None  # that was seen; while a call is under way, what it found is not sure any more
        self._looked = asyncio.Event()
        self._has_seen = False  # a board
        self._is_told_late = False
        self._refusals: list[tuple[float, float | None]] = []  # until when to be silent, when the slot was taken
        self._cold_until = -math.inf
        self._is_waiting = False
        self._at = self._wish_at = math.inf  # of the next call, for something to tell or only to ask for
        self._not_before = -math.inf
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = math.inf
        self._task: asyncio.Task[None] | None = None
        self._failures = 0
        self._is_over = False
        self._complained = False

    # -- what there is to tell

    def wish(self) -> None:
        """Call soon, if callers wait for more than there is; who waits already has been told when to call."""
        self._wish_at = min(self._wish_at, self._now() + (_NEWS if self._is_waiting else _GATHER))
        self._arm()

    def changed(self) -> None:
        """Tell in time that slots were given back, or began to cool."""
        self._ask(self._now() + _NEWS)

    def take_back(self) -> None:
        """Take back a slot that was set aside and not used."""
        self.slots.unhand(self._now())
        self.changed()

    def seed(self, ages: Collection[float], now: float) -> None:
        """Count earlier requests."""
        self.slots.seed(ages, now)
        self._ask(now + _GATHER)

    def refuse(self, until: float, taken_at: float | None, now: float) -> None:
        """Tell all that a server wishes silence until then, after a request whose slot was taken at that time."""
        self._refusals.append((until, taken_at))
        self._ask(now + _GATHER)

    def learn(self, rate: Rate, rank: int) -> None:
        """Go by this rate from now on."""
        self.slots.rate, self.slots.rank = rate, rank

    @property
    def is_forked(self) -> bool:
        """Whether this is another process than the one that opened it, which goes by the same name."""
        return os.getpid() != self._process

    def check_process(self) -> None:
        """Raise RuntimeError if it is forked: nothing is sent from here, and nothing said in the name of the other."""
        if self.is_forked:
            raise RuntimeError("this client was opened before the process was forked; open one in each process")

    # -- to look at

    async def look(self) -> None:
        """Come back when the board was seen at least once, or cannot be seen for now."""
        if self._last is None and not self.is_forked:
            self._ask(self._now())
            await self._looked.wait()

    def expected_wait(self, now: float, ahead: int) -> float:
        """Return the seconds until one more caller would get a slot, as far as is known.

        Nobody knows when a store that is away comes back: it is taken to stay away for as long again.
        """
        board = self._board()
        if self.slots.room(now) > ahead:
            return 0.0
        away = self._store.away_for
        if board is None or not board.members:
            return max(away, self._not_before - now, self._cold_until - now)
        return max(away, expected_delay(board, self.name, ahead, self.slots.terms, self._clock.bounds(now)[0]))

    def within_reach(self, now: float) -> int:
        """Return how many slots are there, and how many nobody had when the board was last seen."""
        board = self._board()
        if board is None or not board.members:
            return self.slots.rate.limit
        return self.slots.room(now) + max(0, board.rate()[0].limit - board.used)

    def state(self, now: float) -> FleetState:
        """Return with whom the limit is shared."""
        board = self._board()
        members = () if board is None else tuple(self._shown(board, now))
        cold = max(0.0, self._cold_until - now)
        return FleetState(members=members, leader=None, away_for=self._store.away_for, cold_for=cold)

    def _shown(self, board: Board, now: float) -> Iterator[MemberState]:
        lately = self._clock.bounds(now)[1] - self.slots.rate.period
        for name, entry in sorted(board.members.items()):
            if entry.used or sum(entry.wanted) or entry.seen > lately:
                yield MemberState(name, entry.used, sum(entry.wanted), entry.kept, name == self.name)

    @cached_property
    def _key(self) -> str:
        return self._key_of()

    def _board(self) -> Board | None:
        try:
            return None if self._last is None else self._last.board()
        except NewerBoardError:
            return None

    # -- when to call

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    def _ask(self, at: float) -> None:
        if at < self._at:
            self._at = at
            self._arm()

    def _arm(self) -> None:
        """See to the next call, unless one is under way, which does it at its end."""
        if self._is_over or self._task is not None:
            return
        at = max(min(self._at, self._wish_at), self._not_before)
        if at != self._timer_at:
            self._disarm()
            if at < math.inf:
                self._timer, self._timer_at = asyncio.get_running_loop().call_at(at, self._fire), at

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._timer_at = None, math.inf

    def _fire(self) -> None:
        self._timer, self._timer_at = None, math.inf
        self._wish_at = math.inf
        if self.is_forked:
            return
        now = self._now()
        if now >= self._at or sum(self._demand()) > self.slots.room(now):
            self._task = asyncio.create_task(self._call(), name=f"codegen-async: {self._key.rpartition(':')[2]}")
        else:
            self._arm()

    async def _call(self) -> None:
        try:
            await self._converse(leaving=False)
        except StoreAwayError:
            self._failures += 1
            self._retry_in(min(_RETRY * self._failures, _RETRIES))
        except NewerBoardError:
            self._complain("the board was written by a newer version of codegen-async: nothing is sent from here")
            self._retry_in(_NEWER)
        except Exception as error:  # noqa: BLE001 - what we stumble over must not make callers wait for ever
            _log.error("fleet: a board could not be replaced; please report this", exc_info=error)
            self._retry_in(_NEWER)
        else:
            self._failures = 0
            self._not_before = self._now() + _APART
        finally:
            self._task = None
            self._looked.set()
        self._arm()

    def _retry_in(self, seconds: float) -> None:
        self._view = None
        self._not_before = self._now() + seconds
        self._at = min(self._at, self._not_before)

    def _complain(self, about: str) -> None:
        if not self._complained:
            self._complained = True
            _log.warning("fleet: %s: %s", self._key.rpartition(":")[2], about)

    # -- a call

    async def _converse(self, *, leaving: bool) -> None:
        """Replace the board, and read it first if it is not known; again at once where another was faster."""
        if self._view is None:
            await self._swap(b"", None, None)
        while True:
            self._at = self._wish_at = math.inf
            since, view = Moment(self._now()), self._view
            if view is None:
                raise StoreAwayError("the board was forgotten")  # cannot be: a reply brings one
            outcome = self._outcome(view, since.at, leaving=leaving)
            told = len(self._refusals)
            if await self._swap(view.version, write(outcome.board), view.epoch):
                break
        del self._refusals[:told]
        self._take(outcome, since)

    async def _swap(self, version: bytes, value: bytes | None, epoch: str | None) -> bool:
        """Ask the store, and note what is there now; return whether it was replaced."""
        if self.is_forked:  # while it was calling
            raise StoreAwayError("this is another process")
        self._view, sent = None, self._now()
        reply = await self._store.swap(self._key, version, value, epoch)
        self._is_told_late = not self._clock.heard(sent, self._now(), reply.now)
        self._view = View(reply.version, value if reply.swapped else reply.value, reply.epoch, reply.uptime)
        self._last = self._view
        self._looked.set()
        return reply.swapped

    def _outcome(self, view: View, now: float, *, leaving: bool) -> Outcome:
        own = self.slots.told(self.name, self._demand(), now, leaving=leaving)
        own.refusals = [
            Refusal(max(0.0, until - now), None if taken_at is None else now - taken_at)
            for until, taken_at in self._refusals
        ]
        board = view.board()
        lower, upper = self._clock.bounds(now)
        lost = board is None and (view.value is not None or self._has_seen)
        present = Present(lower=lower, upper=upper, epoch=view.epoch, uptime=view.uptime, lost=lost)
        return exchange(board, own, self.slots.terms, present)

    def _take(self, outcome: Outcome, since: Moment) -> None:
        """Take what a confirmed call has brought."""
        slots, now = self.slots, self._now()
        self._has_seen = True
        self._is_waiting = outcome.delay < math.inf
        self._cold_until = now + outcome.cold_for if outcome.cold_for else -math.inf
        if outcome.cold_for:
            self._store.forgot(outcome.cold_for)
        # Where the store's clock has jumped, others may take these for older than they are: they go back.
        granted = 0 if self._is_told_late else outcome.granted
        calls = outcome.board.members[self.name].calls
        slots.confirm(since, granted, outcome.kept, slots.terms.cycle(outcome.rate.period), calls)
        if self._is_told_late:
            self._at = now
        self._at = min(self._at, since.at + outcome.delay)
        patience = 0.0 if outcome.waited_for or self._is_waiting else _NEWS
        self._at = min(self._at, slots.next_change(now, patience))
        if outcome.rate.limit < slots.rate.limit or outcome.rate.period > slots.rate.period:
            self._complain(f"others keep to {outcome.rate.limit} requests in {outcome.rate.period:g} s, so all do")
        self._confirmed(outcome)

    # -- the end

    async def leave(self) -> None:
        """Write a last entry, so that others need not wait for what this member had; a store that is away is let be."""
        self._is_over = True
        self._looked.set()
        self._disarm()
        if self.is_forked:
            return
        task = self._task
        try:
            if task is not None:
                await asyncio.wait({task})
            if self._has_seen:
                await self._converse(leaving=True)
        except (StoreAwayError, NewerBoardError):
            return
        finally:
            if task is not None:
                task.cancel()
