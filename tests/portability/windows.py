"""Let this process look like one on Windows; imported before all else, by processes of their own only."""

import asyncio
import os
import signal
import sys
from typing import Any

MISSING = {
    os: (
        "register_at_fork",
        "pread",
        "pwrite",
        "geteuid",
        "getpgrp",
        "ctermid",
        "tcgetpgrp",
        "fork",
        "O_NOFOLLOW",
        "O_NONBLOCK",
        "O_CLOEXEC",
        "O_NOCTTY",
    ),
    signal: ("SIGHUP", "SIGTSTP", "SIGCONT", "SIGQUIT", "pause"),
}


def pretend() -> None:
    """Take away what Windows lacks and the package might lean on."""
    for module in ("fcntl", "termios", "pwd", "grp", "resource"):
        sys.modules[module] = None  # type: ignore[assignment]
    for owner, names in MISSING.items():
        for name in names:
            if hasattr(owner, name):
                delattr(owner, name)
    os.supports_effective_ids = set()
    access = os.access

    def windows_access(path: Any, mode: int, *, effective_ids: bool = False) -> bool:
        if effective_ids:
            raise NotImplementedError("access: effective_ids unavailable on this platform")
        return access(path, mode)

    os.access = windows_access  # type: ignore[assignment]

    def no_handler(*_: object) -> None:
        raise NotImplementedError

    asyncio.SelectorEventLoop.add_signal_handler = no_handler  # type: ignore[assignment, method-assign]
    asyncio.SelectorEventLoop.remove_signal_handler = no_handler  # type: ignore[assignment, method-assign]
