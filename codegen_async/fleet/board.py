"""The rules of a board: what a member may send, and when it is to call again. Pure; the heart of a fleet.

The rule: there are as many slots as the server allows requests per period, and each has one owner. The owner takes it
when his write of the board is confirmed, may use it only for `send_by` seconds counted from the beginning of that call,
and gives it back one period after the answer by his own clock. Of an owner who is silent it is taken back after
`life` seconds, by the store's clock.

Assume:
(A1) a write replaces exactly what was read, or the store's epoch is another one, or who calls misses its last write;
(A2) clocks run within 1000 ppm of one another (`margin`);
(A3) a request is counted before its answer is seen, and at most `total + lateness` after its bytes were written;
(A4) nobody stands still for more than `pause` between the last look at the clock and the write of the bytes;
(A5) the store's clock does not jump ahead by more than `step` without the knowledge of the member that takes back.

Why it cannot fail: a slot is used again, by anybody, only a period W after the last request on it was counted.
(a) Its owner gives it back W + margin after the answer, `lateness` later if there was none, at once if nothing was
sent.
(b) Of a silent owner: bytes were written at most send_by + pause after the call began, and counted at most
total + lateness later. `life` is all these + W + margin, counted from an upper bound of the present at that call; it is
over, and `step` as well, when a lower bound says so.
(c) After lost writes: every lost grant is older than the new epoch, so by (b) it was counted W before the cold time of
life + step is over.
So two requests counted within one W are on different slots, and no call grants more than there are (A1): at most N are
counted in any W, by fixed windows, sliding windows and buckets alike.

A member that comes back after its slots were taken writes them again: the board is overfull, and grants nothing until
that is over. A write that arrives late fails, as the version is another one. A grant that was never confirmed was never
used. Slots that members keep for times without a store are used for `keep_for` after the beginning of their last
confirmed call, and counted for that + life + step; a cold time is longer by as much. Who could not use them any more
keeps none in his next call, as others may have taken them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from heapq import merge

import msgspec

from codegen_async.fleet.pace import Tokens
from codegen_async.fleet.records import Board, Entry
from codegen_async.fleet.turns import Turns, passed_after
from codegen_async.limits.rates import Priority, Rate

LATE = 0.5
"""Seconds. Who has not called so long after he wanted to is passed over."""

UNTAKEN = 0.15
"""Seconds. If a slot was free for so long, those are passed over who have not called since."""

AFTER = 0.008
"""Seconds after a slot comes back until others call for it: its owner's call comes first."""

_REST = (3.0, 5.0)  # seconds; so long who waits is silent at most, each member for another time
_OVERDUE = (0.02, 0.5)  # seconds until the next look for a slot whose owner is late; half of how late he is
_LONGEST_HOLD = 86_400.0  # seconds


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """Be the times that a member goes by, in seconds; all of a fleet should go by the same.

    Attributes:
        margin: added to the period. Default: as of a `Window`.
        send_by: age at which a grant must not be used any more. Default: 10 to connect, and 5.
        total: from the first byte of a request to the last one of its answer, at most. Default: the client's.
        lateness: after which a request that was given up reaches the server no more.
        pause: for which a process may stand still between the last look at the clock and the write of the bytes.
        step: by which the store's clock may jump ahead unnoticed.
        keep: slots to go on with while the store is away.
        keep_for: for which they may be used then.
    """

    margin: float | None = None
    send_by: float = 15.0
    total: float = 60.0
    lateness: float = 5.0
    pause: float = 10.0
    step: float = 5.0
    keep: int = 0
    keep_for: float = 60.0

    def cycle(self, period: float) -> float:
        """Return for how long a slot is away after its answer."""
        return period + (max(0.005, period / 600) if self.margin is None else self.margin)

    def life(self, period: float) -> float:
        """Return after what time a slot of a silent owner can no longer matter."""
        return self.send_by + self.total + self.lateness + self.pause + self.cycle(period)


class Refusal(msgspec.Struct, frozen=True):
    """Be a 429, or another wish of the server for silence.

    Attributes:
        hold: seconds of silence from now on.
        age: seconds since the slot of the request was taken; None: it says nothing of the pace.
    """

    hold: float
    age: float | None


