import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from codegen_async import __version__

ROOT = Path(__file__).parents[2]
FOLDERS = ("docs", "codegen_async")
FILES = ("mkdocs.yml", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the documentation as `make docs` does, once for all workers, and return where it is."""
    pytest.importorskip("zensical")
    own = tmp_path_factory.getbasetemp()
    shared = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own
    place = shared / "site"
    with (shared / "site.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not place.exists():
            build(place)
    return place / "site"


def build(place: Path) -> None:
    place.mkdir()
    for name in FOLDERS:
        shutil.copytree(ROOT / name, place / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in FILES:
        shutil.copy(ROOT / name, place)
    command = [sys.executable, "-m", "zensical", "build", "--strict"]
    made = subprocess.run(  # noqa: S603
        command, cwd=place, env=os.environ | {"RELEASE": __version__}, capture_output=True, text=True, check=False
    )
    said = made.stdout + made.stderr
    assert made.returncode == 0, said
    assert "griffe" not in said, said  # docstrings and signatures that do not agree are no fault to a strict build
