"""Remember when requests were sent, in memory that outlives the process: a restart spends no second burst.

The memory is a file. A write to it is one short call to the system, and `kill -9` does not undo it. (To map the file
would spare that call, but whoever cuts a mapped file short kills the process.) A power cut may undo it; then the server
says 429 where the last requests were less than a window ago. A journal has such a memory behind its lock, a client one
of its own (`memory=`).

Ages are told by the host's own clock, and over its starts by the wall clock, which is not trusted alone.

A memory has a section for each endpoint of each server. Processes that use one at the same time spoil nothing, and each
counts what the others had sent when it began; what they send from then on it does not see. A client of a fleet counts
what is there, and notes nothing: what it sends stands on the boards of the fleet.
"""

from __future__ import annotations

import errno
import logging
import os
import time
import weakref
from array import array
from collections.abc import Callable, Sequence
from hashlib import blake2b
from pathlib import Path
from struct import Struct

from codegen_async.hosted.steady import HOST, Clock, Host
from codegen_async.limits import Limits
from codegen_async.posix import pread, pwrite
from codegen_async.private import NotOursError, open_private
from codegen_async.settings import one_spelling

Over = Callable[[], None]

_HEAD = 64  # bytes at the beginning: who has signed it, and the layout

_SIGNED = b"codegen-async "
_SIGNATURE = 16
_NAME = b"codegen-async sendings"
_LAYOUT = (_NAME + b" 2").ljust(_HEAD // 2, b"\0")
_SECTIONS = 32
_ROOM = 1024  # requests a section remembers, each a time and a number, 8 bytes both
_SECTION = 16 * _ROOM
_SIZE = _HEAD + _SECTIONS * (16 + _SECTION)
_NOTE = 32  # bytes behind all this, for its keeper
_START = Struct("8sd")  # behind them: which start of the host the times are told from, and when that was
_LARGEST = 2**63 - 1
_TIME = Struct("d")
_NUMBER = Struct("q")

_log = logging.getLogger("codegen_async")


class Memory:
    """Use the memory in a file; made if there is none. Close it with `close`.

    Whatever is cut off the file meanwhile is taken for requests that may be counted any time since.

    Raises:
        NotOursError: the file is none of ours.
        OSError: it cannot be used.
    """

    def __init__(self, path: Path) -> None:
        self.path: Path = path
        self._warned = False
        self._file = file = open_private(path)
        self.close: Callable[[], object] = weakref.finalize(self, os.close, file)
        found = pread(file, _HEAD, 0)
        if not _is_ours(found):
            raise NotOursError(errno.EPERM, "holds something else; give another path")
        if not found or (len(found) == _HEAD and found[_HEAD // 2 :] != _LAYOUT):
            self._fill(0)
        elif os.fstat(file).st_size < _SIZE:
            self.suspect()

    def suspect(self) -> None:
        """Take all that it may have held for requests that may be counted any time since."""
        numbers = array("q", range(-_ROOM, 0)).tobytes()
        self._fill(_SECTIONS, bytes(8 * _ROOM) + numbers)

    def _fill(self, sections: int, content: bytes = b"") -> None:
        """Write a whole memory, so that it has its room on the disk, with sections of this content.

        The names of the sections stay as far as they are there, and the layout comes last: what is not whole is no
        memory.
        """
        names = pread(self._file, _SECTIONS * 16, _HEAD) if sections else b""
        rest = names.ljust(_SECTIONS * 16, b"\0") + content * sections
        self._write_all(_HEAD, rest.ljust(_SIZE - _HEAD, b"\0"))
        self._write_all(_HEAD // 2, _LAYOUT)

    def _write_all(self, place: int, data: bytes) -> None:
        while data:
            written = pwrite(self._file, data, place)
            place, data = place + written, data[written:]

    @property
    def signature(self) -> str:
        """What its keeper has written on it, at most 16 visible ASCII characters."""
        signed = self.read(0, len(_SIGNED) + _SIGNATURE).rstrip(b"\0")
        return signed.removeprefix(_SIGNED).decode("ascii", "replace")

    def sign(self, signature: str) -> None:
        """Write something on it that the next keeper finds."""
        self.write(0, _SIGNED + signature.encode().ljust(_SIGNATURE, b"\0"))

    @property
    def note(self) -> bytes:
        """What its keeper knows; at most 32 bytes, empty if there is nothing."""
        return self._behind(_SIZE, _NOTE)

    @note.setter
    def note(self, value: bytes) -> None:
        self.write(_SIZE, value)

    def steady(self, wall: Clock, host: Host) -> Clock:
        """Return a wall clock that nobody sets while the host runs, the same for all processes until it starts anew."""
        boot, started = self._start()
        if boot != host.boot:
            started = wall() - host.running()
            self._start_anew(host.boot, started)
        return lambda: started + host.running()

    def _start(self) -> tuple[bytes, float]:
        boot, started = _START.unpack(self._behind(_SIZE + _NOTE, _START.size).ljust(_START.size, b"\0"))
        return bytes(boot), float(started)

    def _start_anew(self, boot: bytes, started: float) -> None:
        """Take what was sent before the host was started for no older than that: only wall clocks say more."""
        for section in range(_SECTIONS):
            times = array("d", self.read(_place_of(section), 8 * _ROOM))
            self.write(_place_of(section), array("d", [max(each, started) for each in times]).tobytes())
        self.write(_SIZE + _NOTE, _START.pack(boot, started))  # last: a kill before lets it be done again

    def _behind(self, place: int, size: int) -> bytes:
        """Return bytes behind the sections, as far as they are there; what was cut off there is nothing sent."""
        try:
            return pread(self._file, size, place)
        except OSError:  # `read` tells
            return b""

    def check(self) -> None:
        """See to what was cut off."""
        self.read(_SIZE - 1, 1)

    def read(self, place: int, size: int) -> bytes:
        """Return bytes of it."""
        data = b""
        try:
            data = pread(self._file, size, place)
            if len(data) < size:
                self.suspect()
                data = pread(self._file, size, place)
        except OSError as exc:
            self._warn(exc)
        return data if len(data) == size else data.ljust(size, b"\0")

    def write(self, place: int, data: bytes) -> None:
        """Write to it."""
        try:
            pwrite(self._file, data, place)
        except OSError as exc:
            self._warn(exc)

    def _warn(self, problem: OSError) -> None:
        """Say once that nothing can be remembered, as on a disk that is full: who sends counts all the same."""
        if not self._warned:
            _log.warning("%s: cannot remember what is sent: %s", self.path, problem.strerror)
        self._warned = True


def _is_ours(head: bytes) -> bool:
    """Whether a file may be one of ours, also if it was cut short; an empty one is nobody's."""
    signed, layout = head[: _HEAD // 2], head[_HEAD // 2 :].rstrip(b"\0")
    if layout.startswith(_NAME):
        return True
    begins = not signed.strip(b"\0") or signed.startswith(_SIGNED[: len(signed)])
    return begins and layout == _NAME[: len(layout)]


class Sendings:
    """Note when the requests of one client are sent and over, in each memory that it is given.

    Make it in the process that sends: its numbers tell the client from all others, of this process and of any other.

    Args:
        limits: the client's.
        server: where it sends to.
    """

    def __init__(self, limits: Limits, server: str) -> None:
        self.process: int = os.getpid()
        self._limits = limits
        self.number: int = 1 + int.from_bytes(os.urandom(7), "big")
        """Of the first request to each endpoint."""
        names = {endpoint: f"{one_spelling(server)} {endpoint}" for endpoint in limits.endpoints}
        self._of = {endpoint: _EndpointSendings(name, self.number) for endpoint, name in names.items()}

    def attach(self, memory: Memory, clock: Clock) -> Callable[[], None]:
        """Tell the limiters what others have sent, note in this memory what is sent now; return what ends that.

        Args:
            memory: of sendings; still the keeper's to close.
            clock: returns wall-clock seconds.
        """
        if HOST is not None and clock is time.time:  # that of a test is the only one there is
            clock = memory.steady(clock, HOST)
        ends = [self._attach(endpoint, memory, clock) for endpoint in self._of]

        def end() -> None:
            for each in ends:
                each()
            memory.check()

        return end

    def _attach(self, endpoint: str, memory: Memory, clock: Clock) -> Callable[[], None]:
        sendings, listeners = self._of[endpoint], self._limits[endpoint].on_sent
        ring = _Ring(memory, _section_of(memory, sendings.section, clock()), clock)
        ages = sendings.attach(ring)
        if len(ages) == _ROOM:  # what it had to forget is taken to be as young as the oldest that it knows
            ages += [max(ages)] * self._limits.memory(endpoint)
        self._limits.seed(endpoint, ages)
        if sendings.note not in listeners and not self._limits.outlives:  # else the next process counted it twice
            listeners.append(sendings.note)

        def end() -> None:
            sendings.rings.remove(ring)
            if not sendings.rings and sendings.note in listeners:
                listeners.remove(sendings.note)

        return end


class _EndpointSendings:
    """Note the requests to one endpoint."""

    def __init__(self, name: str, number: int) -> None:
        self.section: int = int.from_bytes(blake2b(name.encode(), digest_size=7).digest(), "big") + 1
        self.rings: list[_Ring] = []
        self._first = self._next = number
        self._counted: set[int] = set()

    def note(self) -> Over:
        """Note that a request is about to be sent; return what notes that it is over."""
        number = self._next
        self._next += 1
        overs = [ring.note(number, self._first) for ring in self.rings]

        def over() -> None:
            for each in overs:
                each()

        return over

    def attach(self, ring: _Ring) -> list[float]:
        """Note in this ring too; return how long ago requests were over that others have sent, each counted once."""
        others = {number: age for number, age in ring.recall() if not self._first <= number < self._next}
        news = [age for number, age in others.items() if number not in self._counted]
        self._counted |= others.keys()
        self.rings.append(ring)
        return news


class _Ring:
    """Times and numbers of requests, the newest in place of the oldest; a number is negative while it is under way."""

    def __init__(self, memory: Memory, begin: int, clock: Clock) -> None:
        self._memory = memory
        self._times = begin
        self._numbers = begin + 8 * _ROOM
        self._clock = clock
        self._began = clock()
        self._next = self._oldest()

    def _oldest(self) -> int:
        return min(range(_ROOM), key=self._all_times().__getitem__)

    def _all_times(self) -> Sequence[float]:
        return array("d", self._memory.read(self._times, 8 * _ROOM))

    def note(self, number: int, first: int) -> Over:
        """Note that a request is about to be sent, of a sender whose numbers begin at `first`."""
        place = self._place(number, first)
        self._write(place, -number, self._clock())

        def over() -> None:
            if abs(self._number(place)) == number:  # else there was so much that it was forgotten
                self._write(place, number, self._clock())

        return over

    def _number(self, place: int) -> int:
        return int(_NUMBER.unpack(self._memory.read(self._numbers + 8 * place, 8))[0])

    def _time(self, place: int) -> float:
        return float(_TIME.unpack(self._memory.read(self._times + 8 * place, 8))[0])

    def _write(self, place: int, number: int, now: float) -> None:
        """Note a request; a kill in between leaves one that is under way, since that is what stands there before."""
        if number < 0:
            self._memory.write(self._numbers + 8 * place, _NUMBER.pack(number))
        self._memory.write(self._times + 8 * place, _TIME.pack(now))
        if number > 0:
            self._memory.write(self._numbers + 8 * place, _NUMBER.pack(number))

    def _place(self, number: int, first: int) -> int:
        place = self._next
        ours = first <= abs(self._number(place)) < number
        if not ours and self._time(place) > self._began:  # another process writes here too
            place = self._oldest()
        self._next = (place + 1) % _ROOM
        return place

    def recall(self) -> Sequence[tuple[int, float]]:
        """Return the number of each request and how many seconds ago it was over.

        One that was under way when its process died may have reached the server any time since: it is over now. So is
        one from the future: the wall clock was set back.
        """
        now = self._clock()
        found: list[tuple[int, float]] = []
        numbers = array("q", self._memory.read(self._numbers, 8 * _ROOM))
        for place, (number, over) in enumerate(zip(numbers, self._all_times(), strict=True)):
            known = min(abs(number), _LARGEST)
            if number > 0 and over <= now:
                found.append((known, now - over))
            elif number:
                self._write(place, known, now)
                found.append((known, 0.0))
        return found


def _section_of(memory: Memory, key: int, now: float) -> int:
    """Return the place of the section of this key: its own, a new one, or the one not opened for longest."""
    keys = array("q", memory.read(_HEAD, 8 * _SECTIONS))
    opened = array("d", memory.read(_HEAD + 8 * _SECTIONS, 8 * _SECTIONS))
    sections = [(key + step) % _SECTIONS for step in range(_SECTIONS)]
    section = next((section for section in sections if keys[section] in (key, 0)), None)
    if section is None:
        section = min(sections, key=opened.__getitem__)
        memory.write(_place_of(section), bytes(_SECTION))
    memory.write(_HEAD + 8 * section, _NUMBER.pack(key))
    memory.write(_HEAD + 8 * (_SECTIONS + section), _TIME.pack(now))
    return _place_of(section)


def _place_of(section: int) -> int:
    return _HEAD + 16 * _SECTIONS + section * _SECTION
