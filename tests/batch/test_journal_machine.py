"""Any sequence of steps and crashes: what was acknowledged is in the journal, and nothing else."""

import asyncio
import contextlib
import copy
import shutil
import sqlite3
import tempfile
from collections.abc import Awaitable, Callable, Generator
from dataclasses import dataclass, field
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from codegen_async import AgentRun
from codegen_async.batch.items import State, Task
from codegen_async.batch.journal import Journal
from tests.batch.helpers import journal_at

Step = Callable[[Journal], Awaitable[object]]


@dataclass
class Entry:
    """What the model knows of an item."""

    seq: int
    state: State = State.PLANNED
    attempt: int = 1
    run_id: int | None = None
    late: bool = False
    likely_done: bool = False
    finished: int | None = None


@dataclass
class Model:
    """What the journal must say."""

    entries: dict[str, Entry] = field(default_factory=dict)
    finished: int = 0
    handed_out: int = 0

    def finish(self, entry: Entry) -> None:
        self.finished += 1
        entry.finished = self.finished

    def waiting(self) -> list[str]:
        """Return the items whose outcomes are to be handed out, in order."""
        places = {
            entry.finished: name
            for name, entry in self.entries.items()
            if entry.finished is not None and entry.finished > self.handed_out
        }
        return [places[place] for place in sorted(places)]


