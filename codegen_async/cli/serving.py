"""Simulated servers on a port, for other processes."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any, NamedTuple

from codegen_async.cleaning import clean
from codegen_async.cli.errors import CommandError, Exit, UsageError
from codegen_async.cli.loading import load, made
from codegen_async.cli.session import RealTime, Session
from codegen_async.cli.simulation import counted
from codegen_async.events import Observer
from codegen_async.signals import ENDING, handling_on
from codegen_async.testing import CodegenServer, Fault, Life, MiddeskServer
from codegen_async.testing.codegen import RATES
from codegen_async.testing.server import SimulatedServer

_SERVER = "--server"
_SIGMA = 0.5  # the longest of a hundred runs takes about three times the median, so a rehearsal ends soon
_SIGNALLED = 128  # and the number of the signal: what shells make of a program that one has ended
_OF_MIDDESK = ("agents", "agent", "create_thread", "threads", "thread", "feedback", "stream")
_ENDPOINTS = (*RATES, *_OF_MIDDESK)


class PlannedFault(NamedTuple):
    """A fault, where it strikes (None: everywhere), and how often."""

    fault: Fault
    endpoint: str | None
    times: int | None
    probability: float


class Served(RealTime):
    """Serve a simulated API.

    Args:
        make: makes the server, on its loop.
        faults: what is to go wrong.
    """

    server: SimulatedServer

    def __init__(self, make: Callable[[], SimulatedServer], faults: Iterable[PlannedFault]) -> None:
        self._make = make
        self._faults = list(faults)
        self.observers: list[Observer] = []

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[SimulatedServer]:
        """Yield the server, listening."""
        async with AsyncExitStack() as until:
            try:
                self.server = await until.enter_async_context(self._make())
            except OSError as error:
                raise CommandError(f"--port: {error.strerror}", "without --port any free one is taken") from None
            for planned in self._faults:
                _check_endpoint(planned.endpoint, self.server)
                self.server.faults.add(
                    planned.fault, endpoint=planned.endpoint, times=planned.times, probability=planned.probability
                )
            yield self.server

    def record(self) -> Sequence[str]:
        """Return what the server counted."""
        return counted(self.server)


def codegen(*, plan: int | None, repos: bool, median: float, **options: Any) -> CodegenServer:
    """Return a simulated Codegen API without runs."""
    return CodegenServer(plan_limit=plan, has_repos=repos, life=Life(median=median, sigma=_SIGMA), **options)


def middesk(**options: Any) -> MiddeskServer:
    """Return a simulated Middesk API with a few runs."""
    server = MiddeskServer(**options)
    server.world.create(script=[(0.0, "completed")])
    server.world.create(script=[(0.0, [{"label": "Is this the right company?"}]), (0.0, "completed")])
    server.world.create()
    return server


def of_others(name: str, options: Mapping[str, Any]) -> Callable[[], SimulatedServer]:
    """Return what makes a server that a user names as `module:Name`.

    Raises:
        UsageError: there is no such class.
    """
    kind = load(_SERVER, name, SimulatedServer, here=True)
    if not isinstance(kind, type):  # one that is there already belongs to another loop
        raise UsageError(f"{_SERVER}: expected a class, got {clean(name, 60)}")
    return lambda: made(_SERVER, kind, **options)


def _check_endpoint(endpoint: str | None, server: SimulatedServer) -> None:
    known = list(dict.fromkeys(route.endpoint for route in server.routes()))
    if endpoint is not None and endpoint not in known:
        raise UsageError(f"--fault: there is no endpoint {clean(endpoint, 60)!r}", f"endpoints are {', '.join(known)}")


async def until_signal(session: Session[SimulatedServer]) -> Exit:
    """Serve until a signal comes."""
    over = asyncio.Event()
    session.soft = dict.fromkeys(ENDING, over.set)
    await over.wait()
    return session.exit


async def until_ended(program: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run a program, pass on the signals that would end us, and return what the shell would call its exit code.

    Raises:
        CommandError: it cannot be started.
    """
    try:
        process = await asyncio.create_subprocess_exec(*program, env={**os.environ, **environment})
    except OSError as error:
        raise UsageError(f"{clean(program[0])} cannot be started: {error.strerror}") from None
    loop = asyncio.get_running_loop()

    def pass_on(number: signal.Signals) -> None:
        if not (number == signal.SIGINT and _in_foreground()):
            _send(process, number)

    try:
        with handling_on(loop, pass_on):
            code = await process.wait()
    finally:
        _send(process, signal.SIGTERM)
    return code if code >= 0 else _SIGNALLED - code


def _send(process: asyncio.subprocess.Process, number: signal.Signals) -> None:
    """Send a signal to a program, unless it has ended.

    Its own `send_signal` looks first whether it has ended, and so takes its exit code from who waits for that.
    """
    if process.returncode is None:
        with suppress(ProcessLookupError, PermissionError):  # it has just ended, or has become another user's
            os.kill(process.pid, number)


def _in_foreground() -> bool:
    """Whether a terminal sends its Ctrl-C to us and to all that we have started."""
    try:
        terminal = os.open(os.ctermid(), os.O_RDONLY | os.O_NOCTTY)
    except (OSError, AttributeError):  # none; or a system without
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return False
    finally:
        os.close(terminal)


def read_limit(text: str) -> tuple[str, tuple[int, float]]:
    """Read `ENDPOINT=REQUESTS/SECONDS`.

    Raises:
        UsageError: it is something else.
    """
    endpoint, _, rate = text.partition("=")
    requests, _, seconds = rate.partition("/")
    try:
        limit, period = int(requests), float(seconds)
    except ValueError:
        limit, period = 0, 0.0
    if endpoint not in (*_ENDPOINTS, "ceiling") or limit < 1 or not 0 < period < float("inf"):
        raise UsageError(f"--limit: expected ENDPOINT=REQUESTS/SECONDS, got {clean(text, 60)}", _KNOWN)
    return endpoint, (limit, period)


def read_fault(text: str) -> PlannedFault:
    """Read `NAME[:ENDPOINT[:HOW-OFTEN]]`.

    Raises:
        UsageError: it is something else.
    """
    name, _, rest = text.partition(":")
    endpoint, _, often = rest.partition(":")
    try:
        fault = Fault[name.upper().replace("-", "_")]
        times = int(often) if often and "." not in often else None
        probability = float(often) if "." in often else 1.0
    except (KeyError, ValueError):
        raise UsageError(f"--fault: expected NAME[:ENDPOINT[:HOW-OFTEN]], got {clean(text, 60)}", _FAULTS) from None
    return PlannedFault(fault, endpoint or None, times, probability)


_KNOWN = f"endpoints are {', '.join(_ENDPOINTS)}; the limit over all is ceiling"
_FAULTS = f"names are {', '.join(fault.name.lower().replace('_', '-') for fault in Fault)}"