class Own(msgspec.Struct, kw_only=True):
    """Be what a member knows, has and wants, by its own clock.

    Attributes:
        name: the member.
        rate: the limit, as far as it knows.
        rank: how it knows; see `records.RANKS`.
        away: for each slot that is under way or may yet be used: seconds since it was granted.
        cooling: for each slot that cools: seconds that are left.
        wanted: slots that callers wait for, by priority.
        kept: slots that it keeps.
        refusals: news.
        leaving: whether this is its last call.
        calls: the number of the last call that was confirmed.
        called: seconds since that began; `inf`: none was.
    """

    name: str
    rate: Rate
    rank: int = 2
    away: Sequence[float] = ()
    cooling: Sequence[float] = ()
    wanted: tuple[int, int] = (0, 0)
    kept: int = 0
    refusals: Sequence[Refusal] = ()
    leaving: bool = False
    calls: int = 0
    called: float = math.inf


class Present(msgspec.Struct, frozen=True, kw_only=True):
    """Be what is known of the store.

    Attributes:
        lower: its clock shows no less.
        upper: nor more.
        epoch: the name of the time since it last may have lost writes.
        uptime: seconds since that time began; see `Reply`.
        lost: whether there was a board that is no longer there.
    """

    lower: float
    upper: float
    epoch: str
    uptime: float = math.inf
    lost: bool = False


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """Be what comes of a call, once its write is confirmed.

    Attributes:
        board: what is to be written.
        granted: slots that may be used.
        kept: slots that may be kept.
        delay: seconds until the next call for what is still wanted; `inf` if nothing is.
        held_for: seconds of silence that a server asked for.
        cold_for: seconds for which nothing is granted, since writes may have been lost.
        rate: what all keep to.
        rank: how it is known.
        waited_for: whether others wait for slots.
    """

    board: Board
    granted: int
    kept: int
    delay: float
    held_for: float
    cold_for: float
    rate: Rate
    rank: int
    waited_for: bool


def exchange(board: Board | None, own: Own, terms: Terms, present: Present) -> Outcome:
    """Return what a board is to become, and what that gives.

    Args:
        board: what is there, which is taken over; None: nothing that can be read.
        own: what the member has and wants.
        terms: what it goes by.
        present: the store's clock and epoch.
    """
    return _Exchange(board or Board(), own, terms, present, found=board is not None).outcome()


def expected_delay(board: Board, name: str, ahead: int, terms: Terms, now: float) -> float:
    """Return the seconds until a caller would get a slot, as far as a board tells, after so many others of his member.

    Each other member that waits is taken to have as many turns, and requests under way to be answered now.
    """
    rate, _ = board.rate()
    others = [sum(entry.wanted) for other, entry in board.members.items() if other != name]
    rounds, place = divmod(ahead + sum(min(wanted, ahead + 1) for wanted in others), rate.limit)
    cycle = terms.cycle(rate.period)
    place -= rate.limit - board.used
    coming = sorted(at for entry in board.members.values() for at in entry.cooling)
    at = now if place < 0 else coming[place] if place < len(coming) else now + cycle
    return max(at - now, board.held_until - now, board.cold_until - now, 0.0) + rounds * cycle


