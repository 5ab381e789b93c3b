"""Whatever comes in whatever order, each interrupt is answered exactly once and every wait ends right."""

import asyncio
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from hypothesis import given, note, settings
from hypothesis import strategies as st

from codegen_async.errors import RunBlockedError, WaitTimeoutError
from codegen_async.middesk.client import MiddeskClient
from codegen_async.middesk.free import Interrupt
from codegen_async.middesk.models import MiddeskRun
from codegen_async.middesk.webhooks import parse_event
from codegen_async.models import Phase
from codegen_async.testing import MiddeskWorld, run_virtual
from codegen_async.testing.middesk_world import MiddeskScript, Moment, ScriptedRun
from tests.middesk.memory import LISTS, MemorySender

Behaviour = Literal["all", "some", "none", "absent"]


@dataclass(frozen=True)
class Wait:
    """A wait: for which run, from when on, how its handler behaves, and what cuts it short."""

    run: int
    after: float = 0.0
    handler: Behaviour = "all"
    thinks: float = 1.0
    cancel_after: float | None = None
    timeout: float | None = None
    interrupt_timeout: float | None = None


@dataclass(frozen=True)
class Story:
    """All that happens in one example."""

    scripts: list[MiddeskScript]
    waits: list[Wait]
    lag: float
    latency: float
    lost: float
    list_runs: str
    copies: int
    seed: int


LONGEST = 3000.0  # seconds of a story; a wait that hangs takes longer

SECONDS = st.sampled_from([0.0, 0.5, 3.0, 10.0, 30.0])
PERHAPS = st.one_of(st.none(), st.sampled_from([0.0, 1.0, 7.0, 20.0, 60.0]))


@st.composite
def scripts(draw: st.DrawFn) -> MiddeskScript:
    rounds = draw(st.lists(st.tuples(SECONDS, st.integers(1, 3)), max_size=3))
    asking = [(after, [{"label": f"{n}.{i}"} for i in range(count)]) for n, (after, count) in enumerate(rounds)]
    return [*asking, (draw(SECONDS), draw(st.sampled_from(["completed", "error"])))]


@st.composite
def stories(draw: st.DrawFn) -> Story:
    lives = draw(st.lists(scripts(), min_size=1, max_size=5))
    waits = st.builds(
        Wait,
        run=st.integers(0, len(lives) - 1),
        after=SECONDS,
        handler=st.sampled_from(["all", "all", "some", "none", "absent"]),
        thinks=SECONDS,
        cancel_after=PERHAPS,
        timeout=PERHAPS,
        interrupt_timeout=PERHAPS,
    )
    return Story(
        scripts=lives,
        waits=draw(st.lists(waits, max_size=6)),
        lag=draw(st.sampled_from([0.0, 2.0, 15.0, 60.0])),
        latency=draw(st.sampled_from([0.0, 0.3, 8.0])),
        lost=draw(st.sampled_from([0.0, 0.1])),
        list_runs=draw(st.sampled_from(sorted(LISTS))),
        copies=draw(st.integers(0, 3)),
        seed=draw(st.integers(0, 1000)),
    )


class Stage:
    """The world, the client and the webhooks of one story."""

    def __init__(self, story: Story) -> None:
        self.story = story
        self.rng = random.Random(story.seed)
        loop = asyncio.get_running_loop()
        self.world = MiddeskWorld(loop.time, seed=story.seed, lag=(0.0, story.lag))
        self.world.on_change = self._tell
        sender = MemorySender(
            self.world, latency=story.latency, lost=story.lost, rng=self.rng, list_runs=LISTS[story.list_runs]
        )
        self.client = MiddeskClient("key", base_url="http://localhost", sender=sender)
        self.runs = [self.world.create(script=script) for script in story.scripts]

    def _tell(self, run: ScriptedRun, moment: Moment) -> None:
        """Deliver an event several times, at times of their own, once the run is known to have changed."""
        loop = asyncio.get_running_loop()
        body = {
            "id": f"{run.id}:{len(run.moments)}",
            "type": f"run.{moment.status}",
            "data": {"object": {"id": run.id}},
        }
        event = parse_event(json.dumps(body).encode())
        for _ in range(self.story.copies):
            loop.call_later(self.rng.uniform(0.0, 40.0), self._notify, event)
        if run.next_at is not None:
            loop.call_at(run.next_at, lambda: run.advance(loop.time()))

    def _notify(self, event: Any) -> None:
        if self.client._link is not None:
            self.client.notify(event)

    async def wait(self, plan: Wait) -> None:
        """Wait as planned; whatever comes of it must be right."""
        run = self.runs[plan.run]
        await asyncio.sleep(plan.after)
        waiting = asyncio.create_task(
            self.client.wait_for_run(
                run.id,
                on_blocked=None if plan.handler == "absent" else Handler(plan.handler, plan.thinks),
                timeout=plan.timeout,
                interrupt_timeout=plan.interrupt_timeout,
            )
        )
        if plan.cancel_after is not None:
            await asyncio.wait((waiting,), timeout=plan.cancel_after)
            waiting.cancel()
        try:
            final = await waiting
        except asyncio.CancelledError:
            assert plan.cancel_after is not None
        except WaitTimeoutError:
            assert plan.timeout is not None or plan.interrupt_timeout is not None
        except RunBlockedError as blocked:
            # One that answers everything is never left with a question.
            assert plan.handler != "all"
            shown = blocked.run
            assert shown is not None
            assert shown.phase is Phase.BLOCKED
        else:
            self.check(final, run)

    def check(self, final: MiddeskRun, run: ScriptedRun) -> None:
        """Make sure that an end is the end."""
        assert final.status == run.script[-1][1]
        assert final.phase.is_terminal
        assert run.is_over
        assert run.answers.keys() == run.questions.keys()


class Handler:
    """Answer all, some or none of what is new; it must be new indeed."""

    def __init__(self, behaviour: Behaviour, thinks: float) -> None:
        self._behaviour = behaviour
        self._thinks = thinks
        self._asked: set[str] = set()

    async def __call__(self, run: MiddeskRun, new: Sequence[Interrupt]) -> Mapping[str, Any] | None:
        assert new
        assert set(map(id, new)) <= set(map(id, run.interrupts))
        ids = {interrupt.id for interrupt in new}
        assert not ids & self._asked
        self._asked |= ids
        await asyncio.sleep(self._thinks)
        if self._behaviour == "none":
            return None
        answered = new if self._behaviour == "all" else new[:1]
        return {interrupt.id: interrupt.label for interrupt in answered}


async def play(story: Story) -> None:
    stage = Stage(story)
    mine = asyncio.all_tasks()
    async with asyncio.timeout(LONGEST), stage.client:
        await asyncio.gather(*map(stage.wait, story.waits))
        # Now somebody answers whatever is still asked, and every run ends.
        await asyncio.gather(*(stage.wait(Wait(run=number)) for number in range(len(stage.runs))))
        assert all(run.is_over for run in stage.runs)
    assert asyncio.all_tasks() == mine
    for run in stage.runs:
        note(f"{run.questions} {run.answers} {run.refused}")
        assert list(run.answers.values()) == [run.questions[one]["label"] for one in run.answers]
        assert run.refused == []


@settings(max_examples=150)
@given(stories())
def test_each_interrupt_is_answered_once_and_every_wait_ends_right(story: Story) -> None:
    run_virtual(play(story))
