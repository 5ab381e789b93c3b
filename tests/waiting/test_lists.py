"""Lists that never tell, tell late, or tell what is not true: every end is known in time all the same."""

import asyncio
import random
from collections.abc import Callable, Sequence

import msgspec
import pytest

from codegen_async.limits import Rate
from codegen_async.models import Phase
from codegen_async.polling import ListPoll
from codegen_async.waiting import Page
from tests.waiting.fakes import Remote, Run, begin, now, waiting_on

pytestmark = pytest.mark.asyncio(loop_factories=["virtual"])

CHECK = 60.0  # seconds: a get in a dozen pages, one of which goes every 5 s
GETS = 1.6  # a second
TRIAL = 15.0  # seconds from a get that tells something else until a page has shown what the list tells

Rows = Sequence[Run]


class Lister(Remote):
    """Answers gets truly, and lists what `tell` makes of how the runs are now and of how they were."""

    def __init__(self, tell: "Tell", *, sure: bool) -> None:
        super().__init__()
        self.tell = tell
        self.sure = sure
        self.listed = 0
        self._past: list[tuple[float, Rows]] = []

    def remember(self) -> None:
        """Keep how the runs are, for lists that are late."""
        self._past.append((now(), self.rows))

    @property
    def rows(self) -> Rows:
        return list(self.runs.values())[::-1]

    def ago(self, seconds: float) -> Rows:
        """Return the rows of then."""
        return next((rows for at, rows in reversed(self._past) if at <= now() - seconds), self._past[0][1])

    def list_page(self, poll: ListPoll) -> Page[Run]:
        self.listed += 1
        rows, total = self.tell(self)
        return Page(rows[poll.skip : poll.skip + poll.limit], total, sure=self.sure)


Tell = Callable[[Lister], tuple[Rows, int]]


def words(status: str | None) -> Tell:
    """Tell the same word of every run."""

    def tell(lister: Lister) -> tuple[Rows, int]:
        rows = [msgspec.structs.replace(row, status=status, phase=Phase.RUNNING) for row in lister.rows]
        return rows, len(rows)

    return tell


def late(seconds: float, part: int = 1) -> Tell:
    """Tell of one part of the runs how they were."""

    def tell(lister: Lister) -> tuple[Rows, int]:
        old = lister.ago(seconds)
        rows = [then if row.id % part == 0 else row for row, then in zip(lister.rows, old, strict=True)]
        return rows, len(rows)

    return tell


def flapping(lister: Lister) -> tuple[Rows, int]:
    """Tell by turns how the runs are, and how they were in the beginning."""
    rows = lister.rows if lister.listed % 2 else lister.ago(1e9)
    return rows, len(rows)


def misplaced(lister: Lister) -> tuple[Rows, int]:
    rows = list(lister.ago(1e9))
    random.Random(lister.listed).shuffle(rows)
    return rows, len(rows) + 1000 * (lister.listed % 3)


def lacking(lister: Lister) -> tuple[Rows, int]:
    rows = [row for row in lister.ago(1e9) if row.id % 3]
    return rows, len(rows)


def alike(lister: Lister) -> tuple[Rows, int]:
    """Give every run the id of the newest."""
    return [msgspec.structs.replace(row, id=lister.rows[0].id) for row in lister.rows], len(lister.rows)


def empty(_: Lister) -> tuple[Rows, int]:
    return [], 0


LISTS: dict[str, Tell] = {
    "rows without a status": words(None),
    "an empty word": words(""),
    "a word nobody knows": words("HMM"),
    "stands still": late(1e9),
    "minutes late": late(300.0),
    "hours late": late(7200.0),
    "half of it stands still": late(1e9, 2),
    "a fresh and an old copy": flapping,
    "wrong places and totals, and old": misplaced,
    "lacks runs, and old": lacking,
    "all rows have one id": alike,
    "empty": empty,
}


