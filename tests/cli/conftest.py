"""A server of its own for each test, and a command line that is pointed to it."""

from collections.abc import Generator
from pathlib import Path

import pytest

from codegen_async.testing import CodegenServer
from tests.cli.harness import CommandLine, Served, running
from tests.support.canary import CANARY


@pytest.fixture
def fake() -> Generator[Served]:
    with running(lambda: CodegenServer(token=CANARY), Served) as one:
        yield one


@pytest.fixture
def cli(fake: Served, tmp_path: Path) -> CommandLine:
    return CommandLine(tmp_path, fake.server.environment)


@pytest.fixture
def bare(tmp_path: Path) -> CommandLine:
    """Return a command line without settings."""
    return CommandLine(tmp_path)
