"""Append outcomes to a file, each once over any number of starts. Blocking.

The file itself remembers what it has: its lines are read when it is opened. A line is written by a single call, so that
whatever kills the process leaves whole lines; one that a power cut or a full disk has torn is taken away. Batches that
share a file may run at once.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Generator
from pathlib import Path
from typing import Any

import msgspec

from codegen_async.batch.items import Outcome, State, with_plain_ends
from codegen_async.batch.results import row
from codegen_async.cleaning import reason_of
from codegen_async.errors import InvalidArgumentError
from codegen_async.models import RunId
from codegen_async.posix import HAS_LOCKS, fcntl, flags
from codegen_async.private import PRIVATE

_FLAGS = os.O_RDWR | os.O_CREAT | os.O_APPEND | flags("O_NONBLOCK", "O_CLOEXEC", "O_BINARY")
_LONGEST = 2**28  # bytes of a line, which has a result of at most 32 MiB in it
_START = b'{"index":'  # of every line


class _Known(msgspec.Struct):
    """What tells one outcome from another, also where several batches share a file."""

    key: str
    state: State
    attempts: int
    run_id: RunId | None
    prompt: str
    fields: dict[str, Any] | None = None

    def encode(self) -> bytes:
        """Return it as JSON, equal ones as equal bytes, however the lines of what was asked for end by now."""
        told = {"prompt": with_plain_ends(self.prompt), "fields": with_plain_ends(self.fields)}
        return msgspec.json.encode(msgspec.structs.replace(self, **told), order="sorted")


_decode = msgspec.json.Decoder(_Known).decode


class OutcomeFile:
    """Hold a file of outcomes open, one JSON object a line, as `results.row` makes them.

    Raises:
        InvalidArgumentError: it cannot be written, or holds something else; nothing is changed then.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._file = os.open(path, _FLAGS, PRIVATE)
        except (OSError, ValueError) as error:
            raise InvalidArgumentError("out", str(path), f"a file that can be written ({reason_of(error)})") from None
        try:
            if not stat.S_ISREG(os.fstat(self._file).st_mode):
                raise InvalidArgumentError("out", str(path), "a regular file, whose lines can be read again")
            with _alone(self._file):
                self._known = self._read()
        except OSError as error:
            self.close()
            raise InvalidArgumentError("out", str(path), f"a file that can be read ({reason_of(error)})") from None
        except BaseException:
            self.close()
            raise

    def _read(self) -> set[bytes]:
        known: set[bytes] = set()
        line, whole = b"\n", 0
        with open(self._file, "rb", closefd=False) as file:
            for number, line in enumerate(iter(lambda: file.readline(_LONGEST), b""), 1):
                try:
                    known.add(_decode(line).encode())
                except (msgspec.MsgspecError, ValueError) as error:
                    if _is_torn(line, error):
                        os.ftruncate(self._file, whole)
                        return known
                    expected = f"a file that holds nothing but outcomes ({error})"
                    raise InvalidArgumentError(f"out, {self.path.name}, line {number}", line[:40], expected) from None
                whole += len(line)
        if not line.endswith(b"\n"):  # somebody has edited it
            os.write(self._file, b"\n")
        return known

    def add(self, outcome: Outcome) -> None:
        """Append an outcome, unless the file has it.

        Raises:
            OSError: it cannot be written; nothing of it is in the file.
        """
        line = msgspec.json.encode(row(outcome)) + b"\n"
        one = _decode(line).encode()
        if one not in self._known:
            with _alone(self._file):
                self._write(line)
            self._known.add(one)

    def _write(self, line: bytes) -> None:
        before = os.fstat(self._file).st_size
        try:
            while line:
                line = line[os.write(self._file, line) :]
        except BaseException:
            os.ftruncate(self._file, before)
            raise

    def close(self) -> None:
        """Close it."""
        os.close(self._file)


def _is_torn(line: bytes, error: Exception) -> bool:
    """Whether a line that cannot be read is the beginning of one of ours, and no JSON of somebody else's."""
    begins = line.startswith(_START) or _START.startswith(line)
    is_last = not line.endswith(b"\n") and len(line) < _LONGEST
    return begins and is_last and not isinstance(error, msgspec.ValidationError)


@contextlib.contextmanager
def _alone(file: int) -> Generator[None]:
    """Let no other batch read or write a file while the block lasts, where the system can do that."""
    if HAS_LOCKS:
        with contextlib.suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX)
    try:
        yield
    finally:
        if HAS_LOCKS:
            with contextlib.suppress(OSError):
                fcntl.flock(file, fcntl.LOCK_UN)


def is_done(outcome: Outcome) -> bool:
    """Whether an outcome is one that was handed out: the item has ended, or does not go on by itself."""
    return outcome.state in (State.ENDED, State.REJECTED, State.UNKNOWN) or (
        outcome.state is State.CREATED and outcome.error is not None
    )
