"""Processes in which blocks run: a shell and a notebook that remember, and terminals where a program goes on."""

import os
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Self

PATIENCE = 180.0  # seconds until a block that hangs is killed
_DONE, _ENDED = b"\0", "\1"

_SHELL = r"""
trap 'printf "\1\0"' EXIT  # what it has started may hold its output open
while read -r block; do
  . "$block" </dev/null
  printf '\0'
done"""
SHELL = ("bash", "-euo", "pipefail", "-c", _SHELL)
"""Read the names of files from the standard input and run one after the other, until one fails."""

NOTEBOOK = Path(__file__).with_name("cells.py")
"""The program that does so with cells of Python."""


class BlockFailedError(Exception):
    """A block did not end with success; what it printed is the message."""


class Process:
    """A process with a group of its own, whose output and errors are read together."""

    def __init__(self, words: Sequence[str], folder: Path, environment: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(  # noqa: S603 - what the pages show
            words,
            cwd=folder,
            env=dict(environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.send(signal.SIGKILL)
        for pipe in (self.input, self.output):
            pipe.close()
        self._process.wait()

    @property
    def input(self) -> IO[bytes]:
        """Return where it reads."""
        assert self._process.stdin is not None
        return self._process.stdin

    @property
    def output(self) -> IO[bytes]:
        """Return what it prints."""
        assert self._process.stdout is not None
        return self._process.stdout

    def send(self, number: signal.Signals) -> None:
        """Send a signal to it and to all that it has started."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)

    def wait(self) -> int:
        """Return with which code it ends."""
        return self._process.wait(PATIENCE)

    def read_until(self, mark: bytes) -> tuple[str, bool]:
        """Return what it prints before `mark`, and whether that came."""
        watch = threading.Timer(PATIENCE, self.send, [signal.SIGKILL])
        watch.start()
        shown = b""
        try:
            while mark not in shown and (more := os.read(self.output.fileno(), 65536)):
                shown += more
        finally:
            watch.cancel()
        before, found, _ = shown.partition(mark)
        return before.decode(errors="replace"), bool(found)


class Session(Process):
    """A process that runs blocks one after the other, each from a file, and remembers what they have set."""

    def run(self, file: Path) -> str:
        """Run one block and return what it prints."""
        with suppress(BrokenPipeError):
            self.input.write(f"{file}\n".encode())
            self.input.flush()
        shown, done = self.read_until(_DONE)
        if not done or shown.endswith(_ENDED):
            raise BlockFailedError(shown.rstrip(_ENDED))
        return shown


class Terminal(Process):
    """A program that goes on while others run."""

    def start(self, text: str) -> None:
        """Wait until it has printed `text`; from then on it is read and forgotten."""
        shown, found = self.read_until(text.encode())
        if not found:
            raise BlockFailedError(shown)
        threading.Thread(target=self.output.read, daemon=True).start()

    def __exit__(self, *_: object) -> None:
        self.send(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(10.0)
        super().__exit__()
