"""Tell the time by a wall clock that nobody sets while the host runs, so that what is remembered grows no older by it.

The host's own clock tells all its processes for how long it has been running, sleep included; a memory keeps what the
wall clock said of that when the first of them asked. From one start of the host to the next nothing but the wall clock
goes on, and it is not trusted alone: what was sent before the start is taken for no older than the host's running.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b

from codegen_async.posix import boot_id, namespaces

Clock = Callable[[], float]


@dataclass(frozen=True, slots=True)
class Host:
    """What a host tells of itself.

    Attributes:
        boot: 8 bytes that name its start.
        running: returns the seconds since.
    """

    boot: bytes
    running: Clock


def _this_host() -> Host | None:
    """Return the one we are on; None where the system does not tell all of it, as only Linux does."""
    if sys.platform != "linux":
        return None
    running = partial(time.clock_gettime, time.CLOCK_BOOTTIME)
    try:
        boot = boot_id()
        running()
    except OSError:
        return None
    name = "".join([boot, *namespaces("time")])  # a container may have a time of its own
    return Host(blake2b(name.encode(), digest_size=8).digest(), running)


HOST: Host | None = _this_host()
"""The one we are on, asked once, as long as no event loop waits for a file; None where the system does not tell."""
