"""What the headers of answers say of a budget: how it is read, and that no more is sent than they leave."""

import asyncio
import random
from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codegen_async.limits import Budget, Limits, Rate, WindowLimiter, read_budget
from tests.limits.simulation import on_virtual_clock, run

DATE = {"date": "Thu, 26 Nov 2026 00:00:00 GMT"}
NOW = 1_795_651_200  # the same


def family(limit: str, remaining: str, reset: str, form: str = "x-ratelimit-{}") -> Mapping[str, str]:
    parts = {"limit": limit, "remaining": remaining, "reset": reset}
    return {form.format(name): value for name, value in parts.items()} | DATE


@pytest.mark.parametrize(
    ("headers", "budget"),
    [
        (family("5000", "4999", str(NOW + 60)), Budget(limit=5000, remaining=4999, reset=61.0)),
        (family("5000", "4999", f"{NOW + 60}000"), Budget(limit=5000, remaining=4999, reset=61.0)),
        (family("100 per 1 minute", "7", "20"), Budget(limit=100, period=60.0, remaining=7, reset=21.0)),
        (family("10 per second", "7", "0.25"), Budget(limit=10, period=1.0, remaining=7, reset=0.25)),
        (family("100, 100;w=60", "50", "30", "ratelimit-{}"), Budget(limit=100, period=60.0, remaining=50, reset=31.0)),
        (family("60", "0", "12ms", "x-ratelimit-{}-requests"), Budget(limit=60, remaining=0, reset=0.012)),
        (family("60", "59", "6m0s", "x-ratelimit-{}-requests"), Budget(limit=60, remaining=59, reset=361.0)),
        (family("60", "59", "1h2m3.5s", "x-ratelimit-{}"), Budget(limit=60, remaining=59, reset=3723.5)),
        (
            family("300", "299", "2026-11-26T00:01:00Z", "anthropic-ratelimit-requests-{}"),
            Budget(limit=300, remaining=299, reset=61.0),
        ),
        (family("", "3", "30"), Budget(remaining=3, reset=31.0)),
    ],
)
def test_budgets_of_all_families_are_read(headers: Mapping[str, str], budget: Budget) -> None:
    assert read_budget(headers) == budget


@pytest.mark.parametrize(
    "headers",
    [
        {},
        DATE,
        family("60", "-1", "30"),
        family("60", "61", "30"),
        family("0", "0", "30"),
        family("60", "nan", "30"),
        family("60", "5.5", "30"),
        family("60", "5", "0"),
        family("60", "5", "-3"),
        family("60", "5", "inf"),
        family("60", "5", "9" * 5000),
        family("60", "9" * 5000, "5"),
        family("60", "5", "100000"),  # more than a day
        family("60", "5", str(NOW - 1)),
        family("60", "5", "soon"),
        family("60", "5", "2026-13-26T00:01:00Z"),
        {**family("60", "5", str(NOW + 60)), "date": ""},  # whose clock, and how wrong?
        {**family("60", "5", str(NOW + 60)), "date": "yesterday"},
    ],
)
def test_odd_budgets_are_passed_over(headers: Mapping[str, str]) -> None:
    assert read_budget(headers) is None


@given(st.text(max_size=40), st.text(max_size=40), st.text(max_size=40), st.text(max_size=40))
def test_whatever_the_headers_hold_nothing_is_raised(limit: str, remaining: str, reset: str, date: str) -> None:
    budget = read_budget({**family(limit, remaining, reset), "date": date})
    assert budget is None or (budget.remaining >= 0 and budget.reset > 0)


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"remaining": -1, "reset": 1.0}, "remaining"),
        ({"remaining": 1, "reset": 0.0}, "reset"),
        ({"remaining": 1, "reset": 1e6}, "reset"),
        ({"remaining": 2, "reset": 1.0, "limit": 1}, "limit"),
        ({"remaining": 0, "reset": 1.0, "period": 0.0}, "period"),
    ],
)
def test_a_budget_that_cannot_be_meant_is_an_error_that_names_the_field(fields: dict[str, float], named: str) -> None:
    with pytest.raises(ValueError, match=f"^{named}: expected"):
        Budget(**fields)  # type: ignore[arg-type]


# -- what is done with it


async def ask(limiter: WindowLimiter, budget: Budget | None = None) -> float:
    async with limiter.slot() as slot:
        slot.sent()
        sent_at = asyncio.get_running_loop().time()
        slot.answered()
        if budget is not None:
            slot.heard(budget)
        return sent_at


