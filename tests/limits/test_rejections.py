"""What a 429 does: everybody stops, then all go on evenly, slower if need be, and back to bursts when it is calm."""

import asyncio
import math
import random
from itertools import pairwise

import pytest

from codegen_async.limits import Rate, Slot, WindowLimiter
from codegen_async.testing.rates import SlidingLog
from tests.limits.simulation import Client, Server, jitter, on_virtual_clock, run

RATE = Rate(60, 30.0)
PACE = 0.95 * 2.0
"""Requests per second."""
CALM = 300.0
"""Seconds: ten periods."""
SILENCE = 30.05
"""Seconds: a period and its margin."""


def now() -> float:
    return asyncio.get_running_loop().time()


async def send(limiter: WindowLimiter) -> Slot:
    slot = limiter.slot()
    await slot.__aenter__()
    slot.sent()
    return slot


async def send_and_get_429(limiter: WindowLimiter, retry_after: float | None = None) -> None:
    (await send(limiter)).rejected(retry_after)


async def turns(limiter: WindowLimiter, callers: int) -> list[float]:
    """Return when so many callers who come now get their turns, in seconds from now."""
    came = now()

    async def call() -> float:
        async with limiter.slot() as slot:
            slot.sent()
            slot.answered()
            return now() - came

    return await asyncio.gather(*[call() for _ in range(callers)])


# -- the gate


@on_virtual_clock
async def test_a_429_without_a_hint_stops_everybody_for_a_period() -> None:
    limiter = WindowLimiter(RATE)
    await send_and_get_429(limiter)
    assert limiter.state.held_for == pytest.approx(30.05)
    assert limiter.available == 0
    assert limiter.next_free == pytest.approx(now() + 30.05)
    assert await turns(limiter, 1) == [pytest.approx(30.05, abs=0.001)]
    assert limiter.state.held_for == 0.0


@pytest.mark.parametrize("retry_after", [1.0, 7.0, 100.0])
@on_virtual_clock
async def test_a_429_with_a_hint_stops_everybody_for_so_long(retry_after: float) -> None:
    limiter = WindowLimiter(RATE)
    await send_and_get_429(limiter, retry_after)
    assert await turns(limiter, 1) == [pytest.approx(retry_after, abs=0.001)]


@on_virtual_clock
async def test_the_longest_of_several_hints_counts() -> None:
    limiter = WindowLimiter(RATE)
    slots = [await send(limiter) for _ in range(3)]
    for slot, retry_after in zip(slots, [5.0, 20.0, 10.0], strict=True):
        slot.rejected(retry_after)
    assert limiter.state.held_for == pytest.approx(20.0)


@on_virtual_clock
async def test_a_user_can_close_the_gate_and_bursts_go_on_afterwards() -> None:
    limiter = WindowLimiter(RATE)
    limiter.hold(12.0)
    limiter.hold(3.0)
    assert limiter.available == 0
    assert await turns(limiter, 60) == [pytest.approx(12.0, abs=0.001)] * 60
    assert limiter.state.pace is None


@on_virtual_clock
async def test_a_gate_that_closes_while_callers_wait_keeps_them() -> None:
    limiter = WindowLimiter(Rate(1, 10.0))
    await send_and_answer(limiter)
    waiting = asyncio.create_task(turns(limiter, 1))
    await asyncio.sleep(5.0)
    limiter.hold(60.0)
    assert await waiting == [pytest.approx(65.0, abs=0.001)]


async def send_and_answer(limiter: WindowLimiter) -> None:
    (await send(limiter)).answered()


# -- hints that are too short


async def refusals(limiter: WindowLimiter, hints: list[float | None]) -> tuple[list[float], list[bool]]:
    """Return how long each refusal keeps everybody out, and whether it is excused, if all are refused."""
    kept, excused = [], []
    for hint in hints:
        slot = await send(limiter)
        excused.append(slot.rejected(hint))
        kept.append(limiter.state.held_for)
    return kept, excused


@on_virtual_clock
async def test_a_hint_that_was_too_short_is_lengthened_each_time_up_to_a_period() -> None:
    kept, excused = await refusals(WindowLimiter(RATE), [0.0] * 9)
    assert kept == pytest.approx([0.0, 1.0, 2.0, 4.0, 8.0, 16.0, SILENCE, SILENCE, SILENCE])
    assert excused == [False, *[True] * 6, False, False]


