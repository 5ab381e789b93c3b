"""What was sent is remembered beyond the process, each request once, whatever the file holds."""

import asyncio
import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from codegen_async.hosted import sendings
from codegen_async.hosted.sendings import Memory, Sendings
from codegen_async.hosted.steady import HOST, Host
from codegen_async.limits import Limits, Rate
from codegen_async.private import NotOursError

ROOM = 1024  # requests that a section remembers
LIMIT = 2000  # what it had to forget is taken for sent, too

virtual = pytest.mark.asyncio(loop_factories=["virtual"])


class Clock:
    """A wall clock that the test sets."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Life:
    """A process: limiters of its own, and what it sends."""

    def __init__(self, memory: Memory, clock: Callable[[], float], server: str = "https://one.example") -> None:
        self.limits = Limits({name: Rate(LIMIT, 60.0) for name in ("create", "get")})
        self.sendings = Sendings(self.limits, server)
        self.end = self.sendings.attach(memory, clock)

    def send(self, endpoint: str = "create") -> Callable[[], None]:
        (note,) = self.limits[endpoint].on_sent
        return note()

    def known(self, endpoint: str = "create") -> int:
        return self.limits[endpoint].state.cooling


def _size(memory: Memory) -> int:
    return os.fstat(memory._file).st_size


@pytest.fixture
def memory(tmp_path: Path) -> Memory:
    return Memory(tmp_path / "memory")


@virtual
async def test_the_next_process_counts_what_the_one_before_has_sent_to_that_endpoint(memory: Memory) -> None:
    clock = Clock()
    first = Life(memory, clock)
    for _ in range(3):
        first.send()()
    first.send("get")()
    assert first.known() == 0  # its own are known to its limiter
    clock.now += 10.0
    second = Life(memory, clock)
    assert (second.known(), second.known("get")) == (3, 1)
    clock.now += 60.0
    assert Life(memory, clock).known() == 0


class Machine:
    """A host with its own clock, and a wall clock that anybody sets."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._set = monkeypatch.setattr
        self.running = 1e6
        self.wall = 1e9
        self.time = lambda: self.wall
        self._set(sendings, "time", SimpleNamespace(time=self.time))
        self._is_called(b"1st boot")

    def _is_called(self, boot: bytes) -> None:
        self._set(sendings, "HOST", Host(boot, lambda: self.running))

    def passes(self, seconds: float) -> None:
        self.running += seconds
        self.wall += seconds

    def is_started_anew(self, took: float) -> None:
        self.running = 0.0
        self.wall += took
        self._is_called(b"2nd boot")


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(monkeypatch)


@virtual
@pytest.mark.parametrize("step", [-1e9, -3600.0, -20.0, 0.0, 20.0, 3600.0, 1e9])
async def test_a_wall_clock_that_is_set_makes_nothing_older_or_younger(
    memory: Memory, machine: Machine, step: float
) -> None:
    for _ in range(3):
        life = Life(memory, machine.time)
        life.send()()
        machine.passes(10.0)
        machine.wall += step
    now = asyncio.get_running_loop().time()
    last = Life(memory, machine.time)
    ages = [now + 65.1 - until for until in last.limits["create"]._meter.windows[0].cooling]
    assert sorted(ages) == pytest.approx([10.0, 20.0, 30.0])
    machine.passes(36.0)
    assert Life(memory, machine.time).known() == 2


@virtual
@pytest.mark.parametrize(("took", "step"), [(0.0, 0.0), (30.0, 0.0), (30.0, 1e9), (30.0, -1e9), (1e6, 0.0)])
async def test_what_was_sent_before_the_host_was_started_is_no_older_than_that(
    memory: Memory, machine: Machine, took: float, step: float
) -> None:
    Life(memory, machine.time).send()()
    Life(memory, machine.time).send("get")
    machine.is_started_anew(took)
    machine.wall += step
    machine.passes(64.0)
    after = Life(memory, machine.time)
    assert (after.known(), after.known("get")) == (1, 1)
    machine.passes(2.0)
    after = Life(memory, machine.time)
    assert (after.known(), after.known("get")) == (0 if step >= 0 else 1, 1)
    machine.passes(66.0)
    after = Life(memory, machine.time)
    assert (after.known(), after.known("get")) == (0, 0)


