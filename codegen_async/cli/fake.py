"""`codegen-async fake`: simulated servers on a port."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import App, Parameter

from codegen_async.cli.errors import Exit, UsageError
from codegen_async.cli.options import PLAIN, Display

if TYPE_CHECKING:
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


@app.command(
    help_epilogue="""\
Prints the variables that point a client there, then serves until a signal
comes, and says what it counted. It listens on 127.0.0.1 only.

A fault is NAME[:ENDPOINT[:HOW-OFTEN]]: names are reset-before, reset-after,
drop-before, drop-after, error-before, error-after, rate-limited, slow-headers,
slow-body, broken-json, truncated-body, wrong-id; how often is a number of
times, or a probability with a point in it; for ever by default.

Examples:
  codegen-async fake serve --port 8017 --speed 60
  codegen-async fake serve --limit create=5/60 --fault reset-after:create:0.5
  codegen-async fake serve --api middesk"""
)
def serve(
    *,
    api: Annotated[Literal["codegen", "middesk"], Parameter(help="Which API.", show_default=True)] = "codegen",
    port: Annotated[int, Parameter(help="Where to listen. Default: any free port.")] = 0,
    speed: Annotated[float, Parameter(help="How many times faster than life its clock runs.", show_default=True)] = 1.0,
    latency: Annotated[float, Parameter(help="Seconds a request takes, and its answer, at most.")] = 0.0,
    limit: Annotated[Many, Parameter(help="ENDPOINT=REQUESTS/SECONDS instead of the documented one.")] = (),
    window: Annotated[Window, Parameter(help="How requests are counted.", show_default=True)] = "sliding",
    retry_after: Annotated[bool, Parameter(help="Send Retry-After with a 429.")] = False,
    fault: Annotated[Many, Parameter(help="What goes wrong; see below. May be repeated.")] = (),
    seed: Annotated[int, Parameter(help="Of everything random.")] = 0,
    plan: Annotated[int | None, Parameter(help="Codegen: runs until create answers 402. Default: no end.")] = None,
    median: Annotated[float, Parameter(help="Codegen: seconds that half the runs take.", show_default=True)] = 360.0,
    display: Display = PLAIN,
) -> Exit:
    """Serve an API, simulated, with its documented limits."""
    from functools import partial

    from codegen_async.cli import serving
    from codegen_async.cli.session import execute

    if not 0 <= port <= _LAST_PORT:
        raise UsageError(f"--port: expected 0..{_LAST_PORT}")
    if not speed > 0 or not latency >= 0 or not median > 0:
        raise UsageError("--speed and --median: expected more than 0; --latency: 0 or more")
    make = serving.middesk if api == "middesk" else partial(serving.codegen, plan=plan, median=median)
    listening = partial(
        make,
        port=port,
        speed=speed,
        latency=(0.0, latency),
        rates=dict(map(serving.read_limit, limit)),
        window=window,
        retry_after=retry_after,
        seed=seed,
    )
    target = serving.Served(listening, map(serving.read_fault, fault))

    async def work(session: Session[SimulatedServer]) -> Exit:
        values = session.client.environment
        if session.output.structured:
            session.output.document(values)
        else:
            for name, value in values.items():
                session.output.line(f"export {name}={value}")
        return await serving.until_signal(session)

    return execute(work, target, display)
