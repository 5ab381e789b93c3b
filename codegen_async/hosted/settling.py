"""When to look for what may have been created, and what to say if nobody waits for the answer. Knows no API."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
from collections.abc import Awaitable, Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Literal, TypeVar

from codegen_async.errors import APIError, InvalidArgumentError

T = TypeVar("T")

OnUnknown = Literal["raise", "retry"]
"""What a create does whose run was not found: say so, or send it again once the list proves that there is none."""

_LOOKS = (1 / 30, 1 / 4, 1 / 2)  # of the settle time; one more, which decides, comes at its end

_log = logging.getLogger("codegen_async")


async def settle(look: Callable[[], Awaitable[T | None]], seconds: float, decide: Callable[[], Awaitable[T]]) -> T:
    """Look several times over the settle time; return what is found first, else what the last look decides.

    A server may be slow to finish, and a list slow to show.

    Args:
        look: looks once; None where nothing can be told yet. That it fails is no news.
        seconds: the settle time.
        decide: looks at its end.

    Raises:
        APIError: the look that decides failed.
    """
    started = _now()
    for share in _LOOKS:
        await asyncio.sleep(started + share * seconds - _now())
        with contextlib.suppress(APIError):
            found = await look()
            if found is not None:
                return found
    await asyncio.sleep(started + seconds - _now())
    return await decide()


def pauses(seconds: float) -> Sequence[float]:
    """Return the seconds between looks: from the first, made at once, to the last, at the end of the settle time."""
    return [(end - begin) * seconds for begin, end in itertools.pairwise((0.0, *_LOOKS, 1.0))]


@contextmanager
def noting_cancellation(dialect: str, key: str, is_sent: Callable[[], bool]) -> Generator[None]:
    """Say on a create that is cancelled in the block, and in the log, by which key its run is found, if it was sent."""
    try:
        yield
    except asyncio.CancelledError as cancelled:
        if is_sent():
            cancelled.add_note(f"a run may have been created; find_run_by_key({key!r}) tells")
            _log.warning("%s: a create was cancelled; its run, if there is one, has the key %r", dialect, key)
        raise


def check_on_unknown(value: OnUnknown) -> OnUnknown:
    """Return what is to be done about a create whose outcome is unknown.

    Raises:
        InvalidArgumentError: it is neither of the two.
    """
    if value not in ("raise", "retry"):
        raise InvalidArgumentError("on_unknown", value, "'raise' or 'retry'")
    return value


def _now() -> float:
    return asyncio.get_running_loop().time()
