"""Whoever only imports the package does not pay for its HTTP library."""

import json
import subprocess
import sys

import pytest

HEAVY = {"aiohttp", "yarl", "sqlite3"}


def loaded_by(statement: str) -> set[str]:
    """Return the modules that a fresh Python has loaded after a statement."""
    code = f"import json, sys\n{statement}\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)  # noqa: S603 - ours
    return set(json.loads(done.stdout))


@pytest.mark.parametrize(
    "statement",
    [
        "import codegen_async",
        "from codegen_async import CodegenClient",
        "from codegen_async import CodegenClient; CodegenClient('token', org_id=1)",
    ],
)
def test_an_import_loads_nothing_heavy(statement: str) -> None:
    assert "codegen_async" in (loaded := loaded_by(statement))
    assert not HEAVY & loaded


def test_a_bare_import_loads_next_to_nothing() -> None:
    assert not {"asyncio", "msgspec", "anyio"} & loaded_by("import codegen_async")


def test_the_errors_can_be_had_without_asyncio() -> None:
    loaded = loaded_by("from codegen_async import APIError")
    assert "codegen_async.errors" in loaded
    assert not {"asyncio", "msgspec", "anyio"} & loaded