class JournalMachine(RuleBasedStateMachine):
    """Take steps on a journal and on a model of it, and crash now and then."""

    def __init__(self) -> None:
        super().__init__()
        self._stack = contextlib.ExitStack()
        self._runner = self._stack.enter_context(asyncio.Runner())
        self._root = Path(self._stack.enter_context(tempfile.TemporaryDirectory()))
        self._lives = 0
        self._run_ids = 100
        self.model = Model()
        self._open()

    def teardown(self) -> None:
        self._runner.run(self._journal_stack.aclose())
        self._stack.close()

    # -- steps

    def names(self, *wanted: State) -> list[str]:
        return [name for name, entry in self.model.entries.items() if entry.state in wanted]

    @rule(numbers=st.lists(st.integers(0, 30), min_size=1, max_size=4), crash=st.booleans())
    def add(self, numbers: list[int], crash: bool) -> None:
        names = [f"item {n}" for n in numbers]
        with self._taking(lambda journal: journal.add([(name, Task(prompt=name)) for name in names]), crash=crash):
            for name in names:
                self.model.entries.setdefault(name, Entry(len(self.model.entries) + 1))

    @precondition(lambda self: self.names(State.PLANNED))
    @rule(crash=st.booleans())
    def claim(self, crash: bool) -> None:
        claimed: list[str] = []

        async def step(journal: Journal) -> None:
            taken = await journal.claim(self._run_ids)
            assert taken is not None
            claimed.append(taken[0].name)
            assert taken[0].attempt == self.model.entries[taken[0].name].attempt

        punctual = [name for name in self.names(State.PLANNED) if not self.model.entries[name].late]
        with self._taking(step, crash=crash):
            (name,) = claimed
            assert name in (punctual or self.names(State.PLANNED))
            self.model.entries[name].state = State.SENDING

    @precondition(lambda self: self.names(State.SENDING))
    @rule(data=st.data(), crash=st.booleans())
    def created(self, data: st.DataObject, crash: bool) -> None:
        entry = self._one(data, State.SENDING)
        self._run_ids += 1
        run_id = self._run_ids
        with self._taking(lambda journal: journal.created(entry.seq, run_id), crash=crash):
            entry = self._same(entry)
            entry.state, entry.run_id, entry.finished = State.CREATED, run_id, None

    @precondition(lambda self: self.names(State.SENDING))
    @rule(data=st.data(), last=st.booleans(), crash=st.booleans())
    def put_back(self, data: st.DataObject, last: bool, crash: bool) -> None:
        entry = self._one(data, State.SENDING)
        with self._taking(lambda journal: journal.put_back(entry.seq, last=last), crash=crash):
            entry = self._same(entry)
            entry.state, entry.late, entry.finished = State.PLANNED, entry.late or last, None

    @precondition(lambda self: self.names(State.SENDING))
    @rule(data=st.data(), likely=st.booleans(), crash=st.booleans())
    def give_up(self, data: st.DataObject, likely: bool, crash: bool) -> None:
        entry = self._one(data, State.SENDING)
        with self._taking(lambda journal: journal.unknown(entry.seq, "?", likely_done=likely), crash=crash):
            entry = self._same(entry)
            entry.state, entry.likely_done = State.UNKNOWN, likely
            self.model.finish(entry)

    @rule(crash=st.booleans())
    def look_again(self, crash: bool) -> None:
        with self._taking(lambda journal: journal.look_again(), crash=crash):
            for name in self.names(State.UNKNOWN):
                entry = self.model.entries[name]
                entry.state, entry.finished = State.SENDING, None
            for name in self.names(State.CREATED):  # those that were stuck were so as their runs were not found
                self.model.entries[name].finished = None

    @precondition(lambda self: self.names(State.SENDING))
    @rule(data=st.data(), crash=st.booleans())
    def reject(self, data: st.DataObject, crash: bool) -> None:
        entry = self._one(data, State.SENDING)
        with self._taking(lambda journal: journal.rejected(entry.seq, "no"), crash=crash):
            entry = self._same(entry)
            entry.state = State.REJECTED
            self.model.finish(entry)

    @precondition(lambda self: self.names(State.CREATED))
    @rule(data=st.data(), crash=st.booleans())
    def end(self, data: st.DataObject, crash: bool) -> None:
        entry = self._one(data, State.CREATED)
        run = AgentRun(id=entry.run_id or 0, organization_id=1)
        with self._taking(lambda journal: journal.ended(entry.seq, run), crash=crash):
            entry = self._same(entry)
            entry.state = State.ENDED
            self.model.finish(entry)

    @precondition(lambda self: self.names(State.CREATED))
    @rule(data=st.data(), crash=st.booleans())
    def get_stuck(self, data: st.DataObject, crash: bool) -> None:
        entry = self._one(data, State.CREATED)
        with self._taking(lambda journal: journal.stuck(entry.seq, None, "paused"), crash=crash):
            self.model.finish(self._same(entry))

    @precondition(lambda self: self.names(State.CREATED))
    @rule(data=st.data(), crash=st.booleans())
    def retry(self, data: st.DataObject, crash: bool) -> None:
        entry = self._one(data, State.CREATED)
        run = AgentRun(id=entry.run_id or 0, organization_id=1, status="FAILED")
        with self._taking(lambda journal: journal.retry(entry.seq, run), crash=crash):
            entry = self._same(entry)
            entry.state, entry.run_id, entry.late, entry.finished = State.PLANNED, None, True, None
            entry.attempt += 1

    @precondition(lambda self: self.names(State.REJECTED, State.UNKNOWN))
    @rule(data=st.data(), crash=st.booleans())
    def release(self, data: st.DataObject, crash: bool) -> None:
        entry = self._one(data, State.REJECTED, State.UNKNOWN)
        (name,) = (name for name, known in self.model.entries.items() if known is entry)
        with self._taking(lambda journal: journal.release([name]), crash=crash):
            entry = self._same(entry)
            entry.state, entry.finished = State.PLANNED, None

    @precondition(lambda self: self.model.waiting())
    @rule(crash=st.booleans())
    def hand_out(self, crash: bool) -> None:
        place = self.model.entries[self.model.waiting()[0]].finished or 0
        with self._taking(lambda journal: journal.handed_out(place), crash=crash):
            self.model.handed_out = place

    @rule()
    def crash(self) -> None:
        """Die now, with everything acknowledged."""
        self._reopen(self._copy)

    @rule()
    def close(self) -> None:
        self._runner.run(self._journal_stack.aclose())
        self._open()

    # -- what must hold

    @invariant()
    def the_journal_says_what_the_model_says(self) -> None:
        self._runner.run(self._compare())

    async def _compare(self) -> None:
        facts = {fact.name: (fact.state, fact.attempt, fact.run_id) async for fact in self._journal.facts()}
        expected = {name: (entry.state, entry.attempt, entry.run_id) for name, entry in self.model.entries.items()}
        assert facts == expected
        assert [outcome.key for _, outcome in await self._journal.to_hand_out()] == self.model.waiting()[:20]

    # -- how

    def _one(self, data: st.DataObject, *wanted: State) -> Entry:
        return self.model.entries[data.draw(st.sampled_from(self.names(*wanted)))]

    def _same(self, entry: Entry) -> Entry:
        return next(known for known in self.model.entries.values() if known.seq == entry.seq)

    @contextlib.contextmanager
    def _taking(self, step: Step, *, crash: bool) -> Generator[None]:
        """Take a step; with `crash`, die after its statements and before its commit, so that it never was."""
        before = copy.deepcopy(self.model)
        if crash:
            self._reopen(lambda target: self._runner.run(self._step_and_copy(step, target)), reopen=False)
        else:
            self._runner.run(_awaited(step(self._journal)))
        yield
        if crash:
            self.model = before
            self._open()

    async def _step_and_copy(self, step: Step, target: Path) -> None:
        def copy_within(_: sqlite3.Connection) -> None:
            self._copy(target)

        write = self._journal._committer.write
        # The first write occupies the thread, so that the other two share a transaction, in this order.
        await asyncio.gather(write(lambda _: None), step(self._journal), write(copy_within))

    def _copy(self, target: Path) -> None:
        """Take an image of what a process that dies now leaves behind."""
        for name in ("batch.db", "batch.db-journal"):
            if (self._home / name).exists():
                shutil.copy(self._home / name, target / name)

    def _reopen(self, take_image: Callable[[Path], object], *, reopen: bool = True) -> None:
        target = self._root / str(self._lives + 1)
        target.mkdir()
        take_image(target)
        self._runner.run(self._journal_stack.aclose())
        self._lives += 1
        if reopen:
            self._open()

    @property
    def _home(self) -> Path:
        return self._root / str(self._lives)

    def _open(self) -> None:
        self._home.mkdir(exist_ok=True)
        self._journal_stack = contextlib.AsyncExitStack()
        self._journal = self._runner.run(self._journal_stack.enter_async_context(journal_at(self._home / "batch.db")))


async def _awaited(step: Awaitable[object]) -> object:
    return await step


JournalMachine.TestCase.settings = settings(max_examples=40, stateful_step_count=30)
TestJournalMachine = JournalMachine.TestCase
