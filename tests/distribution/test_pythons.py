"""On every release of Python that the package names: wheels for all it needs, and a batch where that Python is here."""

import shutil
import subprocess
import sys
from importlib.metadata import metadata
from pathlib import Path

import pytest

from benchmarks._environments import environment
from tests.distribution.trying import outcomes_of_a_demo

PYTHONS = [
    text.rpartition(" ")[2]
    for text in metadata("codegen-async").get_all("Classifier", [])
    if text.startswith("Programming Language :: Python :: 3.")
]
THIS = f"{sys.version_info.major}.{sys.version_info.minor}"
EXTRAS = ",".join(metadata("codegen-async").get_all("Provides-Extra", []))


def interpreter(version: str) -> str | None:
    """Return the Python of a version, if this machine has one that runs."""
    path = shutil.which(f"python{version}")
    if path is None:
        return None
    tried = subprocess.run([path, "-c", "import venv"], capture_output=True, check=False)  # noqa: S603 - a Python
    return None if tried.returncode else path  # what the name leads to may have none of this version


def test_the_releases_are_those_that_are_tried() -> None:
    assert PYTHONS == ["3.11", "3.12", "3.13", "3.14"]


@pytest.mark.parametrize("version", PYTHONS)
def test_there_is_a_wheel_of_everything_it_and_its_extras_need(wheel: Path, tmp_path: Path, version: str) -> None:
    pip = (sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input", "--dry-run")
    only = ("--ignore-installed", "--only-binary", ":all:", "--python-version", version, "--target", str(tmp_path))
    subprocess.run([*pip, *only, f"{wheel}[{EXTRAS}]"], check=True)  # noqa: S603 - ours


@pytest.mark.parametrize("version", [version for version in PYTHONS if version != THIS])
def test_a_batch_runs_on_it(wheel: Path, version: str) -> None:
    python = interpreter(version)
    if python is None:
        pytest.skip(f"no python{version} on this machine")
    with environment(python) as place:
        place.install(f"{wheel}[cli]")
        assert outcomes_of_a_demo(place) == 40
