"""`codegen-async fake`: simulated servers on a port."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import App, Parameter

from codegen_async.cli.errors import Exit, UsageError
from codegen_async.cli.options import PLAIN, Display

if TYPE_CHECKING:
    from codegen_async.cli.serving import Served
    from codegen_async.cli.session import Session
    from codegen_async.testing.server import SimulatedServer

app: App = App(
    name="fake",
    help="Serve simulated APIs, for trying and testing.",
    help_epilogue="Example:\n  codegen-async fake serve --port 8017",
)

Window = Literal["sliding", "fixed", "first-hit", "bucket", "two-counter"]
Many = tuple[str, ...]

_LAST_PORT = 65535


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Simulation:
    """The server to be simulated."""

    api: Annotated[Literal["codegen", "middesk"], Parameter(help="Which API.", show_default=True)] = "codegen"
    port: Annotated[int, Parameter(help="Where to listen. Default: any free port.")] = 0
    speed: Annotated[float, Parameter(help="How many times faster than life its clock runs.", show_default=True)] = 1.0
    latency: Annotated[float, Parameter(help="Seconds a request takes, and its answer, at most.")] = 0.0
    limit: Annotated[Many, Parameter(help="ENDPOINT=REQUESTS/SECONDS instead of the documented one.")] = ()
    window: Annotated[Window, Parameter(help="How requests are counted.", show_default=True)] = "sliding"
    retry_after: Annotated[bool, Parameter(help="Send Retry-After with a 429.")] = False
    fault: Annotated[Many, Parameter(help="What goes wrong; see below. May be repeated.")] = ()
    seed: Annotated[int, Parameter(help="Of everything random.")] = 0
    plan: Annotated[int | None, Parameter(help="Codegen: runs until create answers 402. Default: no end.")] = None
    no_repos: Annotated[bool, Parameter(help="Codegen: have no repositories, so that create answers 404.")] = False
    median: Annotated[float, Parameter(help="Codegen: seconds that half the runs take.", show_default=True)] = 360.0

    def target(self) -> Served:
        """Return what serves it.

        Raises:
            UsageError: an option cannot be right.
        """
        from functools import partial

        from codegen_async.cli import serving

        if not 0 <= self.port <= _LAST_PORT:
            raise UsageError(f"--port: expected 0..{_LAST_PORT}")
        if not self.speed > 0 or not self.latency >= 0 or not self.median > 0:
            raise UsageError("--speed and --median: expected more than 0; --latency: 0 or more")
        codegen = partial(serving.codegen, plan=self.plan, repos=not self.no_repos, median=self.median)
        listening = partial(
            serving.middesk if self.api == "middesk" else codegen,
            port=self.port,
            speed=self.speed,
            latency=(0.0, self.latency),
            rates=dict(map(serving.read_limit, self.limit)),
            window=self.window,
            retry_after=self.retry_after,
            seed=self.seed,
        )
        return serving.Served(listening, map(serving.read_fault, self.fault))


USUAL = Simulation()

_FAULTS = """\
A fault is NAME[:ENDPOINT[:HOW-OFTEN]]: names are reset-before, reset-after,
drop-before, drop-after, error-before, error-after, refused, rate-limited,
slow-headers, slow-body, broken-json, truncated-body, wrong-id; how often is a
number of times, or a probability with a point in it; for ever by default."""


@app.command(
    help_epilogue=f"""\
Prints the variables that point a client there, then serves until a signal
comes, and says what it counted. It listens on 127.0.0.1 only. With --speed
there is one more variable, which lets clients of this server, and of no other,
be as much faster.

{_FAULTS}

Examples:
  codegen-async fake serve --port 8017 --speed 60
  codegen-async fake serve --limit create=5/60 --fault reset-after:create:0.5
  codegen-async fake serve --api middesk"""
)
def serve(*, simulation: Simulation = USUAL, display: Display = PLAIN) -> Exit:
    """Serve an API, simulated, with its documented limits."""
    from codegen_async.cli import serving
    from codegen_async.cli.session import execute

    async def work(session: Session[SimulatedServer]) -> Exit:
        values = session.client.environment
        if session.output.structured:
            session.output.document(values)
        else:
            for name, value in values.items():
                session.output.line(f"export {name}={value}")
        return await serving.until_signal(session)

    return execute(work, simulation.target(), display)


@app.command(
    name="exec",
    help_epilogue=f"""\
Sets the variables that `fake serve` prints, runs the program with them, passes
signals on to it, and ends with its exit code; 128 and the number of the signal
where one has ended it. What the server counted is said at the end.

{_FAULTS}

Examples:
  codegen-async fake exec -- pytest -q
  codegen-async fake exec --speed 60 -- codegen-async batch run prompts.jsonl""",
)
def execute_program(
    *program: Annotated[str, Parameter(name="PROGRAM", help="What to run, behind --, with its arguments.")],
    simulation: Simulation = USUAL,
    display: Display = PLAIN,
) -> int:
    """Run a program against a simulated API."""
    from codegen_async.cli import serving
    from codegen_async.cli.session import execute

    if not program:
        raise UsageError("PROGRAM: expected what to run", "codegen-async fake exec -- PROGRAM ARGUMENT...")
    code: int = Exit.ERROR

    async def work(session: Session[SimulatedServer]) -> Exit:
        nonlocal code
        code = await serving.until_ended(program, session.client.environment)
        return Exit.OK

    execute(work, simulation.target(), display)
    return code
