"""What is said of how far a batch is."""

import asyncio
import math
from types import SimpleNamespace
from typing import Any, cast

import pytest

from codegen_async.batch.items import Outcome, State
from codegen_async.cli.progress import Progress, last_create
from codegen_async.limits import LimiterState, Rate

NOW = 1000.0


def limiter(available: int) -> LimiterState:
    return LimiterState(
        rate=Rate(10, 60.0),
        available=available,
        in_flight=0,
        cooling=10 - available,
        queue_length=0,
        held_for=0.0,
        pace=None,
        rejections=0,
    )


@pytest.mark.parametrize(
    ("planned", "available", "next_free", "seconds"),
    [
        (10, 10, NOW, 0),
        (11, 10, NOW, 60),
        (20, 10, NOW, 60),
        (21, 10, NOW, 120),
        (5, 3, NOW, 60),
        (10, 0, NOW + 25, 25),
        (11, 0, NOW + 25, 85),
        (1, 0, math.inf, 60),
    ],
)
def test_the_last_create_waits_for_whole_rounds(planned: int, available: int, next_free: float, seconds: float) -> None:
    assert last_create(planned, limiter(available), next_free, NOW) == NOW + seconds


class Told:
    """A progress whose batch stands where the test says."""

    def __init__(self, counts: dict[State, int], *earlier: str) -> None:
        self.counts = dict.fromkeys(State, 0) | counts
        client = SimpleNamespace(
            limits={"create": limiter(0)},
            limiter=lambda _: SimpleNamespace(next_free=asyncio.get_running_loop().time()),
        )
        self._session = SimpleNamespace(client=client, target=SimpleNamespace(clock=lambda: 0.0))
        self.limit: str | None = "create"
        self._earlier = dict.fromkeys(earlier, "failed")

    async def _status(self) -> dict[State, int]:
        return dict(self.counts)

    def line(self, *outcomes: Outcome, stopped: bool = False) -> str:
        async def tell() -> str:
            batch = SimpleNamespace(status=self._status, limit=self.limit)
            progress = Progress(cast("Any", self._session), cast("Any", batch), self._earlier)
            for outcome in outcomes:
                progress.note(outcome)
            if stopped:
                progress.stop()
            return await progress.line()

        return asyncio.run(tell())


def ended(key: str) -> Outcome:
    return Outcome(key=key, index=0, state=State.ENDED, seconds=10.0)


def test_what_ended_but_was_not_told_yet_goes_on() -> None:
    told = Told({State.CREATED: 16, State.ENDED: 4}, "a", "b")
    assert told.line(ended("c")).startswith("17 running, 3 ended (3 failed); ")
    told = Told({State.CREATED: 16, State.ENDED: 4}, "a", "b")
    assert told.line(ended("c"), ended("d")).startswith("16 running, 4 ended (4 failed); ")


def test_what_came_to_nothing_is_not_counted_twice() -> None:
    told = Told({State.REJECTED: 1})
    assert told.line(Outcome(key="a", index=0, state=State.REJECTED)) == "1 rejected; all done"


@pytest.mark.parametrize(
    ("counts", "said"),
    [
        ({State.PLANNED: 21}, "21 planned; last create in 2 min 00 s"),
        ({State.CREATED: 1}, "1 running; all created"),
        ({}, "no prompts; all done"),
    ],
)
def test_an_estimate_before_the_first_run_has_ended(counts: dict[State, int], said: str) -> None:
    assert Told(counts).line() == said


@pytest.mark.parametrize(
    ("counts", "outcomes", "said"),
    [
        ({State.PLANNED: 50, State.CREATED: 1}, (), "50 planned, 1 running; creating no more"),
        ({State.PLANNED: 50, State.CREATED: 1, State.ENDED: 1}, (ended("a"),), "over in about 10 s"),
        ({State.PLANNED: 50}, (), "50 planned; stopped"),
    ],
)
def test_what_is_planned_does_not_count_once_it_is_stopped(
    counts: dict[State, int], outcomes: tuple[Outcome, ...], said: str
) -> None:
    assert Told(counts).line(*outcomes, stopped=True).endswith(said)


def test_no_estimate_is_made_while_nothing_tells_which_limit_creates_spend() -> None:
    told = Told({State.PLANNED: 3})
    told.limit = None
    assert told.line() == "3 planned; starting"
