"""A store in memory on which everything happens that happens to stores: calls are lost, late, or lost on the way back;
it is away, restarts with lost writes, is emptied; its clock jumps."""

import asyncio
import random
from dataclasses import dataclass, field

from codegen_async.fleet.store import Reply, StoreAwayError
from tests.fleet.hosts import later, the_loop

Values = dict[str, tuple[bytes, bytes]]


@dataclass
class Shelf:
    """The server of a store.

    Attributes:
        rnd: decides.
        forgets: whether it may lose writes, so that a restart is another epoch.
        offset: seconds that its clock shows more than true time.
    """

    rnd: random.Random
    forgets: bool = True
    offset: float = 50_000.0
    values: Values = field(default_factory=Values)
    saved: Values = field(default_factory=Values)
    epochs: int = 0
    began: float = 0.0
    is_away: bool = False
    swaps: int = 0

    def save(self) -> None:
        """Do as a snapshot does: a later restart goes back to it."""
        self.saved = dict(self.values)

    def restart(self, *, empty: bool) -> None:
        """Lose what was written since the last snapshot, or all; or nothing, if it never does."""
        if self.forgets:
            self.values = {} if empty else dict(self.saved)
            self.epochs += 1
            self.began = the_loop().true_time()

    def swap(self, key: str, expected: bytes, value: bytes | None, epoch: str | None) -> Reply:
        """Do it at once."""
        now = the_loop().true_time()
        self.swaps += 1
        version, found = self.values.get(key, (b"", None))
        name = f"epoch {self.epochs}"
        swapped = value is not None and version == expected and epoch in (None, name)
        if swapped and value is not None:
            version = self.rnd.randbytes(8)
            self.values[key] = version, value
        return Reply(
            swapped=swapped,
            version=version,
            value=None if swapped else found,
            now=now + self.offset,
            epoch=name,
            uptime=now - self.began if self.forgets else float("inf"),
        )


@dataclass
class Line:
    """The way from one host to the store; a `Store`.

    Attributes:
        lost: share of the calls that come to nothing, or whose answer does not come.
        late: share of the calls that arrive long after their caller gave up.
    """

    shelf: Shelf
    rnd: random.Random
    lost: float = 0.0
    late: float = 0.0
    leg: tuple[float, float] = (0.0001, 0.0005)
    is_cut: bool = False

    async def swap(self, key: str, expected: bytes, value: bytes | None, epoch: str | None) -> Reply:
        """Ask the store over the way; see `Store`."""
        rnd = self.rnd
        answer: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        there, back = (rnd.uniform(*self.leg) for _ in range(2))
        fate = rnd.random()
        if fate < self.late:
            there += rnd.uniform(0.5, 8.0)
        elif fate < self.late + self.lost:
            if rnd.random() < 0.3:  # the connection is refused, or breaks: that is seen at once
                raise StoreAwayError("the connection broke")
            if rnd.random() < 0.5:
                back = 1e6
            else:
                there = 1e6

        def arrive() -> None:
            if not (self.shelf.is_away or self.is_cut):
                later(back, deliver, self.shelf.swap(key, expected, value, epoch))

        def deliver(reply: Reply) -> None:
            if not (answer.done() or self.is_cut):
                answer.set_result(reply)

        later(there, arrive)
        try:
            async with asyncio.timeout(1.0):
                return await answer
        except TimeoutError:
            raise StoreAwayError("no answer") from None

    async def close(self) -> None:
        """Close nothing."""
