"""What members say to one another, and what none of them can have said."""

import math
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest

from codegen_async.fleet.hello import Changes, Hello, Reopened, Shown, Told, Want, read_hello, write_hello


def test_a_hello_is_read_as_it_was_written() -> None:
    told = Told(7, "running", 0.5, b"{}", ["mark"])
    hello = Hello(
        name="a",
        at=1.0,
        news=[told],
        shown=[Shown(1.0, [7, "8"])],
        wishes=Changes(0, 0, 1, [Want(7, 5.0, 1.0, "running")]),
        reopened=[Reopened(7, "mark", 3.0, told)],
    )
    assert read_hello(write_hello(hello)) == hello


@pytest.mark.parametrize("seconds", [-1.0, -math.inf, math.nan])
@pytest.mark.parametrize("place", ["news", "shown", "reopened", "latency", "seen"])
def test_what_was_said_of_the_future_is_no_hello(place: str, seconds: float) -> None:
    places: Mapping[str, Any] = {
        "news": {"news": [Told(7, "succeeded", seconds, b"{}")]},
        "shown": {"shown": [Shown(seconds, [7])]},
        "reopened": {"reopened": [Reopened(7, "mark", seconds)]},
        "latency": {"wishes": Changes(0, 0, 1, [Want(7, seconds)])},
        "seen": {"wishes": Changes(0, 0, 1, [Want(7, 5.0, seconds)])},
    }
    with pytest.raises(msgspec.MsgspecError):
        read_hello(write_hello(Hello(name="a", at=1.0, **places[place])))