@on_virtual_clock
async def test_a_hint_is_lengthened_beyond_what_it_asks_for() -> None:
    kept, _ = await refusals(WindowLimiter(RATE), [12.0] * 7)
    assert kept == pytest.approx([12.0, 13.0, 14.0, 16.0, 20.0, 28.0, SILENCE])


@on_virtual_clock
async def test_a_hint_longer_than_a_period_is_kept_as_it_is() -> None:
    kept, excused = await refusals(WindowLimiter(RATE), [100.0] * 3)
    assert kept == pytest.approx([100.0] * 3)
    assert excused == [False] * 3


@on_virtual_clock
async def test_without_a_hint_every_silence_is_a_period_and_nobody_is_excused() -> None:
    kept, excused = await refusals(WindowLimiter(RATE), [None] * 4)
    assert kept == pytest.approx([SILENCE] * 4)
    assert excused == [False] * 4


@on_virtual_clock
async def test_a_calm_period_makes_a_hint_believed_again() -> None:
    limiter = WindowLimiter(RATE)
    await refusals(limiter, [3.0] * 4)
    await asyncio.sleep(limiter.state.held_for + SILENCE)
    kept, excused = await refusals(limiter, [3.0])
    assert kept == pytest.approx([3.0])
    assert excused == [False]


@on_virtual_clock
async def test_a_hint_that_was_too_short_does_not_halve_the_pace() -> None:
    limiter = WindowLimiter(RATE)
    await refusals(limiter, [0.0] * 7)
    assert limiter.state.pace == pytest.approx(PACE)


@pytest.mark.parametrize("retry_after", [0.0, 0.1, 0.5])
@on_virtual_clock
async def test_the_pace_is_kept_from_the_429_on_however_short_its_hint(retry_after: float) -> None:
    limiter = WindowLimiter(RATE)
    await send_and_get_429(limiter, retry_after)
    assert await turns(limiter, 4) == [pytest.approx(turn / PACE, abs=0.001) for turn in (1, 2, 3, 4)]


@on_virtual_clock
async def test_a_burst_of_ones_own_is_not_had_again_after_a_429() -> None:
    limiter = WindowLimiter(Rate(60, 30.0, burst=5))
    await send_and_get_429(limiter, 0.0)
    await asyncio.sleep(CALM)
    assert limiter.state.pace == pytest.approx(2.0)
    assert await turns(limiter, 3) == [pytest.approx(turn / 2.0, abs=0.001) for turn in (1, 2, 3)]


# -- the pace


@on_virtual_clock
async def test_after_a_429_requests_go_out_evenly_a_little_below_the_limit() -> None:
    limiter = WindowLimiter(RATE)
    await send_and_get_429(limiter)
    assert limiter.state.pace == pytest.approx(PACE)
    first, *rest = await turns(limiter, 200)
    assert rest == [pytest.approx(first + number / PACE, rel=1e-4) for number in range(1, 200)]


@on_virtual_clock
async def test_newcomers_do_not_delay_those_who_wait_for_the_next_even_turn() -> None:
    limiter = WindowLimiter(RATE)
    await send_and_get_429(limiter, 0.0)
    await send_and_answer(limiter)
    waiting = asyncio.create_task(turns(limiter, 2))
    for _ in range(9):
        await asyncio.sleep(0.1)
        asyncio.create_task(turns(limiter, 1))  # noqa: RUF006 - nobody wants to know when
    assert await waiting == [pytest.approx(turn / PACE, abs=0.001) for turn in (1, 2)]


def test_rounding_costs_a_moment_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that stops exactly on the timer: the bucket's token may then be a rounding error away."""
    monkeypatch.setattr("codegen_async.testing.clock._TICK", 0.0)

    async def main() -> None:
        limiter = WindowLimiter(Rate(60, 61.0))  # at this pace it is, at every turn
        await send_and_get_429(limiter)
        gaps = [later - earlier for earlier, later in pairwise(await turns(limiter, 200))]
        even = 61.0 / 57.0
        assert min(gaps) >= even - 1e-9
        assert max(gaps) <= even + 0.0011

    run(main())


@on_virtual_clock
async def test_a_burst_of_429s_is_one_step() -> None:
    limiter = WindowLimiter(RATE)
    slots = [await send(limiter) for _ in range(60)]
    for slot in slots:
        slot.rejected(1.0)
        await asyncio.sleep(0.5)  # the last of them come when the gate is open again
    assert limiter.state.rejections == 60
    assert limiter.state.pace == pytest.approx(PACE)


