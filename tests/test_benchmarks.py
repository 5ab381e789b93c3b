"""The benchmarks tell what they measure, and can be run: those at their smallest that then take seconds."""

import asyncio
import importlib
import logging
from collections.abc import Generator
from pathlib import Path

import pytest

from benchmarks import leaving, polling, summary
from benchmarks.summary import Row

FOLDER = Path(__file__).parents[1] / "benchmarks"
NAMES = sorted(path.stem for path in FOLDER.glob("[a-z]*.py"))
SMALL = {
    "commits": ("--commits 3", "| PERSIST |"),
    "dashboard": ("--items 200", "200 items: all read in"),
    "fleet": ("--quick", "60 in 30 s"),
    "limiter": ("--seeds 1 --rounds 1 --callers 100", "most arrivals in any 30 s"),
    "summary": ("--rounds 1 calls", "us of CPU a get, 3 KB"),
}


@pytest.fixture(autouse=True)
def _what_they_silence_is_heard_again() -> Generator[None]:
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("name", NAMES)
def test_each_tells_what_it_measures_and_how_to_run_it(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    module = importlib.import_module(f"benchmarks.{name}")
    with pytest.raises(SystemExit) as ended:
        module.main(["-h"])
    shown = capsys.readouterr().out
    assert ended.value.code == 0
    assert f"Run: python -m benchmarks.{name} [-" in shown
    assert (module.__doc__ or "no docstring").splitlines()[0] in shown


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_each_that_can_be_small_prints_its_table(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    options, line = SMALL[name]
    importlib.import_module(f"benchmarks.{name}").main(options.split())
    assert line in capsys.readouterr().out


def test_those_who_leave_are_measured_beside_bare_futures() -> None:
    assert {leaving.BARE, "wait_for_run", "watch"} <= asyncio.run(leaving.measure(20)).keys()


def test_ways_to_wait_are_measured_beside_the_bound(capsys: pytest.CaptureFixture[str]) -> None:
    means = polling.measure(polling.steady(2, 10), 1)
    assert means.keys() >= {*polling.POLICIES, "bound"}
    assert "bound" in capsys.readouterr().out


def test_a_row_names_the_best_of_the_peers_and_tells_the_ratio() -> None:
    row = Row("us of CPU a get", 150.0, {"thin": 100.0, "thick": 500.0}, 90.0)
    assert str(row).split() == ["us", "of", "CPU", "a", "get", "150", "100", "thin", "90", "1.50"]


@pytest.mark.parametrize(("ours", "lost"), [(0.9, False), (1.01, False), (1.1, True)])
def test_a_row_is_lost_where_a_peer_does_better(ours: float, lost: bool) -> None:
    assert Row("s", ours, {"best": 1.0, "other": 2.0}).lost is lost
    assert not Row("s", ours, {}).lost


def test_what_is_lost_is_said(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [Row("s of this", 2.0, {"other": 1.0}), Row("s of that", 1.0, {"other": 2.0})]
    monkeypatch.setattr(summary, "GROUPS", {"all": lambda _: iter(rows)})
    summary.main([])
    assert "A peer does better: s of this." in capsys.readouterr().out