@virtual
async def test_a_host_that_does_not_tell_its_time_has_the_wall_clock(
    memory: Memory, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sendings, "HOST", None)
    Life(memory, machine.time).send()()
    machine.wall += 66.0
    assert Life(memory, machine.time).known() == 0


@pytest.mark.skipif(sys.platform != "linux", reason="Linux tells it")
def test_this_host_is_the_same_to_all_its_processes() -> None:
    assert HOST is not None
    asked = "from codegen_async.hosted.steady import HOST; print(HOST.boot.hex(), HOST.running())"
    told = subprocess.run([sys.executable, "-c", asked], capture_output=True, check=True, text=True).stdout  # noqa: S603 - ours
    boot, running = told.split()
    assert boot == HOST.boot.hex()
    assert float(running) <= HOST.running() < float(running) + 3600.0


@virtual
async def test_what_was_sent_to_another_server_is_not_counted(memory: Memory) -> None:
    Life(memory, Clock()).send()()
    assert Life(memory, Clock(), "https://two.example").known() == 0


@virtual
@pytest.mark.parametrize("url", ["https://ONE.example", "https://one.example:443", "https://one.example."])
async def test_all_ways_to_write_an_address_are_one_server(memory: Memory, url: str) -> None:
    Life(memory, Clock()).send()()
    assert Life(memory, Clock(), url).known() == 1


@virtual
async def test_a_request_that_was_under_way_at_the_end_may_be_counted_any_time_since(memory: Memory) -> None:
    clock = Clock()
    Life(memory, clock).send()
    clock.now += 500.0
    assert Life(memory, clock).known() == 1
    clock.now += 500.0
    assert Life(memory, clock).known() == 0  # and not just now once more


@virtual
async def test_a_clock_that_was_set_back_costs_one_period_and_no_more(memory: Memory) -> None:
    clock = Clock()
    Life(memory, clock).send()()
    clock.now -= 900.0
    assert Life(memory, clock).known() == 1
    clock.now += 70.0
    assert Life(memory, clock).known() == 0


@virtual
async def test_what_two_memories_tell_of_one_request_is_counted_once(memory: Memory, tmp_path: Path) -> None:
    clock = Clock()
    other = Memory(tmp_path / "other")
    first = Life(memory, clock)
    first.sendings.attach(other, clock)
    first.send()()
    second = Life(memory, clock)
    second.sendings.attach(other, clock)
    assert second.known() == 1


@virtual
async def test_a_memory_that_was_left_is_told_nothing_more(memory: Memory) -> None:
    clock = Clock()
    first = Life(memory, clock)
    first.send()()
    first.end()
    assert first.limits["create"].on_sent == []
    assert Life(memory, clock).known() == 1


@virtual
async def test_processes_that_overlap_lose_nothing_of_each_other(memory: Memory) -> None:
    clock = Clock()
    lives = [Life(memory, clock) for _ in range(3)]
    for _ in range(200):
        for life in lives:
            clock.now += 0.01
            life.send()()
    assert Life(memory, clock).known() == 600


@virtual
async def test_what_had_to_be_forgotten_is_taken_to_be_as_young_as_the_oldest_that_is_remembered(
    memory: Memory,
) -> None:
    clock = Clock()
    for _ in range(3):
        life = Life(memory, clock)
        for _ in range(1000):
            clock.now += 0.001
            life.send()()
    assert Life(memory, clock).known() == LIMIT
    clock.now += 66.0
    assert Life(memory, clock).known() == 0


@virtual
async def test_the_server_that_was_not_opened_for_longest_is_forgotten_first(memory: Memory) -> None:
    clock = Clock()
    for number in range(20):  # two endpoints each, and there is room for sixteen
        clock.now += 0.1
        life = Life(memory, clock, f"https://{number}.example")
        life.send()()
        life.send("get")()
    known = [Life(memory, clock, f"https://{number}.example").known() for number in range(19, 3, -1)]
    assert sum(known) == 16


