"""Run a command's coroutine with an open client, and end it in order when a signal comes."""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, ExitStack, contextmanager
from typing import Any, Generic, Protocol, TypeVar

from codegen_async.cleaning import clean
from codegen_async.cli.errors import CommandError, Exit
from codegen_async.cli.options import Display
from codegen_async.cli.output import Output
from codegen_async.cli.signals import exit_of
from codegen_async.events import Observer
from codegen_async.logs import level_asked_for
from codegen_async.signals import handling_on

C = TypeVar("C")
C_co = TypeVar("C_co", covariant=True)


class Target(Protocol[C_co]):
    """Say where a command's client comes from."""

    @property
    def speed(self) -> float:
        """How much faster than life the loop's clock runs."""
        ...

    @property
    def observers(self) -> list[Observer]:
        """Who else is told what the client does."""
        ...

    def new_loop(self) -> asyncio.AbstractEventLoop:
        """Return the loop to run on."""
        ...

    def open(self) -> AbstractAsyncContextManager[C_co]:
        """Return a context with an open client."""
        ...

    def clock(self) -> float:
        """Return wall-clock seconds, as fast as the loop's clock."""
        ...

    def record(self) -> Sequence[str]:
        """Return what the server counted, where it is a simulated one."""
        ...


class RealTime:
    """Be as fast as life; what a target is that simulates nothing in this process."""

    speed: float = 1.0

    def new_loop(self) -> asyncio.AbstractEventLoop:
        """Return an ordinary loop."""
        return asyncio.new_event_loop()

    def clock(self) -> float:
        """Return the time of day."""
        return time.time()


def telling(observers: list[Observer]) -> Observer:
    """Return an observer that tells all of a list, whatever is added to it later."""
    return lambda event: [observer(event) for observer in observers]


class Session(Generic[C_co]):
    """What a command has while it runs.

    Attributes:
        output: where to print.
        resume: the command that goes on where this one is interrupted; empty if there is nothing to go on with.
        soft: what to do at the first signal instead of leaving at once, for the signals at which a command can do that.
        signals: the signals that came.
    """

    def __init__(self, client: C_co, target: Target[C_co], output: Output) -> None:
        self._client = client
        self._target = target
        self.output = output
        self.resume = ""
        self.soft: Mapping[signal.Signals, Callable[[], None]] = {}
        self.signals: list[signal.Signals] = []

    @property
    def client(self) -> C_co:
        """The open client."""
        return self._client

    @property
    def target(self) -> Target[C_co]:
        """Where the client comes from."""
        return self._target

    @property
    def exit(self) -> Exit:
        """What a command ends with after a signal."""
        return exit_of(self.signals[-1])

    @property
    def hint(self) -> str:
        """What a command says that ends before its time."""
        return f"to go on: {self.resume}" if self.resume else ""

    def interrupted(self) -> CommandError:
        """Return the error that a command ends with after a signal."""
        return CommandError("interrupted", self.hint, self.exit)


Work = Callable[[Session[C]], Awaitable[Exit]]


def execute(work: Work[C], target: Target[C], display: Display) -> Exit:
    """Run a command with an open client and return what it ends with.

    Raises:
        CommandError: it was interrupted, or cannot be run.
        CodegenAsyncError: as the client raises it.
    """
    output = Output(display)
    with _warnings_to(output), asyncio.Runner(loop_factory=target.new_loop) as runner:
        runner.get_loop().set_exception_handler(_unhandled)
        return runner.run(_run(work, target, output))


def _unhandled(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Say nothing of a command that ends as it should while a second signal ends the program around it."""
    if not isinstance(context.get("exception"), CommandError):
        loop.default_exception_handler(context)


async def _run(work: Work[C], target: Target[C], output: Output) -> Exit:
    async with target.open() as client:
        session = Session(client, target, output)
        with _signals(session):
            code = await work(session)
        for line in target.record():
            output.note(line)
        return code


@contextmanager
def _signals(session: Session[C]) -> Generator[None]:
    """Cancel the block at a signal, or at the second if the command takes the first softly.

    What comes after that is raised wherever the program is, and the next one ends it.
    """
    task = asyncio.current_task()
    loop = asyncio.get_running_loop()

    def on_signal(number: signal.Signals) -> None:
        session.signals.append(number)
        if number in session.soft and len(session.signals) == 1:
            session.soft[number]()
            return
        handled.close()
        if task is not None:
            task.cancel()

    with ExitStack() as handled:
        handled.enter_context(handling_on(loop, on_signal))
        try:
            yield
        except asyncio.CancelledError:
            if not session.signals:
                raise
            raise session.interrupted() from None


class _Notes(logging.Handler):
    """Print what the library warns of as notes, and what else `CODEGEN_ASYNC_LOG` asks for."""

    def __init__(self, output: Output) -> None:
        super().__init__(level_asked_for() or logging.WARNING)
        self._output = output

    def emit(self, record: logging.LogRecord) -> None:
        self._output.note(clean(record.getMessage(), 500))


@contextmanager
def _warnings_to(output: Output) -> Generator[None]:
    logger = logging.getLogger("codegen_async")
    handler = _Notes(output)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