@pytest.mark.parametrize("numbered", [False, True])
@pytest.mark.parametrize("runs", [2, 50])
@pytest.mark.parametrize("kind", LISTS)
async def test_every_end_is_known_in_time_whatever_the_list_tells(kind: str, runs: int, numbered: bool) -> None:
    remote = Lister(LISTS[kind], sure=not numbered)
    remote.start(*range(1, runs + 1))
    remote.remember()
    page = Rate(60, 60.0) if numbered else Rate(60, 30.0)
    async with waiting_on(remote, page=page, numbered=numbered) as waiting:
        waits = begin(waiting.wait_for_runs(range(1, runs + 1)))
        await asyncio.sleep(1000.0)
        assert not waits.done()  # nor has any run ended before its end
        ended = now()
        for run_id in random.Random(1).sample(range(1, runs + 1), runs):
            remote.end(run_id)
            remote.remember()
        assert all(run.phase is Phase.SUCCEEDED for run in await waits)
        # One check finds an end, or two if half of the list lies; then gets do the work.
        assert now() - ended <= 3 * CHECK + TRIAL + runs / GETS * 1.2


@pytest.mark.parametrize("numbered", [False, True])
async def test_one_run_of_which_the_list_never_tells_is_got_when_all_others_were(numbered: bool) -> None:
    remote = Lister(late(1e9, 7), sure=not numbered)
    remote.start(*range(1, 14))  # the seventh is shown as it was
    remote.remember()
    page = Rate(60, 60.0) if numbered else Rate(60, 30.0)
    async with waiting_on(remote, page=page, numbered=numbered) as waiting:
        wait = begin(waiting.wait_for_run(7))
        others = begin(waiting.wait_for_runs([run_id for run_id in remote.runs if run_id != 7]))
        await asyncio.sleep(100.0)
        remote.end(7)
        ended = now()
        await wait
        assert now() - ended <= 14 * CHECK
        others.cancel()


async def test_old_news_of_a_list_that_is_not_believed_is_confirmed_first() -> None:
    """A person has answered long ago; a list that has been caught goes on to show the runs as blocked."""
    blocked: set[int] = set()

    def tell(lister: Lister) -> tuple[Rows, int]:
        old = lister.ago(1e9)
        rows = [msgspec.structs.replace(row, phase=Phase.BLOCKED) if row.id in blocked else row for row in old]
        return rows, len(rows)

    remote = Lister(tell, sure=True)
    remote.start(*range(1, 11))
    remote.remember()
    async with waiting_on(remote) as waiting:
        waits = begin(waiting.wait_for_runs(range(1, 10)))
        await asyncio.sleep(30.0)
        remote.end(1, 2, 3, 4, 5)
        await asyncio.sleep(3 * CHECK)  # the list is caught
        blocked |= {6, 7}
        await asyncio.sleep(3 * CHECK)
        assert not waits.done()
        remote.end(*remote.runs)
        assert {run.phase for run in await waits} == {Phase.SUCCEEDED}


async def test_a_list_that_has_been_late_is_used_again_when_it_tells_the_same_as_gets() -> None:
    lying = True
    remote = Lister(lambda lister: (lister.ago(1e9) if lying else lister.rows, len(lister.runs)), sure=True)
    remote.start(*range(1, 101))
    remote.remember()
    async with waiting_on(remote) as waiting:
        waits = begin(waiting.wait_for_runs(remote.runs))
        await asyncio.sleep(30.0)
        remote.end(*range(1, 51))
        await asyncio.sleep(5 * CHECK)
        assert len(remote.gets) >= 200  # the list is of no use
        lying = False
        await asyncio.sleep(200.0)
        gets, pages = len(remote.gets), len(remote.pages)
        await asyncio.sleep(600.0)
        assert len(remote.gets) - gets <= 600.0 / CHECK + 1
        assert len(remote.pages) - pages >= 115
        remote.end(*remote.runs)
        await waits