@on_virtual_clock
async def test_no_more_is_sent_than_the_headers_leave_until_the_budget_is_whole_again() -> None:
    limiter = WindowLimiter(Rate(60, 30.0))
    began = await ask(limiter, Budget(limit=60, remaining=2, reset=20.0))
    assert limiter.state.budget == Budget(remaining=2, reset=20.0)
    assert [await ask(limiter) - began for _ in range(4)] == [0.0, 0.0, pytest.approx(20.0), pytest.approx(20.0)]
    after = limiter.state
    assert after.budget is None
    assert after.source == "stated"


@on_virtual_clock
async def test_headers_do_not_widen_a_stated_rate() -> None:
    limiter = WindowLimiter(Rate(2, 30.0))
    began = await ask(limiter, Budget(limit=5000, period=1.0, remaining=4999, reset=20.0))
    await ask(limiter)
    assert await ask(limiter) - began == pytest.approx(30.05)
    assert limiter.state.rate == Rate(2, 30.0)


@on_virtual_clock
async def test_a_request_that_was_not_sent_gives_its_part_of_the_budget_back() -> None:
    limiter = WindowLimiter(Rate(60, 30.0))
    began = await ask(limiter, Budget(remaining=1, reset=20.0))
    async with limiter.slot():
        assert limiter.available == 0
    assert await ask(limiter) == began


@on_virtual_clock
async def test_an_older_word_does_not_replace_a_younger_one() -> None:
    limiter = WindowLimiter(Rate(60, 30.0))
    slow = limiter.slot()
    await slow.__aenter__()
    slow.sent()
    await asyncio.sleep(1.0)
    await ask(limiter, Budget(remaining=1, reset=20.0))
    slow.answered()
    slow.heard(Budget(remaining=50, reset=20.0))
    assert limiter.state.available == 0  # the slow one may not have been counted yet when the other was answered


@on_virtual_clock
async def test_a_budget_of_the_ceilings_size_is_the_ceilings() -> None:
    limits = Limits({"get": Rate(60, 30.0), "list": Rate(60, 30.0)}, ceiling=Rate(5000, 3600.0))
    await ask(limits["get"], Budget(limit=5000, remaining=3, reset=100.0))
    await ask(limits["list"], Budget(limit=60, remaining=7, reset=10.0))
    states = limits.states
    assert {name: state.budget and state.budget.remaining for name, state in states.items()} == {
        "get": None,
        "list": 7,
        "ceiling": 2,
    }


@on_virtual_clock
async def test_a_rate_that_nobody_states_is_learned_and_kept_evenly() -> None:
    limiter = WindowLimiter(())
    await ask(limiter, Budget(limit=100, period=60.0, remaining=99, reset=60.0))
    assert (limiter.state.source, limiter.rate) == ("learned", Rate(100, 60.0))
    assert limiter.state.pace == pytest.approx(0.95 * 100 / 60)
    await ask(limiter, Budget(limit=500, remaining=499, reset=0.12))
    assert limiter.rate == Rate(500, 60.0)  # a period that is not told is taken to be no shorter than a minute
    await ask(limiter, Budget(limit=5000, remaining=499, reset=3000.0))
    assert limiter.rate == Rate(5000, 3000.0)
    await ask(limiter, Budget(limit=5000, remaining=499, reset=1.0))
    assert limiter.rate == Rate(5000, 3000.0)


@settings(max_examples=200)
@given(st.integers(0, 2**32), st.integers(1, 20), st.floats(2.0, 60.0), st.integers(1, 12))
def test_a_server_whose_true_limit_only_its_headers_tell_is_not_exceeded_once_it_has_told(
    seed: int, limit: int, period: float, workers: int
) -> None:
    """Fixed windows, and a stated rate that is far too high; answers overtake one another."""

    async def main() -> None:
        rnd = random.Random(seed)
        loop = asyncio.get_running_loop()
        limiter = WindowLimiter(Rate(1000, period), margin=0.0)
        counts, done = dict[int, int](), 0
        await ask(limiter, Budget(limit=limit, remaining=limit, reset=period - loop.time() % period))

        async def work() -> None:
            nonlocal done
            while done < 8 * limit:
                async with limiter.slot() as slot:
                    slot.sent()
                    await asyncio.sleep(rnd.uniform(0.0, 0.2))
                    window, into = divmod(loop.time(), period)
                    counts[int(window)] = counts.get(int(window), 0) + 1
                    left = limit - counts[int(window)]
                    until = period - into
                    await asyncio.sleep(rnd.uniform(0.0, 0.2))
                    done += 1
                    slot.answered()
                    if left >= 0:
                        slot.heard(Budget(limit=limit, remaining=left, reset=until))

        async with asyncio.TaskGroup() as group:
            for _ in range(min(workers, limit)):
                group.create_task(work())
        assert done >= 8 * limit  # and it was not frozen
        # What was under way when a window began is the next one's, and no header could tell of that.
        assert max(counts.values()) <= limit + min(workers, limit)

    run(main())
