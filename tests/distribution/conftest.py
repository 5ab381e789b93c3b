"""The distributions that are tried: those in the folder that `--distributions` names, as `make dist` does."""

from pathlib import Path

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--distributions", type=Path, help="the folder of the distributions that are tried")


def pytest_ignore_collect(config: pytest.Config) -> bool | None:
    return None if config.getoption("distributions", None) else True


def the_only(config: pytest.Config, pattern: str) -> Path:
    (found,) = config.getoption("distributions").resolve().glob(pattern)
    assert isinstance(found, Path)
    return found


@pytest.fixture(scope="session")
def wheel(pytestconfig: pytest.Config) -> Path:
    return the_only(pytestconfig, "*.whl")


@pytest.fixture(scope="session")
def source(pytestconfig: pytest.Config) -> Path:
    return the_only(pytestconfig, "*.tar.gz")
