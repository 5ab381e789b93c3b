"""Show the client at work: forty runs against a simulated server, sixty times faster than life.

Client and server talk real HTTP over loopback. Their clocks run sixty times faster together, so the client keeps the
very limits it keeps in production (10 creates a minute, 60 gets and 60 pages in half a minute) while you watch.
"""

import asyncio
import sys
from collections import Counter

from codegen_async import AgentRun, CodegenClient, Phase, Timeouts
from codegen_async.testing import CodegenServer, FastLoop, Life

RUNS = 40
SPEED = 60.0
# A second of a busy machine is a minute here.
PATIENT = Timeouts(connect=600.0, read=600.0, total=600.0)
LIVES = Life(median=240.0, sigma=0.8)


def main() -> None:
    """Run the demo; exit with 1 if anything is not as promised."""
    with asyncio.Runner(loop_factory=lambda: FastLoop(SPEED)) as runner:
        sys.exit(runner.run(show()))


async def show() -> int:
    """Create the runs, wait for them and print what it took; return the exit code."""
    print(f"{RUNS} runs against a simulated server, {SPEED:g} times faster than life (s below are simulated seconds)\n")
    async with (
        CodegenServer(seed=7, latency=(0.05, 0.3), life=LIVES) as server,
        CodegenClient(server.token, org_id=server.org_id, base_url=server.url, timeouts=PATIENT, fleet="") as client,
    ):
        progress = _Progress(server)
        async with asyncio.TaskGroup() as group:
            runs = [group.create_task(_follow(client, server, progress, number)) for number in range(1, RUNS + 1)]
        progress.end()
        ended = [task.result() for task in runs]
    _print_runs(ended)
    return _print_budget(server)


async def _follow(
    client: CodegenClient, server: CodegenServer, progress: "_Progress", number: int
) -> tuple[AgentRun, float]:
    """Create one run and wait for it; return it with the seconds from its end until the client knew."""
    run = await client.create_run(f"Fix the flaky test number {number}")
    progress.count(created=1)
    final = await client.wait_for_run(run)
    progress.count(ended=1)
    return final, server.now() - (server.world.runs[run.id].finished_at or server.now())


class _Progress:
    """Show how far it is: one line that changes on a terminal, a line now and then elsewhere."""

    def __init__(self, server: CodegenServer) -> None:
        self._server = server
        self._started = server.now()
        self._done: Counter[str] = Counter()
        self._live = sys.stderr.isatty()

    def count(self, **done: int) -> None:
        self._done.update(done)
        if self._live or sum(self._done.values()) % 10 == 0:
            self._show("\r" if self._live else "\n")

    def end(self) -> None:
        if self._live:
            print(file=sys.stderr)

    def _show(self, ending: str) -> None:
        elapsed = self._server.now() - self._started
        created, ended = self._done["created"], self._done["ended"]
        line = f"{elapsed:6.0f} s  created {created:2}/{RUNS}  running {created - ended:2}  ended {ended:2}/{RUNS}"
        print(f"{line}  requests {len(self._server.requests):4}", end=ending, file=sys.stderr, flush=True)


def _print_runs(ended: list[tuple[AgentRun, float]]) -> None:
    print(f"\n{'run':>7}  {'status':24}{'known after':>11}")
    for run, latency in sorted(ended, key=lambda pair: pair[0].id):
        print(f"{run.id:7}  {run.status or '':24}{latency:9.1f} s")
    latencies = sorted(latency for _, latency in ended)
    succeeded = sum(run.phase is Phase.SUCCEEDED for run, _ in ended)
    mean = sum(latencies) / len(latencies)
    print(f"\n{succeeded} of {len(ended)} succeeded; an end was known after {mean:.1f} s on average, ", end="")
    print(f"{latencies[-1]:.1f} s at most (asked for: a look every 5 s)")


def _print_budget(server: CodegenServer) -> int:
    requests = Counter(request.endpoint for request in server.requests)
    print(f"\n{'endpoint':10}{'requests':>9}{'fullest window':>16}{'limit':>12}{'429s':>6}")
    for endpoint in ("create", "get", "list", "logs"):
        worst = server.worst(endpoint)
        refused = sum(r.endpoint == endpoint and r.status == 429 for r in server.requests)  # noqa: PLR2004 - HTTP
        period = server.rates[endpoint][1]
        print(f"{endpoint:10}{requests[endpoint]:9}{worst.seen:16}{worst.limit:6}/{period:g} s{refused:6}")
    naive = sum((run.finished_at or 0.0) - run.created for run in server.world.runs.values()) / 5
    polls = requests["get"] + requests["list"]
    print(f"\nlimits violated: {server.violations}; polls: {polls} (a get per run every 5 s: {naive:.0f})")
    return 1 if server.violations else 0


if __name__ == "__main__":
    main()
