"""The wheel in environments that were empty: what it brings along, and that it works with that."""

import json
import os
import subprocess
import sys
from importlib.metadata import requires
from pathlib import Path
from typing import Any

import pytest

from benchmarks._environments import environment
from tests.distribution.trying import outcomes_of_a_demo

ROOT = Path(__file__).parents[2]
# The modules that an extra brings, as far as we import them.
BRINGS = {
    "cli": {"cyclopts", "rich"},
    "dbos": {"dbos", "psycopg"},
    "jq": {"jq"},
    "otel": {"opentelemetry"},
    "postgres": {"psycopg"},
    "pytest": {"pytest", "pytest_asyncio"},
    "redis": {"redis"},
}
OPTIONAL = set.union(*BRINGS.values())
# Prints what cannot be imported: of the modules of the package, those that others are missing for, and those others.
IMPORT_ALL = """
import importlib, json, pkgutil, sys
import codegen_async

missing = {}
names = [found.name for found in pkgutil.walk_packages(codegen_async.__path__, "codegen_async.")]
for name in [name for name in names if not name.endswith("__main__")] + sys.argv[1:]:
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        missing[name] = error.name
print(json.dumps(missing))
"""


def test_every_extra_is_tried() -> None:
    texts = [text.partition("extra == ")[2].strip("\"' ") for text in requires("codegen-async") or ()]
    assert {text for text in texts if text} == set(BRINGS)


def test_the_package_alone_is_small_and_imports_all_that_needs_no_extra(wheel: Path) -> None:
    with environment() as place:
        place.install(str(wheel))
        assert place.distributions <= 14
        assert place.megabytes <= 18
        missing: dict[str, Any] = json.loads(place.run("python", "-W", "error", "-c", IMPORT_ALL))
        assert set(missing.values()) <= OPTIONAL
        assert {name.removeprefix("codegen_async.") for name in missing if ".cli." not in name} == {
            *("fleet.postgres", "fleet.redis", "otel", "testing.plugin"),
        }
        assert "pip install 'codegen-async[cli]'" in place.run("sh", "-c", "codegen-async doctor 2>&1 || true")
        assert "codegen-async demo" in place.run("codegen-async", "--help")


def test_the_command_line_is_small_and_shows_a_batch(wheel: Path) -> None:
    with environment() as place:
        place.install(f"{wheel}[cli]")
        assert place.megabytes <= 24
        assert outcomes_of_a_demo(place) == 40


@pytest.mark.parametrize("extra", sorted(BRINGS))
def test_every_extra_alone_has_what_its_modules_import(wheel: Path, extra: str) -> None:
    with environment() as place:
        place.install(f"{wheel}[{extra}]")
        missing: dict[str, Any] = json.loads(place.run("python", "-c", IMPORT_ALL, *BRINGS[extra]))
    assert set(missing.values()) & BRINGS[extra] == set()
    assert set(missing.values()) <= OPTIONAL


@pytest.mark.parametrize("page", ["README.md", "docs/start/getting-started.md"])
def test_the_first_pages_need_no_more_than_they_install(wheel: Path, page: str) -> None:
    words = (sys.executable, "-m", "pytest", "-q", f"tests/test_documentation.py::test_a_page_works_as_printed[{page}]")
    with environment() as place:
        place.install(f"{wheel}[cli,pytest]")
        own = {"CODEGEN_ASYNC_PYTHON": str(place.python), "CODEGEN_ASYNC_WHEELS": str(wheel.parent)}
        read = subprocess.run(words, cwd=ROOT, env=os.environ | own, capture_output=True, text=True, check=False)  # noqa: S603 - ours
    assert "1 passed" in read.stdout, read.stdout
