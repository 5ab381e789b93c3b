"""For how long nothing is sent after a store may have lost what was written."""

import pytest

from codegen_async.fleet.board import Outcome, Own, Present, Terms, exchange
from codegen_async.fleet.records import Board
from codegen_async.limits import Rate

TERMS = Terms(margin=0.0)
OWN = Own(name="me", rate=Rate(10, 60.0), wanted=(1, 0))
WHOLE = TERMS.life(60.0) + TERMS.step


def told(board: Board | None, at: float, epoch: str, uptime: float) -> Outcome:
    return exchange(board, OWN, TERMS, Present(lower=at, upper=at, epoch=epoch, uptime=uptime))


def before() -> Board:
    """Return the board of a fleet that has worked for a while."""
    return told(None, 1000.0, "one", float("inf")).board


@pytest.mark.parametrize(
    ("uptime", "seconds"),
    [
        pytest.param(float("inf"), WHOLE, id="a standby that took over, nobody knows when"),
        pytest.param(3.0, WHOLE, id="a server that restarted"),
        pytest.param(-11.0, WHOLE + 11.0, id="a replica whose former server may go on for a while"),
    ],
)
def test_another_epoch_is_cold(uptime: float, seconds: float) -> None:
    first = told(before(), 1010.0, "two", uptime)
    assert first.granted == 0
    assert first.cold_for == pytest.approx(seconds)
    later = told(first.board, 1020.0, "two", uptime)
    assert later.granted == 0
    assert later.cold_for == pytest.approx(seconds - 10.0)
    last = told(later.board, 1010.1 + seconds, "two", uptime)
    assert (last.granted, last.cold_for) == (1, 0.0)


@pytest.mark.parametrize(
    ("uptime", "seconds"),
    [
        pytest.param(float("inf"), 0.0, id="a store that forgets nothing"),
        pytest.param(WHOLE, 0.0, id="a server that has been up for long enough"),
        pytest.param(30.0, WHOLE - 30.0, id="a server that has restarted"),
        pytest.param(-11.0, WHOLE + 11.0, id="a replica that took over"),
    ],
)
def test_a_board_that_is_not_there_may_have_been_lost(uptime: float, seconds: float) -> None:
    assert told(None, 1000.0, "one", uptime).cold_for == pytest.approx(seconds)
