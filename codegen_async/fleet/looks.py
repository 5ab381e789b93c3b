"""One member asks for all, the others hear: looks at runs are shared by all processes that use the same token.

Whoever leads watches the runs of all and tells what it believes of them; the others are quiet while they hear it. What
is heard is believed as what is seen, but for ends: who tells one must know of each resume of that run which is known
here. What was asked for, or said, more than a few seconds ago counts for nothing. Whatever is missing, each looks for
itself.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import defaultdict
from collections.abc import Collection, Sequence
from typing import Generic, Protocol, TypeVar

import msgspec

from codegen_async.fleet.hello import Changes, Hello, Notice, Reopened, Shown, Told, Want
from codegen_async.fleet.leader import Circle, LooksState, Peer
from codegen_async.fleet.resumes import Resume, Resumes
from codegen_async.fleet.store import Bus
from codegen_async.fleet.talk import Talk
from codegen_async.fleet.wishes import OwnWishes
from codegen_async.models import Phase, RunId, RunLike
from codegen_async.recent import Recent
from codegen_async.waiting import Elsewhere

R = TypeVar("R", bound=RunLike)

_STILL = {phase.value for phase in Phase if phase.is_still}
_STUCK = 15.0  # seconds without a good answer, after which another one is to lead,
_UNABLE = 60.0  # for so long
_GIVEN_UP = 30.0  # seconds for which who has ended all its waits does not lead
_REMEMBERED = 10_000  # runs that were refused
_AGAIN = 30.0  # seconds until a refusal is told again
_RENEWED = 2.0  # seconds between two times that all wishes are said again
_OLD = 60.0  # seconds since it was asked for, from which on a snapshot is not believed: so long an answer may take
_PIECE = 20  # snapshots in one message: 3 KB each
_LARGEST = 2**16  # bytes of a snapshot; servers cut off who is sent more than they keep for him, over and over


class Wire(Protocol[R]):
    """Write and read snapshots in the form of a dialect."""

    def write(self, run: R) -> bytes:
        """Return a snapshot as bytes; nothing for one that can only be looked at."""
        ...

    def read(self, content: bytes, phase: Phase) -> R:
        """Read a snapshot. `phase` is where it stands, as who wrote it believed.

        Raises:
            ValueError: it cannot be read.
        """
        ...


class Looks(Generic[R]):
    """Share the looks of one client with those of others.

    Args:
        elsewhere: the seam of its waits.
        bus: carries hellos; closed with this.
        channel: what tells those who may hear one another from all others: base URL, organization and token.
        wire: writes and reads snapshots.
        name: the member. Default: a random one.
    """

    def __init__(
        self, elsewhere: Elsewhere[R], bus: Bus, channel: str, wire: Wire[R], *, name: str | None = None
    ) -> None:
        self._elsewhere = elsewhere
        self._wire = wire
        self._circle = Circle(name or secrets.token_hex(6), _now())
        self._talk = Talk(bus, channel, say=self._say, hear=self._hear)
        self._resumes: Resumes[R] = Resumes()
        self._own = OwnWishes()
        self._sent = 0  # up to which number of the own wishes
        self._renewed = _now()
        self._missed = False  # whether news were missed since
        self._theirs: dict[RunId, dict[str, Want]] = {}  # the wishes of others, by members
        self._known: dict[RunId, R] = {}  # what was told last of these runs
        self._mine: dict[RunId, float] = {}  # when runs were looked at last that are not left to others
        self._number = 0  # hellos with news
        self._news: dict[RunId, tuple[R, float]] = {}  # what there is to say: snapshots, and when they were asked for
        self._shown: dict[RunId, float] = {}
        self._notices: dict[RunId, bool] = {}
        self._refusals: Recent[RunId, float] = Recent(_REMEMBERED)  # when they were said last
        self._refused: list[RunId] = []

    @property
    def state(self) -> LooksState:
        """Who looks for whom."""
        return self._circle.state(_now())

    def start(self) -> None:
        """Begin to listen and to speak."""
        self._elsewhere.attend(self)
        for run_id in self._elsewhere.wanted:
            self.wished(run_id)
        self._talk.start()

    async def aclose(self) -> None:
        """Say farewell, and leave no task behind."""
        self._circle.leads = False
        await self._talk.aclose(lambda: self._hello(gone=True))

    # -- what happens here; see `Others`

    def wished(self, run_id: RunId) -> None:
        """Hear that somebody here wants another thing of a run than before."""
        wish = self._elsewhere.wish(run_id)
        if self._own.change(run_id, None if wish is None else wish.latency):
            self._talk.wake()

    def looked(self, run_ids: Collection[RunId], asked: float) -> None:
        """Hear which runs an answer showed."""
        self._shown.update((run_id, asked) for run_id in run_ids if run_id in self._theirs)

    def told(self, run: R) -> None:
        """Hear what is believed of a run."""
        self._mine.pop(run.id, None)  # it can be had; what comes next is for who leads to see
        if run.id in self._theirs and self._known.get(run.id) != run:
            self._tell(run)

    def _tell(self, run: R) -> None:
        self._known[run.id] = run
        self._news[run.id] = run, self._elsewhere.asked(run.id)
        self._talk.wake()

    def refused(self, run_id: RunId) -> None:
        """Hear that a look said that this run cannot be had: who wants it is to see for itself."""
        now = _now()
        if run_id in self._theirs and now - self._refusals.get(run_id, now - _AGAIN) >= _AGAIN:
            self._refusals[run_id] = now
            self._refused.append(run_id)
            self._talk.wake()

    def reopened(self, run_id: RunId, before: R | None) -> None:
        """Hear that a run was taken up again here."""
        self._resumes.add(run_id, before, _now())
        self._unlearn(run_id)
        self._talk.wake()

    def notified(self, run_id: RunId, *, asks: bool) -> None:
        """Hear that something is known to have happened to a run."""
        self._notices[run_id] = asks
        self._talk.wake()

    def gave_up(self) -> None:
        """Hear that all waits here have ended by one error: asking is for others."""
        self._circle.give_up(_now() + _GIVEN_UP)
        self._talk.wake()

    # -- saying

    def _say(self, beats: bool) -> list[Hello]:
        """Return what there is to say."""
        self._decide()
        now = _now()
        self._look_after(now)
        wishes = self._changes(now, again=beats)
        news = [self._written(run, asked, now) for run, asked in self._news.values()]
        self._news.clear()
        pieces: list[list[Told]] = [news[begin : begin + _PIECE] for begin in range(0, len(news), _PIECE)] or [[]]
        first = self._with_the_rest(self._hello(news=pieces[0], wishes=next(iter(wishes), None)), now)
        more = [self._hello(wishes=changes) for changes in wishes[1:]]
        return [first, *more, *(self._hello(news=piece) for piece in pieces[1:])]

    def _hello(self, *, gone: bool = False, news: Sequence[Told] = (), wishes: Changes | None = None) -> Hello:
        circle, now = self._circle, _now()
        self._number += bool(news)
        return Hello(
            name=circle.name,
            at=now,
            heard=circle.echoes,
            leads=circle.leads,
            able=circle.is_able(now),
            gone=gone,
            number=self._number,
            news=news,
            wishes=wishes,
        )

    def _with_the_rest(self, hello: Hello, now: float) -> Hello:
        asked: defaultdict[float, list[RunId]] = defaultdict(list)
        for run_id, moment in self._shown.items():
            asked[moment].append(run_id)
        whole = msgspec.structs.replace(
            hello,
            shown=[Shown(max(0.0, now - moment), run_ids) for moment, run_ids in asked.items()],
            reopened=[self._said(resume, now) for resume in self._resumes.to_say(now)],
            notices=[Notice(run_id, asks) for run_id, asks in self._notices.items()],
            refused=self._refused,
        )
        self._shown, self._notices, self._refused = {}, {}, []
        return whole

    def _changes(self, now: float, *, again: bool) -> list[Changes]:
        """Return the own wishes that were not said yet, and each second what somebody has missed."""
        if self._missed and now - self._renewed >= _RENEWED:
            self._renewed, self._missed = now, False
            self._own.renew()
        self._circle.wished(self._own.number, now)
        after, self._sent = self._sent, self._own.number
        lacking = self._circle.lacking(now) if again else None
        return self._own.since(after if lacking is None else min(after, lacking), self._want)

    def _want(self, run_id: RunId) -> Want:
        wish = self._elsewhere.wish(run_id)
        if wish is None:
            return Want(run_id)
        return Want(run_id, wish.latency, wish.seen, None if wish.phase is None else wish.phase.value)

    def _written(self, run: R, asked: float, now: float) -> Told:
        marks = [*self._resumes.known(run.id, now)] if run.phase.is_still else ()
        content = self._wire.write(run)
        if len(content) > _LARGEST:
            content = b""  # others look for themselves
        return Told(run.id, run.phase.value, max(0.0, now - asked), content, marks)

    def _said(self, resume: Resume[R], now: float) -> Reopened:
        before = None if resume.before is None else self._written(resume.before, now, now)
        return Reopened(resume.run_id, resume.mark, max(0.0, now - resume.at), before)

    # -- hearing

    def _hear(self, hello: Hello) -> None:
        """Take in what another member says."""
        if hello.name == self._circle.name:
            return
        now, known = _now(), self._circle.members.get(hello.name)
        was = known and (known.leads, known.able)
        member, fresh = self._circle.hear(hello, now)
        if known is None:
            self._talk.wake(now=True)  # so that it soon knows how old our hellos are
        for reopened in hello.reopened:
            self._take_up(reopened, now)
        for run_id in member.theirs.apply(hello.wishes) if hello.wishes else ():
            self._grant(run_id, hello.name, member.theirs.wants.get(run_id))
        for notice in hello.notices:
            quiet = self._circle.quiet_until(now) is not None
            self._elsewhere.notified(notice.run_id, look=not (notice.asks or quiet))
        if fresh:
            self._believe(hello, member, now)
        if hello.gone:
            del self._circle.members[hello.name]
            self._leave(hello.name, member)
        if was != (member.leads, member.able) or member.leads:
            self._decide()

    def _believe(self, hello: Hello, member: Peer, now: float) -> None:
        """Take in what is surely of now."""
        for shown in hello.shown:
            self._elsewhere.saw(shown.run_ids, now - shown.age)
        for told in hello.news:
            self._take_in(told, now)
        for run_id in hello.refused:
            self._mine[run_id] = now
            self._elsewhere.hurry(run_id)
        if self._circle.missed(member, hello):
            self._missed = True

    def _take_in(self, told: Told, now: float) -> None:
        """Hear a snapshot, unless who tells it looked long ago, or does not know that the run was taken up again."""
        run = self._read(told)
        if run is None or told.age > _OLD or (run.phase.is_still and self._resumes.lacking(run.id, told.marks, now)):
            self._elsewhere.hurry(told.run_id)
            if told.phase in _STILL:
                self._mine[told.run_id] = now
                self._own.renew([told.run_id])
            self._talk.wake()
        else:
            if run.id in self._theirs:
                self._known[run.id] = run
            self._mine.pop(run.id, None)
            self._elsewhere.hear(run, now - told.age)

    def _look_after(self, now: float) -> None:
        """Look at what nobody else can look at for those who wait here."""
        for run_id, looked in [*self._mine.items()]:
            wish = self._elsewhere.wish(run_id)
            if wish is None:
                del self._mine[run_id]
            elif now - looked >= wish.latency:
                self._mine[run_id] = now
                self._elsewhere.hurry(run_id)

    def _read(self, told: Told) -> R | None:
        if not told.content:
            return None
        try:
            return self._wire.read(told.content, Phase(told.phase))
        except ValueError as error:
            self._talk.wonder(f"snapshots that cannot be read: {error}")
            return None

    def _take_up(self, reopened: Reopened, now: float) -> None:
        """Hear that a run was taken up again elsewhere."""
        if (reopened.run_id, reopened.mark) in self._resumes:
            return
        before = None if reopened.before is None else self._read(reopened.before)
        self._resumes.note(reopened.run_id, reopened.mark, now - reopened.age)
        self._unlearn(reopened.run_id)
        self._elsewhere.reopened(reopened.run_id, before)
        self._serve(reopened.run_id)

    def _unlearn(self, run_id: RunId) -> None:
        """Let what was told of a run, or is about to be, be of its former life."""
        self._known.pop(run_id, None)
        self._news.pop(run_id, None)

    # -- leading

    def _decide(self) -> None:
        """Find out whether to ask for all, for the own runs, or for none."""
        now, led = _now(), self._circle.leads
        if self._elsewhere.stuck >= _STUCK and self._circle.is_able(now):
            self._circle.give_up(now + _UNABLE)
        for name, member in self._circle.lost(now):
            self._leave(name, member)
        turned = self._circle.decide(now) is not led
        until = self._circle.quiet_until(now)
        if until is not None:
            self._elsewhere.be_quiet(until)
        if turned:
            self._talk.wake(now=True)
            if until is None:
                self._elsewhere.be_quiet(now)
            for run_id in [*self._theirs]:
                self._serve(run_id)

    def _leave(self, name: str, member: Peer) -> None:
        for run_id in member.theirs.wants:
            self._grant(run_id, name, None)

    def _grant(self, run_id: RunId, name: str, want: Want | None) -> None:
        """Take in what a member wants of a run."""
        if want is not None:
            self._theirs.setdefault(run_id, {})[name] = want
        elif run_id in self._theirs:
            self._theirs[run_id].pop(name, None)
            if not self._theirs[run_id]:
                del self._theirs[run_id]
                self._known.pop(run_id, None)
        self._serve(run_id, want)

    def _serve(self, run_id: RunId, new: Want | None = None) -> None:
        """Watch a run as those want who are not here, if it is for this member to look; tell `new` what it lacks."""
        wants = self._theirs.get(run_id)
        if not wants or not self._circle.leads:
            self._elsewhere.disown(run_id)
            return
        known = self._elsewhere.known(run_id)
        if known is not None and _now() - self._elsewhere.asked(run_id) > _OLD:
            known = None
        if new is not None and (known is None or known.phase.value != new.phase):
            self._known.pop(run_id, None)
            if known is not None:
                self._tell(known)
        if known is None or not known.phase.is_terminal:
            latency = min(want.latency for want in wants.values() if want.latency is not None)
            seen = min((want.seen for want in wants.values() if want.seen is not None), default=None)
            self._elsewhere.adopt(run_id, latency, seen)


def _now() -> float:
    return asyncio.get_running_loop().time()
