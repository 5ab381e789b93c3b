"""Who is there, who asks for all, and whether the others may be quiet. Pure: no clock, no I/O.

Nothing here protects anything but requests: two who lead cost some, and none who leads costs what asking alone costs.

How old a message is at most, each member can tell by its own clock: others send back the stamp of the newest hello that
they had of it. What is older than a few seconds, or of unknown age, counts for nothing: whoever was frozen, or hears
without being heard, neither keeps others quiet nor tells them anything.
"""

from __future__ import annotations

import math

import msgspec

from codegen_async.fleet.hello import Heard, Hello
from codegen_async.fleet.wishes import TheirWishes

LISTEN = 2.0
"""Seconds for which a new member only listens."""

SILENCE = 5.0
"""Seconds without a hello, after which another one leads; and the most that a message may be old."""

_GRACE = 2.0  # more seconds for those that are not next
_FORGET = 10.0  # seconds after which a silent member is not one any more
_ARRIVES = 1.5  # seconds in which a wish comes to others, and they say so
_UNKNOWN = 3.0  # seconds for which a wish may be unknown to who leads


class Peer(msgspec.Struct):
    """What is known of another member.

    Attributes:
        theirs: its wishes.
        at: the stamp of its newest hello, by its clock.
        joined: when it was first heard.
        heard: when its last hello came that was surely a fresh one.
        leads: whether it asks for all.
        able: whether it can.
        holds: how many changes of the own wishes it has.
        number: how many hellos with news of it were heard or missed; None while that is not known.
    """

    theirs: TheirWishes
    at: float
    joined: float
    heard: float = -math.inf
    leads: bool = False
    able: bool = True
    holds: int = 0
    number: int | None = None


class LooksState(msgspec.Struct, frozen=True):
    """Say who looks for whom in a fleet.

    Attributes:
        name: this member.
        leader: who asks for all; None while nobody is known to.
        members: all that are there, this one among them.
        quiet: whether this one leaves the asking to the leader.
    """

    name: str
    leader: str | None
    members: tuple[str, ...]
    quiet: bool

    @property
    def leads(self) -> bool:
        """Whether this member asks for all."""
        return self.leader == self.name


class Circle:
    """Know the members, and find out who leads: the smallest name of those who can, unless somebody does already.

    Args:
        name: the own one.
        now: the time.
    """

    def __init__(self, name: str, now: float) -> None:
        self.name = name
        self.members: dict[str, Peer] = {}
        self.leads: bool = False
        self._since = now
        self._unable_until = -math.inf
        self._numbers: list[tuple[float, int]] = [(now, 0)]  # when the own wishes had which number

    # What is heard

    def hear(self, hello: Hello, now: float) -> tuple[Peer, bool]:
        """Take in a hello; return its member, and whether it is surely fresh."""
        member = self.members.get(hello.name)
        if member is None:
            member = self.members[hello.name] = Peer(TheirWishes(), hello.at, now)
        member.at = max(member.at, hello.at)
        echo = hello.heard.get(self.name)
        if echo is None or not 0.0 <= now - echo.at <= SILENCE:  # none of ours is of the future
            return member, False
        member.heard = now
        member.leads, member.able, member.holds = hello.leads and not hello.gone, hello.able, echo.wishes
        return member, True

    def missed(self, member: Peer, hello: Hello) -> bool:
        """Count the news of a fresh hello; return whether some before it are missing."""
        before, member.number = member.number, hello.number
        expected = hello.number - bool(hello.news)
        return expected != (0 if before is None else before)

    def lost(self, now: float) -> list[tuple[str, Peer]]:
        """Forget, and return, those that were not heard for long."""
        names = [name for name, each in self.members.items() if now - max(each.heard, each.joined) > _FORGET]
        return [(name, self.members.pop(name)) for name in names]

    @property
    def echoes(self) -> dict[str, Heard]:
        """What is held of each member."""
        return {name: Heard(member.at, member.theirs.number) for name, member in self.members.items()}

    # Who leads

    def give_up(self, until: float) -> None:
        """Leave the lead to others until then, if there are any: asking brings nothing here."""
        self._unable_until = max(self._unable_until, until)

    def is_able(self, now: float) -> bool:
        """Whether asking works here, as far as is known."""
        return now >= self._unable_until

    def decide(self, now: float) -> bool:
        """Decide whether to lead, and return that."""
        mine = self._rank(self.name, able=self.is_able(now))
        ranks = [self._rank(name, able=each.able) for name, each in self._present(now).items()]
        leading = [self._rank(name, able=each.able) for name, each in self._present(now).items() if each.leads]
        if self.leads:
            may_stay = mine[0] == 0 or all(rank[0] for rank in ranks)
            self.leads = may_stay and all(mine < rank for rank in leading)
        else:
            self.leads = now - self._since >= LISTEN and not leading and all(mine < rank for rank in ranks)
        return self.leads

    @staticmethod
    def _rank(name: str, *, able: bool) -> tuple[int, str]:
        return 0 if able else 1, name

    def _present(self, now: float) -> dict[str, Peer]:
        return {name: each for name, each in self.members.items() if now - each.heard <= SILENCE}

    def leader(self, now: float) -> str | None:
        """Return who leads, as far as is known."""
        leading = [name for name, member in self._present(now).items() if member.leads]
        return self.name if self.leads else min(leading, default=None)

    # Whether to be quiet

    def wished(self, number: int, now: float) -> None:
        """Note the number of the own wishes."""
        self._numbers.append((now, number))
        while len(self._numbers) > 1 and self._numbers[1][0] <= now - _UNKNOWN:
            del self._numbers[0]

    def lacking(self, now: float) -> int | None:
        """Return the number after which somebody lacks wishes that it should know by now; None if nobody does."""
        least = min((member.holds for member in self._present(now).values()), default=None)
        return None if least is None or least >= self._due_number(now, _ARRIVES) else least

    def _due_number(self, now: float, within: float) -> int:
        """Return up to which number the own wishes are older than that."""
        return max((number for moment, number in self._numbers if moment <= now - within), default=0)

    def quiet_until(self, now: float) -> float | None:
        """Return until when to be quiet; None if nobody leads who was heard lately, and knows what is wanted here."""
        leader = self.leader(now)
        if leader is None or leader == self.name:
            return None
        member = self.members[leader]
        if member.holds < self._due_number(now, _UNKNOWN):
            return None
        is_next = all(self.name < name for name in self._present(now) if name != leader)
        return member.heard + SILENCE + (0.0 if is_next else _GRACE)

    def state(self, now: float) -> LooksState:
        """Return who looks for whom."""
        names = tuple(sorted([self.name, *self._present(now)]))
        return LooksState(self.name, self.leader(now), names, self.quiet_until(now) is not None)
