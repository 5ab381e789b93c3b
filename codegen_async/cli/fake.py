"""`codegen-async fake`: simulated servers on a port."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
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
    server: Annotated[str | None, Parameter(help="Another, as module:Name of a SimulatedServer.")] = None
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
        from codegen_async.cli import serving

        if not 0 <= self.port <= _LAST_PORT:
            raise UsageError(f"--port: expected 0..{_LAST_PORT}")
        if not self.speed > 0 or not self.latency >= 0 or not self.median > 0:
            raise UsageError("--speed and --median: expected more than 0; --latency: 0 or more")
        return serving.Served(self._making(), map(serving.read_fault, self.fault))

    def _making(self) -> Callable[[], SimulatedServer]:
        """Return what makes the server, on its loop."""
        from functools import partial

        from codegen_async.cli import serving

        if self.server is not None:
            return self._making_other(self.server)
        codegen = partial(serving.codegen, plan=self.plan, repos=not self.no_repos, median=self.median)
        return partial(
            serving.middesk if self.api == "middesk" else codegen,
            port=self.port,
            speed=self.speed,
            latency=(0.0, self.latency),
            rates=dict(map(serving.read_limit, self.limit)),
            window=self.window,
            retry_after=self.retry_after,
            seed=self.seed,
        )

    def _making_other(self, server: str) -> Callable[[], SimulatedServer]:
        """Return the same for a server of others, which is given only what differs from the defaults."""
        from codegen_async.cli import serving

        given = {each.name: value for each in fields(self) if (value := getattr(self, each.name)) != each.default}
        for name in ("api", "limit", "plan", "no_repos", "median"):
            if name in given:
                flag = f"--{name.replace('_', '-')}"
                raise UsageError(f"{flag} does not go with --server", "what that serves is said in its own code")
        del given["server"]
        given.pop("fault", None)
        if "latency" in given:
            given["latency"] = (0.0, self.latency)
        return serving.of_others(server, given)


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
be as much faster. A server of --server is looked for in this directory too, and
is given --port, --speed and the like only where they are not the usual ones.

{_FAULTS}

Examples:
  codegen-async fake serve --port 8017 --speed 60
  codegen-async fake serve --limit create=5/60 --fault reset-after:create:0.5
  codegen-async fake serve --api middesk
  codegen-async fake serve --server acme_server:AcmeServer"""
)
def serve(*, simulation: Simulation = USUAL, display: Display = PLAIN) -> Exit:
    """Serve an API, simulated, with its documented limits."""
    from codegen_async.cli import serving
    from codegen_async.cli.session import execute

    async def work(session: Session[SimulatedServer]) -> Exit:
        values = session.client.environment
        if simulation.server is not None:
            session.output.note(f"serving {session.client.url}; the token is {session.client.token}")
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
