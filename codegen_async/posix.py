"""What POSIX has and Windows has not. Light: imports nothing of the package."""

from __future__ import annotations

import os
from typing import Any, cast

try:
    import fcntl
except ImportError:
    fcntl = cast("Any", None)

__all__ = ["HAS_LOCKS", "fcntl", "flags"]

HAS_LOCKS: bool = hasattr(fcntl, "flock")
"""Whether files can be locked; without it `fcntl` is None."""


def flags(*names: str) -> int:
    """Return flags for `os.open`, as far as the system has them."""
    return sum(getattr(os, name, 0) for name in names)
