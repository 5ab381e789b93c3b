"""What POSIX has and Windows has not. Light: imports nothing of the package."""

from __future__ import annotations

import os
from importlib import import_module
from importlib.util import find_spec
from typing import Any

__all__ = ["HAS_LOCKS", "fcntl", "flags"]

fcntl: Any = import_module("fcntl") if find_spec("fcntl") else None
HAS_LOCKS: bool = hasattr(fcntl, "flock")
"""Whether files can be locked; without it `fcntl` is None."""


def flags(*names: str) -> int:
    """Return flags for `os.open`, as far as the system has them."""
    return sum(getattr(os, name, 0) for name in names)
