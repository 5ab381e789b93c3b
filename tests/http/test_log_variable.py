"""`CODEGEN_ASYNC_LOG`: the log of scripts that have set up no logging."""

import subprocess
import sys
from pathlib import Path

import pytest

from codegen_async import CodegenClient, ConfigurationError
from tests.support.clients import ORG
from tests.support.sender import FakeSender

SCRIPT = """
import asyncio, logging, sys
from codegen_async import CodegenClient
from codegen_async.testing import CodegenServer

if "own" in sys.argv:
    logging.basicConfig(format="mine %(message)s")

async def main():
    async with CodegenServer() as server:
        async with CodegenClient(server.token, org_id=server.org_id, base_url=server.url) as client:
            await client.list_runs_page()
        async with CodegenClient(server.token, org_id=server.org_id, base_url=server.url) as client:
            await client.list_runs_page()

asyncio.run(main())
"""


def said(*words: str, level: str | None) -> list[str]:
    environment = {"PYTHONPATH": str(Path(__file__).parents[2])} | (
        {} if level is None else {"CODEGEN_ASYNC_LOG": level}
    )
    done = subprocess.run(  # noqa: S603 - written down above
        [sys.executable, "-c", SCRIPT, *words], env=environment, capture_output=True, text=True, check=True
    )
    return done.stderr.splitlines()


def test_it_shows_each_request_on_the_standard_error_once() -> None:
    lines = said(level="debug")
    assert len(lines) == 2
    assert all(" DEBUG codegen_async: GET /v1/organizations/" in line for line in lines)


def test_a_program_with_logging_of_its_own_gets_the_records_there() -> None:
    lines = said("own", level="DEBUG")
    assert len(lines) == 2
    assert all(line.startswith("mine GET ") for line in lines)


@pytest.mark.parametrize("level", [None, "", "warning"])
def test_without_it_nothing_is_said_of_what_goes_well(level: str | None) -> None:
    assert said(level=level) == []


@pytest.mark.asyncio(loop_factories=["virtual"])
async def test_a_word_that_is_no_level_is_refused_when_a_client_is_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CODEGEN_ASYNC_LOG", "loud")
    with pytest.raises(ConfigurationError, match="CODEGEN_ASYNC_LOG: expected debug, info, warning, got 'loud'"):
        async with CodegenClient(org_id=ORG, sender=FakeSender()):
            pass
