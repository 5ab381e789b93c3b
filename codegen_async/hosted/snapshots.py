"""Snapshots on their way to other processes: in the form of their API, read as an answer of it is."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

import msgspec

from codegen_async.hosted.calls import Calls
from codegen_async.hosted.run import in_phase
from codegen_async.models import Phase, RunLike
from codegen_async.reading import UNREADABLE, Hook, Reader
from codegen_async.record import Model

R = TypeVar("R", bound=RunLike)


class Snapshots(Generic[R]):
    """Write and read snapshots of one kind; of others, only that there are some.

    Args:
        calls: hears which runs have ended.
        kind: the kind.
        dec_hook: reads types of the dialect's own.
    """

    def __init__(self, calls: Calls[R], kind: type[Any], dec_hook: Hook | None = None) -> None:
        self._calls = calls
        self._kind = kind
        self._reader: Reader[Any] = Reader(kind, dec_hook)

    def write(self, run: R) -> bytes:
        """Return a snapshot as JSON; nothing for one that others could not read, so that they look for themselves."""
        if not isinstance(run, self._kind):
            return b""
        if not isinstance(run, Model) or not run.odd:
            return msgspec.json.encode(run)
        fields = {name: value for name, value in msgspec.structs.asdict(run).items() if value is not msgspec.UNSET}
        return msgspec.json.encode({**fields, **run.odd})

    def read(self, content: bytes, phase: Phase) -> R:
        """Read a snapshot. `phase` is where its run stands, as who wrote it believed.

        Raises:
            ValueError: it cannot be read.
        """
        try:
            run: R = self._reader.decode(content)
        except UNREADABLE as exc:
            raise ValueError(f"{self._kind.__name__}: {exc}") from None
        if phase.is_terminal:
            self._calls.on_end(run.id)
        return run if run.phase is phase else in_phase(run, phase)
