"""Empty environments of Python, and what is installed into them; for sizes and for the tests of distributions."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Environment:
    """An environment without pip, so that all that is in it was asked for."""

    folder: Path

    @property
    def python(self) -> Path:
        return self.folder / "bin" / "python"

    def install(self, *requirements: str) -> None:
        """Install into it, by the pip of this process."""
        pip = (sys.executable, "-m", "pip", "--python", str(self.python), "install", "--quiet", "--no-input")
        words = [*pip, "--disable-pip-version-check", *requirements]
        subprocess.run(words, check=True)  # noqa: S603 - what a test or a benchmark names

    def run(self, *words: str) -> str:
        """Run one of its programs in its own folder, where nothing else can be imported, and return what it prints."""
        ended = subprocess.run(  # noqa: S603 - the same
            words,
            cwd=self.folder,
            env={"PATH": f"{self.python.parent}:/usr/bin:/bin", "HOME": str(self.folder)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert ended.returncode == 0, ended.stdout + ended.stderr
        return ended.stdout

    @property
    def distributions(self) -> int:
        return len([*self.folder.glob("lib/*/site-packages/*.dist-info")])

    @property
    def megabytes(self) -> float:
        """What was unpacked; byte code, which installers write or leave to the first run, does not count."""
        files = self.folder.glob("lib/*/site-packages/**/*")
        return sum(path.stat().st_size for path in files if path.is_file() and path.suffix != ".pyc") / 1e6

    @property
    def megabytes_compiled(self) -> float:
        """The same and its byte code."""
        return sum(path.stat().st_size for path in self.folder.glob("lib/**/*") if path.is_file()) / 1e6


@contextmanager
def environment(python: str = sys.executable) -> Generator[Environment]:
    """Make an empty environment, and remove it at the end of the block."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([python, "-m", "venv", "--without-pip", folder], check=True)  # noqa: S603 - the same
        yield Environment(Path(folder))