@on_virtual_clock
async def test_every_429_after_the_step_halves_the_pace_down_to_a_floor() -> None:
    limiter = WindowLimiter(RATE)
    paces: list[float | None] = []
    for _ in range(8):
        await send_and_get_429(limiter)
        paces.append(limiter.state.pace)
    assert paces == [pytest.approx(PACE / halved) for halved in (1, 2, 4, 8, 16, 32, 32, 32)]


@on_virtual_clock
async def test_calm_brings_bursts_back() -> None:
    limiter = WindowLimiter(RATE)
    await send_and_get_429(limiter, 10.0)
    await asyncio.sleep(10.0 + CALM - 0.1)
    assert limiter.state.pace == pytest.approx(PACE)
    await asyncio.sleep(0.2)
    assert limiter.state.pace is None
    assert await turns(limiter, 60) == [0.0] * 60


@on_virtual_clock
async def test_calm_brings_a_halved_pace_back_step_by_step() -> None:
    limiter = WindowLimiter(RATE)
    for _ in range(3):
        await send_and_get_429(limiter)
    await asyncio.sleep(SILENCE)
    paces: list[float | None] = []
    for _ in range(4):
        paces.append(limiter.state.pace)
        await asyncio.sleep(CALM + 0.001)
    assert paces == [pytest.approx(PACE / 4), pytest.approx(PACE / 2), pytest.approx(PACE), None]


@on_virtual_clock
async def test_the_return_to_bursts_waits_twice_as_long_after_every_relapse_but_not_for_ever() -> None:
    limiter = WindowLimiter(RATE)
    for relapse in range(9):
        await send_and_get_429(limiter, 0.0)
        calm = CALM * 2 ** min(relapse, 6)
        await asyncio.sleep(calm - 1.0)
        assert limiter.state.pace == pytest.approx(PACE)
        await asyncio.sleep(1.001)
        assert limiter.state.pace is None


@on_virtual_clock
async def test_relapses_do_not_prolong_a_halved_pace() -> None:
    limiter = WindowLimiter(RATE)
    for _ in range(4):
        await send_and_get_429(limiter, 0.0)
        await asyncio.sleep(CALM * 8)
    for _ in range(2):
        await send_and_get_429(limiter)
    assert limiter.state.pace == pytest.approx(PACE / 2)
    await asyncio.sleep(SILENCE + CALM + 0.001)
    assert limiter.state.pace == pytest.approx(PACE)


@on_virtual_clock
async def test_the_limit_holds_while_paced_as_well() -> None:
    """Answers take longer than a period: the pace alone would let too many into one."""
    limiter = WindowLimiter(Rate(3, 10.0))
    await send_and_get_429(limiter, 0.0)
    for _ in range(2):
        await send(limiter)
    assert limiter.available == 0
    assert limiter.next_free == pytest.approx(1010.0 + limiter.margin)
    await asyncio.sleep(11.0)
    assert limiter.available == 1


# -- somebody else spends the same budget


class Neighbour:
    """Another client of the same key, who sends half of the limit at random moments and heeds no 429."""

    def __init__(self, server: Server, rnd: random.Random) -> None:
        self._server = server
        self._rnd = rnd

    async def live(self) -> None:
        while True:
            await asyncio.sleep(self._rnd.expovariate(0.5 * RATE.limit / RATE.period))
            self._server.send(jitter(self._rnd), 0.0)


@pytest.mark.parametrize("honours_hints", [False, True])
@on_virtual_clock
async def test_a_neighbour_on_the_same_key_costs_few_429s_and_what_it_leaves_is_used(honours_hints: bool) -> None:
    rnd = random.Random(1)
    server = Server(SlidingLog(RATE.limit, RATE.period))
    limiter = WindowLimiter(RATE)
    client = Client(limiter, server, rnd, jitter, honours_hints=honours_hints)
    neighbour = asyncio.create_task(Neighbour(server, rnd).live())
    working = asyncio.create_task(client.saturate(1_000_000, workers=120))

    await asyncio.sleep(1200.0)
    served, rejected = len(client.served), len(client.rejected)
    assert 1 <= rejected <= 10
    assert served >= 0.5 * 1200 * RATE.limit / RATE.period / 2

    neighbour.cancel()
    await asyncio.sleep(3600.0)
    working.cancel()
    assert len(client.rejected) == rejected
    assert limiter.state.pace is None
    assert math.isclose(len(client.served) - served, 3600 * 2, rel_tol=0.15)
