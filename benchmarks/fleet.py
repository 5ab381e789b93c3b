"""What a fleet makes of a limit, and what that costs: throughput, fairness, calls of the store, CPU; and campaigns.

All in virtual time, on hosts whose clocks differ, over a store in memory that takes 0.2 to 1 ms. CPU time is that of
the whole simulation. With `--requests N`, that many requests are sent under every kind of fault (`tests/fleet`), and
none may be one too many; a million take some ten minutes.

Run: python -m benchmarks.fleet [--quick] [--requests N]
"""

import argparse
import logging
import time
from collections.abc import Sequence
from dataclasses import replace

from codegen_async.fleet.board import Own, Present, Terms, exchange
from codegen_async.fleet.records import Board, read, write
from codegen_async.limits import Rate
from tests.fleet.campaign import SHORT, Plan, Result, play

WORKERS = 8
CALM = Plan(
    terms=Terms(),
    workers=WORKERS,
    kills=0.0,
    freezes=0.0,
    cuts=0.0,
    lost=0.0,
    late=0.0,
    slow=0.0,
    stalls=0.0,
    gaps=0.0,
    interactive=1.0,
    leg=(0.025, 0.025),
)
LIMITS = ((Rate(10, 60.0), 3000.0, 0.98), (Rate(60, 30.0), 900.0, 0.98), (Rate(20, 1.0), 60.0, 0.90))
BIG = Plan(rate=Rate(500, 2.0), callers=150, seconds=60.0, terms=SHORT)
FAULTS = {
    "deaths, stops, cuts": replace(BIG, kills=0.05),
    "lost writes, jumps": replace(BIG, kills=0.02, restarts=0.01, jumps=0.05),
    "durable restarts": replace(BIG, kills=0.02, forgets=False, restarts=0.05, jumps=0.02),
    "jumps of an hour": replace(BIG, kills=0.0, jumps=0.05, ahead=3600.0),
    "long stops": replace(BIG, kills=0.0, freezes=0.03, frozen=25.0, stalls=0.5),
    "10 in 60 s": replace(
        BIG, rate=Rate(10, 60.0), callers=4, terms=Terms(), seconds=6000.0, kills=0.005, freezes=0.01
    ),
    "60 in 30 s": replace(BIG, rate=Rate(60, 30.0), callers=20, terms=Terms(), seconds=1500.0, kills=0.005),
    "20 in 1 s": replace(BIG, rate=Rate(20, 1.0), callers=8, terms=Terms(), seconds=240.0, kills=0.01),
}


def calm(rate: Rate, seconds: float) -> Result:
    """Let workers that never pause spend a limit."""
    result = play(replace(CALM, rate=rate, seconds=seconds, callers=2 * rate.limit // WORKERS + 2))
    assert result.over == 0
    return result


def share_of_ideal(result: Result, rate: Rate, seconds: float) -> float:
    return sum(result.by_worker.values()) / (rate.limit / rate.period * (seconds - rate.period))


def print_limits(scale: float) -> None:
    print(f"{WORKERS} workers that never pause, answers after 0.05 s")
    print(f"{'limit':14}{'of ideal':>10}{'unfair':>10}{'calls of the store':>22}{'CPU':>16}")
    for rate, whole, least in LIMITS:
        seconds = whole * scale
        began = time.process_time()
        result = calm(rate, seconds)
        cpu = (time.process_time() - began) / seconds
        sent = sum(result.by_worker.values())
        share = share_of_ideal(result, rate, seconds)
        each = [result.by_worker.get(number, 0) for number in range(WORKERS)]
        unfair = max(abs(count * WORKERS / sent - 1) for count in each)
        swaps = f"{result.swaps / seconds:.1f}/s, {result.swaps / result.requests:.1f} each"
        name = f"{rate.limit} in {rate.period:g} s"
        print(f"{name:14}{share:>10.3f}{unfair:>10.1%}{swaps:>22}{cpu * 1000:>10.2f} ms/s", flush=True)
        assert share >= least or scale < 1


def print_exchange() -> None:
    board: Board | None = None
    present = Present(lower=1000.0, upper=1000.0, epoch="one")
    for number in range(WORKERS):
        own = Own(name=f"member{number}", rate=Rate(60, 30.0), cooling=[1.0 + number] * 7, wanted=(2, 2))
        board = exchange(board, own, Terms(), present).board
    assert board is not None
    value = write(board)
    began, rounds = time.process_time(), 2000
    own = Own(name="member3", rate=Rate(60, 30.0), cooling=[4.0] * 6, wanted=(2, 2))
    for _ in range(rounds):
        write(exchange(read(value), own, Terms(), present).board)
    each = (time.process_time() - began) / rounds * 1e6
    print(f"\nOne call: {each:.0f} us of CPU beside the store's; a board of {WORKERS} members: {len(value)} bytes")


def print_campaigns(requests: int) -> None:
    print(
        f"\n{'faults':22}{'requests':>10}{'over':>6}{'refused':>9}{'kills':>7}{'stops':>7}{'cuts':>6}{'restarts':>10}"
    )
    total = Result()
    results = dict.fromkeys(FAULTS, Result())
    seed = 0
    while total.requests < requests:
        for name, plan in FAULTS.items():
            result = play(replace(plan, seed=seed))
            results[name] += result
            total += result
        seed += 1
    for name, result in [*results.items(), ("all", total)]:
        print(
            f"{name:22}{result.requests:>10}{result.over:>6}{result.refused:>9}{result.kills:>7}{result.freezes:>7}"
            f"{result.cuts:>6}{result.restarts:>10}"
        )
    assert total.over == 0


def main(options: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a fifth of the time")
    parser.add_argument("--requests", type=int, default=0, help="sent under faults (default: none)")
    arguments = parser.parse_args(options)
    logging.disable(logging.WARNING)
    print_limits(0.2 if arguments.quick else 1.0)
    print_exchange()
    if arguments.requests:
        print_campaigns(arguments.requests)


if __name__ == "__main__":
    main()
