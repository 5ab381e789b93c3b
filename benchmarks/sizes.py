"""What an installation brings along, how long it takes, and how soon the command line shows its help.

Each is made in an empty environment, from this folder and a registry or pip's cache of it. Unpacked is what the wheels
hold; with byte code, what lies on the disk after pip has compiled it. The clone is one after `make .venv/made`, which
is all that `make demo` needs, with pip itself. Help is timed from the start of the process to its end, beside a Python
that does nothing; medians of the rounds.

Run: python -m benchmarks.sizes [--rounds N]
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks._environments import Environment, environment

ROOT = Path(__file__).parents[1]


def show(name: str, place: Environment, seconds: float) -> None:
    sizes = f"{place.distributions:5} {place.megabytes:9.1f} {place.megabytes_compiled:9.1f}"
    print(f"{name:32} {sizes} {seconds:8.1f}")


def installed(requirement: str, place: Environment) -> float:
    """Install a requirement, and return how many seconds that took."""
    began = time.perf_counter()
    place.install(requirement)
    return time.perf_counter() - began


def cloned(folder: str) -> float:
    """Make what `make demo` needs in a clone of this repository, and return how many seconds that took."""
    subprocess.run(["git", "clone", "--quiet", str(ROOT), folder], check=True)  # noqa: S603, S607 - ours
    began = time.perf_counter()
    words = ["make", "--silent", "--directory", folder, ".venv/made"]
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)  # noqa: S603 - the same
    return time.perf_counter() - began


def timed(words: list[str]) -> tuple[float, float]:
    """Return the milliseconds that a program takes, and those of them that it computes."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    began = time.perf_counter()
    with subprocess.Popen(words, env=environment, stdout=subprocess.DEVNULL) as process:  # noqa: S603 - the same
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, words
    return (time.perf_counter() - began) * 1000, (usage.ru_utime + usage.ru_stime) * 1000


def show_help(place: Environment, rounds: int) -> None:
    print(f"\n{'milliseconds, medians of ' + str(rounds) + ' rounds':32} {'wall':>8} {'CPU':>8}")
    command = str(place.folder / "bin" / "codegen-async")
    programs = {
        "python -c pass": [str(place.python), "-c", "pass"],
        "codegen-async --help": [command, "--help"],
        "codegen-async batch run --help": [command, "batch", "run", "--help"],
    }
    for name, words in programs.items():
        timed(words)  # writes byte code and fills the disk cache
        times = [timed(words) for _ in range(rounds)]
        wall, cpu = (statistics.median(column) for column in zip(*times, strict=True))
        print(f"{name:32} {wall:8.0f} {cpu:8.0f}")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=21, help="of the time of help (default: 21)")
    rounds = parser.parse_args(arguments).rounds
    print(f"{'':32} {'dists':>5} {'unpacked':>9} {'with code':>9} {'seconds':>8}   (sizes in MB)")
    with environment() as place:
        show("codegen-async", place, installed(str(ROOT), place))
    with tempfile.TemporaryDirectory() as folder:
        seconds = cloned(folder)
        show("a clone after `make .venv/made`", Environment(Path(folder, ".venv")), seconds)
    with environment() as place:
        show("codegen-async[cli]", place, installed(f"{ROOT}[cli]", place))
        show_help(place, rounds)


if __name__ == "__main__":
    main()
