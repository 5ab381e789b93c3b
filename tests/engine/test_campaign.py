"""Kill and freeze the executors of one batch again and again: every item becomes one run all the same."""

import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.engine.campaign import Figures, campaign
from tests.support.servers import new_database, postgres

pytestmark = pytest.mark.slow


@contextmanager
def database(kind: str) -> Generator[str]:
    if kind == "sqlite":
        with tempfile.TemporaryDirectory() as folder:
            yield f"sqlite:{Path(folder)}/batch.db"
        return
    with postgres() as server:
        yield new_database(server)


def told(figures: Figures) -> Figures:
    print(f"\n{figures}")  # noqa: T201 - the figures
    return figures


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_executors_that_are_killed_and_frozen_lose_and_double_nothing(kind: str) -> None:
    with database(kind) as url:
        figures = told(campaign(url, 11, items=45))
    assert (figures.missing, figures.doubled, figures.crashes) == (0, 0, 0)
    assert figures.kills + figures.freezes > 3


def test_the_same_workflows_double_items_without_keys() -> None:
    with database("sqlite") as url:
        figures = told(campaign(url, 12, items=30, keyless=True))
    assert figures.missing == 0
    assert figures.doubled > 3
