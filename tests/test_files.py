"""What is read under a name from elsewhere has an end, and is no more than there is room for."""

import asyncio
import os
import signal
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from codegen_async.batch.appending import OutcomeFile
from codegen_async.batch.inputs import read_prompts
from codegen_async.cli.errors import UsageError
from codegen_async.cli.inputs import read_bytes
from codegen_async.cli.signals import Interruption, interrupt
from codegen_async.codegen.images import measure_image, read_images
from codegen_async.errors import InvalidArgumentError
from codegen_async.files import look_into, read_regular, read_source
from codegen_async.signals import handling
from tests.cli.harness import PATIENCE
from tests.support.endless import ENDLESS, ends


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "thing"


@ends
def test_only_a_regular_file_of_a_bounded_size_is_read(place: Path, make: Callable[[Path], None]) -> None:
    make(place)
    with pytest.raises(OSError, match=r"regular|MiB|directory|Input/output"):
        read_regular(place, 2**20)


@pytest.mark.parametrize("size", [0, 1, 2**16 - 1, 2**16, 2**16 + 1, 2**20])
def test_what_fits_is_read_whole(place: Path, size: int) -> None:
    place.write_bytes(b"x" * size)
    assert read_regular(place, 2**20) == b"x" * size
    assert look_into(place, 3, 2**20) == (b"x" * min(3, size), size)


def test_what_tells_no_size_or_grows_is_read_no_further_than_there_is_room(place: Path) -> None:
    place.symlink_to("/proc/self/maps")  # of size 0
    assert read_regular(place, 2**22).count(b"\n") > 10
    with pytest.raises(OSError, match="larger than 0 MiB"):
        read_regular(place, 100)


@ends
def test_an_image_that_is_no_file_is_refused_at_once(place: Path, make: Callable[[Path], None]) -> None:
    make(place)
    for image in (place, str(place)):
        with pytest.raises(InvalidArgumentError, match=r"images\[0\]: expected a readable file \(") as caught:
            asyncio.run(read_images([image]))
        assert caught.value.value == str(place)
    with pytest.raises(InvalidArgumentError, match=r"images\[0\]"):
        measure_image("images[0]", str(place))


@pytest.mark.parametrize("make", [make for name, make in ENDLESS.items() if name != "a pipe"])
def test_prompts_are_read_from_nothing_without_an_end(place: Path, make: Callable[[Path], None]) -> None:
    make(place)
    with pytest.raises(InvalidArgumentError, match="a readable file"):
        read_prompts(place)
    with pytest.raises(UsageError, match="cannot be read"):
        read_bytes(place)


def test_prompts_come_through_pipes_sockets_terminals_and_nothing(place: Path) -> None:
    reading, writing = os.pipe()
    os.write(writing, b"x" * 10)
    os.close(writing)
    assert read_source(reading, 100) == b"x" * 10
    ours, theirs = socket.socketpair()
    ours.send(b"y")
    ours.close()
    assert read_source(theirs.fileno(), 100) == b"y"
    theirs.close()
    main, terminal = os.openpty()
    os.write(main, b"z\n\x04")
    assert read_source(terminal, 100) == b"z\n"
    with open(os.devnull, "rb") as nothing:  # noqa: PTH123 - no path
        assert read_source(nothing.fileno(), 100) == b""
    for file in (reading, main, terminal):
        os.close(file)
    place.write_text("A task\n")
    with place.open("rb") as nameless:
        place.unlink()
        assert len(read_prompts(Path(f"/dev/fd/{nameless.fileno()}"), kind="txt").lines) == 1


def test_a_signal_ends_reading_also_if_it_wakes_no_read() -> None:
    """Sent to another thread, as a signal that comes just before the read: neither is told to who reads already."""
    reading, writing = os.pipe()
    is_over = threading.Event()
    in_time: list[bool] = []

    def send() -> None:
        os.write(writing, b"all that there is")
        signal.pthread_kill(threading.get_ident(), signal.SIGHUP)
        in_time.append(is_over.wait(PATIENCE))
        os.close(writing)  # ends the read at last

    def read() -> bytes:
        sender.start()
        return read_source(reading, 100)

    sender = threading.Thread(target=send)
    with handling(interrupt), pytest.raises(Interruption):
        read()
    is_over.set()
    sender.join()
    os.close(reading)
    assert in_time == [True]


def test_a_pipe_without_an_end_is_left_when_there_is_no_more_room() -> None:
    reading, writing = os.pipe()
    os.write(writing, b"x" * 1000)
    with pytest.raises(OSError, match="larger"):
        read_source(reading, 999)
    os.close(reading)
    os.close(writing)


@ends
def test_outcomes_are_appended_to_a_file_of_them_alone(
    place: Path, make: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("codegen_async.batch.appending._LONGEST", 2**20)
    make(place)
    with pytest.raises(InvalidArgumentError, match="out"):
        OutcomeFile(place)