@virtual
async def test_a_memory_of_another_layout_is_begun_anew(memory: Memory) -> None:
    memory.write(0, os.urandom(_size(memory)))
    memory.write(32, b"codegen-async sendings 9".ljust(32, b"\0"))
    assert Life(Memory(memory.path), Clock()).known() == 0


@pytest.mark.parametrize("content", [b"a token", b"my thesis\n" * 100, b"my thesis\n" * 100_000])
def test_a_file_that_is_none_of_ours_is_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "thesis"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(NotOursError, match="holds something else"):
        Memory(path)
    assert path.read_bytes() == content


@virtual
@pytest.mark.parametrize("size", [64, 300, 1000, 10_000])
async def test_a_memory_that_was_cut_short_may_have_held_anything(tmp_path: Path, size: int) -> None:
    path, clock = tmp_path / "memory", Clock()
    Life(Memory(path), clock).send()()
    os.truncate(path, size)
    known = [Life(Memory(path), clock, f"https://{number}.example").known() for number in range(8)]
    assert set(known) == {LIMIT}
    clock.now += 75.0
    assert Life(Memory(path), clock, "https://0.example").known() == 0


@virtual
@pytest.mark.parametrize("size", [0, 10, 40, 64, 300, 10_000, 300_000])
@pytest.mark.parametrize("moment", ["between two", "under way", "before the end"])
async def test_a_memory_that_is_cut_short_while_it_is_used_may_have_held_anything(
    memory: Memory, size: int, moment: str
) -> None:
    clock = Clock()
    life = Life(memory, clock)
    life.send("get")()
    over = life.send("create")
    if moment == "under way":
        os.truncate(memory.path, size)
        over()
    else:
        over()
        os.truncate(memory.path, size)
    if moment == "between two":
        life.send("create")()
    life.end()
    assert _size(memory) > 500_000
    clock.now += 500.0  # whenever the next one comes: what was lost may have been sent just before
    next_life = Life(Memory(memory.path), clock)
    assert next_life.known("create") >= ROOM - 1  # of which the last is known to be over for long
    assert next_life.known("get") == LIMIT


@virtual
async def test_a_process_that_is_cut_off_its_memory_counts_on_and_says_so_once(
    memory: Memory, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    life = Life(memory, clock)

    def pwrite(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(sendings, "pwrite", pwrite)
    for _ in range(3):
        life.send()()
    life.end()
    assert [record.getMessage() for record in caplog.records] == [
        f"{memory.path}: cannot remember what is sent: No space left on device"
    ]


def test_a_memory_keeps_what_its_keeper_signs(memory: Memory) -> None:
    assert memory.signature == ""
    memory.sign("0123456789abcdef")
    assert Memory(memory.path).signature == "0123456789abcdef"
    os.truncate(memory.path, 20)  # still ours
    assert Memory(memory.path).signature == "012345"


def test_a_memory_that_is_closed_holds_no_file(tmp_path: Path) -> None:
    memory = Memory(tmp_path / "memory")
    memory.close()
    memory.close()
    with pytest.raises(OSError, match="descriptor"):
        os.fstat(memory._file)


@virtual
async def test_a_disk_without_room_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    room = iter([4096])

    def write(_: int, data: bytes, __: int) -> int:
        if (left := next(room, None)) is None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return min(left, len(data))

    monkeypatch.setattr(sendings, "pwrite", write)
    with pytest.raises(OSError, match="space"):
        Memory(tmp_path / "memory")


@virtual
async def test_whatever_the_places_hold_nothing_breaks(memory: Memory) -> None:
    Life(memory, Clock()).send()()
    memory.write(576, os.urandom(_size(memory) - 576))  # behind the head and the names of sections
    life = Life(memory, Clock())
    life.send()()
    assert life.known() <= 1024