class _Exchange:
    """One call."""

    def __init__(self, board: Board, own: Own, terms: Terms, present: Present, *, found: bool) -> None:
        self.board = board
        self.own = own
        self.terms = terms
        self.now = present.upper
        self._present = present
        self._still_to_come = max(0.0, -present.uptime)  # seconds for which the server before may still grant
        previous = board.members.pop(own.name, None)
        self.low = self._lower()
        self._begin(found=found, known=self._stands(previous))
        self._clamp()
        self._bury()
        self.entry = self._entry(previous)
        self._waited = [0, 0] if previous is None else previous.wanted
        board.members[own.name] = self.entry
        self.rate, self.rank = board.rate()
        self._write_slots()

    def outcome(self) -> Outcome:
        """Take what is there, and see when there is more."""
        board = self.board
        tokens = self._tokens()
        self._stand_in_line()
        opens = max(board.cold_until, board.held_until) - self.low
        opens = self.now + opens if opens > 0 else self.now
        if opens <= self.now:
            self._keep()
        granted, delay = self._grant(tokens, opens)
        others = [entry for name, entry in board.members.items() if name != self.own.name]
        self._note_free(is_open=opens <= self.now and tokens.per_second is None)
        if granted < sum(self.own.wanted) and board.free_since:
            delay = min(delay, max(_OVERDUE[0], board.free_since + UNTAKEN + AFTER - self.now))
        self.entry.due = self.now + min(delay, _REST[1])
        return Outcome(
            board=board,
            granted=granted,
            kept=self.entry.kept,
            delay=delay,
            held_for=max(0.0, board.held_until - self.low),
            cold_for=max(0.0, board.cold_until - self.low),
            rate=self.rate,
            rank=self.rank,
            waited_for=any(sum(entry.wanted) for entry in others),
        )

    # -- what is there

    def _lower(self) -> float:
        """Return the lower bound of the present, as those know it who were there longer."""
        own = self._present.upper - self._present.lower
        known = self._life() + self.terms.step
        lags = [entry.lag for entry in self.board.members.values() if self.now - entry.seen < known]
        return self.now - max(own, *lags, 0.0)

    def _life(self) -> float:
        return self.terms.life(max((self.own.rate.period, *(e.period for e in self.board.members.values()))))

    def _stands(self, previous: Entry | None) -> bool:
        """Return whether there is what this member wrote last; if not, the board is another one, or an older one."""
        if previous is None:  # nobody forgets a member sooner, whatever its own times are
            return self.own.called >= self.terms.cycle(self.own.rate.period) + self.terms.step
        return previous.calls >= self.own.calls

    def _begin(self, *, found: bool, known: bool) -> None:
        """Be cold if writes may have been lost."""
        board, present, whole = self.board, self._present, self._life() + self.terms.step + self._still_to_come
        if self.terms.keep or any(entry.kept for entry in board.members.values()):
            whole += self.terms.keep_for
        cold = 0.0
        lost = present.lost or (found and board.epoch != present.epoch)
        if lost or (found and not known and board.cold_until <= self.low):  # else nothing was granted for long enough
            cold = whole
        elif not found and present.uptime <= self._life():
            cold = whole - max(present.uptime, 0.0)
        if cold:
            board.cold_until = max(board.cold_until, self.now + cold)
        board.epoch = present.epoch

    def _clamp(self) -> None:
        """Believe no time that is too far ahead: a clock that was set back must not stop the fleet."""
        board, now = self.board, self.now
        latest = now + self._life() + self.terms.step
        keep_for = self.terms.keep_for
        board.cold_until = min(board.cold_until, latest + self._still_to_come + keep_for)
        board.free_since = min(board.free_since, now)
        if board.held_from > now + self.terms.step:
            board.held_until += now - board.held_from
            board.held_from = now
        board.held_until = min(board.held_until, now + _LONGEST_HOLD)
        if board.pace.since > now + self.terms.step:
            board.pace.next += now - board.pace.since
            board.pace.since = now
        for entry in board.members.values():
            entry.away = [min(at, latest) for at in entry.away]
            entry.cooling = [min(at, latest) for at in entry.cooling]
            entry.seen, entry.due = min(entry.seen, now), min(entry.due, now + _REST[1])
            entry.kept_until = min(entry.kept_until, latest + keep_for)

    def _bury(self) -> None:
        """Take back what silent owners can no longer use, and forget those of whom nothing is left."""
        over = self.low - self.terms.step
        forgotten = over - self._life()
        members = self.board.members
        for name, entry in list(members.items()):
            if entry.away:
                entry.away = [at for at in entry.away if at > over]
            if entry.cooling:
                entry.cooling = [at for at in entry.cooling if at > over]
            if entry.kept_until <= over:
                entry.kept = 0
            if not entry.used and entry.seen <= forgotten:
                del members[name]

    # -- what is this member's

    def _entry(self, previous: Entry | None) -> Entry:
        rate = self.own.rate
        return Entry(
            seen=self.now,
            due=self.now,
            limit=rate.limit,
            period=rate.period,
            burst=rate.limit if rate.burst is None else rate.burst,
            rank=self.own.rank,
            lag=self._present.upper - self._present.lower,
            rounds=[0, 0] if previous is None else previous.rounds,
            wanted=list(self.own.wanted),
            kept=self.own.kept,
            calls=1 + max(self.own.calls, 0 if previous is None else previous.calls),
        )

    def _write_slots(self) -> None:
        own, now, entry = self.own, self.now, self.entry
        life, cycle = self.terms.life(self.rate.period), self.terms.cycle(self.rate.period)
        entry.away = [now + max(cycle, life - age) for age in own.away]
        entry.cooling = [now + left for left in own.cooling]
        if entry.kept or self.terms.keep:
            entry.kept_until = now + self.terms.keep_for + life

    def _tokens(self) -> Tokens:
        """Take in what was refused, and return how many tokens there are."""
        board, now = self.board, self.now
        for refusal in self.own.refusals:
            if now + refusal.hold > board.held_until:
                board.held_from, board.held_until = now, now + min(refusal.hold, _LONGEST_HOLD)
        tokens = Tokens(board.pace, self.rate, stated=self.rank == 2, opens=board.held_until)  # noqa: PLR2004 - stated
        tokens.speed_up(self.low)
        for refusal in self.own.refusals:
            if refusal.age is not None:
                board.pace.rejections += 1
                tokens.slow_down(now - refusal.age, now)
        return tokens

    def _stand_in_line(self) -> None:
        """Go on in the present round; who was there before is not more behind than by what others take at once."""
        for priority, wanted in enumerate(self.own.wanted):
            if wanted:
                waiting = sum(entry.wanted[priority] > 0 for entry in self.board.members.values())
                behind = self.rate.limit // waiting + 1 if self._waited[priority] else 0
                self.entry.rounds[priority] = max(self.entry.rounds[priority], self.board.rounds[priority] - behind)

    def _keep(self) -> None:
        if not self.own.leaving:
            missing = self.terms.keep - self.entry.kept
            self.entry.kept += max(0, min(missing, self.rate.limit - self.board.used))

    # -- whose turn it is

    def _grant(self, tokens: Tokens, opens: float) -> tuple[int, float]:
        """Take the slots that are free and fall to this member; return how many, and when to call for more."""
        own, now = self.own, self.now
        wanted = sum(own.wanted)
        if not wanted:
            return 0, math.inf
        free = self.rate.limit - self.board.used
        turns = Turns(self._present_members(), self.board.passed)
        granted, at = 0, opens
        delay = _REST[0] + (_REST[1] - _REST[0]) * _spread(own.name)
        for place, at in enumerate(self._times(free, opens)):
            turn = turns.next()
            if turn is None or granted == wanted:
                break
            if turn[0] == own.name:
                at = max(at, tokens.at(place, opens))  # noqa: PLW2901 - a slot and a token
                if at > now:
                    delay = min(delay, at + AFTER - now)
                    break
                granted += 1
                self._grant_one(turn[1])
        else:  # it is not its turn before all these have come and gone
            delay = min(delay, max(at, now) + AFTER - now)
        tokens.take(granted, now)
        return granted, delay if granted < wanted else math.inf

    def _grant_one(self, priority: Priority) -> None:
        board, entry = self.board, self.entry
        background = any(e.wanted[Priority.BACKGROUND] for e in board.members.values())
        board.passed = passed_after(board.passed, priority, background_waits=background)
        entry.wanted[priority] -= 1
        board.rounds[priority] = max(board.rounds[priority], entry.rounds[priority])
        entry.rounds[priority] += 1
        entry.away.append(self.now + self.terms.life(self.rate.period))

    def _present_members(self) -> dict[str, Entry]:
        """Return who is not passed over, as they stood before this call granted anything."""
        board, now = self.board, self.now
        untaken = board.free_since if board.free_since and now > board.free_since + UNTAKEN else -math.inf
        return {
            name: entry
            for name, entry in board.members.items()
            if name == self.own.name or (now <= entry.due + LATE and entry.seen >= untaken)
        }

    def _times(self, free: int, opens: float) -> Iterator[float]:
        """Yield when each next slot is there, as far as can be known: the free ones, then those that cool."""
        for _ in range(free):
            yield opens
        cycle = self.terms.cycle(self.rate.period)
        entries = self.board.members.values()
        cooling = sorted(self._expected(at) for entry in entries for at in entry.cooling)
        away = [self.now + cycle] * sum(len(entry.away) for entry in entries)
        for place, at in enumerate(merge(cooling, away)):
            if place >= -free:  # an overfull board has to drain first
                yield max(at, opens)

    def _expected(self, at: float) -> float:
        """Return when a slot comes back that was to come back then; its owner may be late."""
        if at > self.now:
            return at
        return self.now + min(_OVERDUE[1], max(_OVERDUE[0], (self.now - at) / 2))

    def _note_free(self, *, is_open: bool) -> None:
        board = self.board
        if not is_open or self.rate.limit <= board.used:
            board.free_since = 0.0
        elif not board.free_since:
            board.free_since = self.now


def _spread(name: str) -> float:
    """Return a number from 0 to 1 that differs between names."""
    return (sum(name.encode()) * 37 % 101) / 101
