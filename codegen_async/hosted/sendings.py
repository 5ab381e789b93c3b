"""Remember when requests were sent, in memory that outlives the process: a restart spends no second burst.

The memory is a mapped file: a write to it costs no call to the system, and `kill -9` does not undo it. A power cut may;
then the server says 429 where the last requests were less than a window ago. A journal has such a memory behind its
lock, a client one of its own (`memory=`).

A memory has a section for each endpoint of each server. Processes that use one at the same time spoil nothing, and each
counts what the others had sent when it began; what they send from then on it does not see.
"""

from __future__ import annotations

import errno
import mmap
import os
from array import array
from collections.abc import Callable, Sequence
from hashlib import blake2b
from pathlib import Path

from codegen_async.limits import Limits
from codegen_async.private import NotOursError, open_private

Over = Callable[[], None]

HEAD = 64
"""Bytes at the beginning that are not ours but for the second half, which tells the layout."""

_NAME = b"codegen-async sendings"
_LAYOUT = (_NAME + b" 2").ljust(HEAD // 2, b"\0")
_SECTIONS = 32
_ROOM = 1024  # requests a section remembers, each a time and a number, 8 bytes both
_SECTION = 16 * _ROOM
_SIZE = HEAD + _SECTIONS * (16 + _SECTION)
_LARGEST = 2**63 - 1


def map_memory(path: Path) -> memoryview:
    """Return the memory in a file; made if there is none.

    Raises:
        NotOursError: the file is none of ours.
        OSError: it cannot be used.
    """
    file = open_private(path)
    try:
        size = os.fstat(file).st_size
        layout = _layout_of(file, size)
        # Written, not just made longer: a mapped page that has no room on the disk would kill the process.
        place = os.lseek(file, 0, os.SEEK_END)
        while place < _SIZE:
            place += os.write(file, bytes(_SIZE - place))
        memory = memoryview(mmap.mmap(file, _SIZE))
    finally:
        os.close(file)
    if layout != _LAYOUT:
        memory[HEAD:] = bytes(_SIZE - HEAD)
        memory[HEAD // 2 : HEAD] = _LAYOUT
    elif size < _SIZE:
        _suspect(memory, size)
    return memory


def _layout_of(file: int, size: int) -> bytes:
    """Return what a file says of its layout; nothing but zeros if it is new.

    Raises:
        NotOursError: it holds something else, which is not to be written over.
    """
    os.lseek(file, HEAD // 2, os.SEEK_SET)
    layout = os.read(file, HEAD // 2)
    if 0 < size < HEAD or (layout.strip(b"\0") and not layout.startswith(_NAME)):
        raise NotOursError(errno.EPERM, "holds something else; give another path")
    return layout


def _suspect(memory: memoryview, size: int) -> None:
    """Take all that was cut off a memory for requests that may be counted any time since."""
    for place in range(_SECTIONS):
        if HEAD + 16 * _SECTIONS + (place + 1) * _SECTION > size:
            _part(memory, place)[8 * _ROOM :].cast("q")[:] = memoryview(array("q", range(-_ROOM, 0)))


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
        names = {endpoint: f"{server} {endpoint}" for endpoint in limits.endpoints}
        self._of = {endpoint: _EndpointSendings(name, self.number) for endpoint, name in names.items()}

    def attach(self, memory: memoryview, clock: Callable[[], float]) -> Callable[[], None]:
        """Tell the limiters what others have sent, note in this memory what is sent now; return what ends that.

        Args:
            memory: from `map_memory`.
            clock: returns wall-clock seconds.
        """
        ends = [self._attach(endpoint, memory, clock) for endpoint in self._of]

        def end() -> None:
            for each in ends:
                each()

        return end

    def _attach(self, endpoint: str, memory: memoryview, clock: Callable[[], float]) -> Callable[[], None]:
        sendings, listeners = self._of[endpoint], self._limits[endpoint].on_sent
        ring = _Ring(_section_of(memory, sendings.section, clock()), clock)
        self._limits.seed(endpoint, sendings.attach(ring))
        if sendings.note not in listeners:
            listeners.append(sendings.note)

        def end() -> None:
            sendings.rings.remove(ring)
            if not sendings.rings:
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
    """Times and numbers of requests, the newest in place of the oldest."""

    def __init__(self, section: memoryview, clock: Callable[[], float]) -> None:
        self._times = section[: 8 * _ROOM].cast("d")
        self._numbers = section[8 * _ROOM :].cast("q")  # negative: under way
        self._clock = clock
        self._began = clock()
        self._next = self._oldest()

    def _oldest(self) -> int:
        return min(range(_ROOM), key=self._times.__getitem__)

    def note(self, number: int, first: int) -> Over:
        """Note that a request is about to be sent, of a sender whose numbers begin at `first`."""
        place = self._place(number, first)
        self._numbers[place] = -number
        self._times[place] = self._clock()

        def over() -> None:
            if abs(self._numbers[place]) == number:  # else there was so much that it was forgotten
                self._times[place] = self._clock()
                self._numbers[place] = number

        return over

    def _place(self, number: int, first: int) -> int:
        place = self._next
        ours = first <= abs(self._numbers[place]) < number
        if not ours and self._times[place] > self._began:  # another process writes here too
            place = self._oldest()
        self._next = (place + 1) % _ROOM
        return place

    def recall(self) -> Sequence[tuple[int, float]]:
        """Return the number of each request and how many seconds ago it was over.

        One that was under way when its process died may have reached the server any time since: it is over now. So is
        one from the future: the wall clock was set back.
        """
        now = self._clock()
        for place, number in enumerate(self._numbers):
            if number < 0 or (number and not self._times[place] <= now):
                self._numbers[place] = min(abs(number), _LARGEST)
                self._times[place] = now
        return [(number, now - self._times[place]) for place, number in enumerate(self._numbers) if number]


def _section_of(memory: memoryview, key: int, now: float) -> memoryview:
    """Return the section of this key: its own, else a new one, else the one that was not opened for longest."""
    keys = memory[HEAD : HEAD + 8 * _SECTIONS].cast("q")
    opened = memory[HEAD + 8 * _SECTIONS : HEAD + 16 * _SECTIONS].cast("d")
    places = [(key + step) % _SECTIONS for step in range(_SECTIONS)]
    place = next((place for place in places if keys[place] in (key, 0)), None)
    if place is None:
        place = min(places, key=opened.__getitem__)
        _part(memory, place)[:] = bytes(_SECTION)
    keys[place] = key
    opened[place] = now
    return _part(memory, place)


def _part(memory: memoryview, place: int) -> memoryview:
    return memory[HEAD + 16 * _SECTIONS + place * _SECTION :][:_SECTION]
