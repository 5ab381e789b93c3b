"""A token that must never show, and ways to look for it."""

import contextlib
import logging
import traceback
from collections.abc import Awaitable, Generator, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from types import TracebackType

CANARY = "canary-7Qx2vLk9TzW4"
"""The API token of the whole suite: clients find it in `CODEGEN_API_TOKEN`."""


class Watch(logging.Handler):
    """Note every log record that shows the canary, whatever its logger and level."""

    def __init__(self) -> None:
        super().__init__(logging.NOTSET)
        self.leaks: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        shown = [record.getMessage(), repr(record.__dict__)]
        if record.exc_info and record.exc_info[1]:
            shown.append("".join(traceback.format_exception(record.exc_info[1])))
        if any(CANARY in text for text in shown):
            self.leaks.append(f"{record.name}: {record.getMessage()}")


@contextlib.contextmanager
def watched_logs() -> Generator[Watch]:
    """Let all loggers speak at DEBUG, and watch what they say."""
    watch = Watch()
    root = logging.getLogger()
    level = root.level
    root.addHandler(watch)
    root.setLevel(logging.DEBUG)
    try:
        yield watch
    finally:
        root.setLevel(level)
        root.removeHandler(watch)


async def failure_of(call: Awaitable[object]) -> BaseException:
    """Return what a call raises, also a cancellation, as it leaves the call: with its whole traceback."""
    try:
        await call
    except BaseException as exc:  # noqa: BLE001 - to be looked at
        return exc
    raise AssertionError("the call did not fail")


def shown_by(error: BaseException) -> str:
    """Return all text that loggers, debuggers and crash reporters could show of an error."""
    seen: set[int] = set()
    return "\n".join(_texts_of_error(error, seen))


def _texts_of_error(error: BaseException | None, seen: set[int]) -> Iterator[str]:
    if error is None or id(error) in seen:
        return
    seen.add(id(error))
    yield str(error)
    yield from _texts(error.args, seen)
    yield from _texts(vars(error), seen)
    yield from traceback.TracebackException.from_exception(error, capture_locals=True).format()
    yield from _texts_of_frames(error.__traceback__, seen)
    yield from _texts_of_error(error.__cause__, seen)
    yield from _texts_of_error(error.__context__, seen)


def _texts_of_frames(trace: TracebackType | None, seen: set[int]) -> Iterator[str]:
    while trace is not None:
        yield from _texts(trace.tb_frame.f_locals, seen)
        trace = trace.tb_next


def _texts(value: object, seen: set[int]) -> Iterator[str]:
    """Yield the repr of a value and, as crash reporters do, of what is in it."""
    if id(value) in seen:
        return
    seen.add(id(value))
    yield repr(value)
    if isinstance(value, BaseException):
        yield from _texts_of_error(value, seen)
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _texts(key, seen)
            yield from _texts(item, seen)
    elif isinstance(value, Sequence | AbstractSet) and not isinstance(value, str | bytes | bytearray):
        for item in value:
            yield from _texts(item, seen)
