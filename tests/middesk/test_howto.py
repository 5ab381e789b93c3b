"""The page on people in the loop: its code is that of an example, and the example runs."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest
from aiohttp.test_utils import TestClient, TestServer

from codegen_async.testing import MiddeskServer, run_virtual
from tests.middesk.helpers import client_of, endpoints

DOCS = Path(__file__).parents[2] / "docs"
EXAMPLE = DOCS / "examples" / "human_in_the_loop.py"
BLOCKS = re.findall(r"```python\n(.*?)```", (DOCS / "howto" / "human-in-the-loop.md").read_text(), re.DOTALL)


@pytest.fixture
def example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("human_in_the_loop", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("block", BLOCKS)
def test_the_page_shows_code_of_the_example(block: str) -> None:
    assert block in EXAMPLE.read_text()


def test_the_example_runs(example: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    run_virtual(example.main())
    lines = capsys.readouterr().out.splitlines()
    assert sum(" approves " in line for line in lines) == 9
    assert sum(line.endswith("succeeded, 7 steps") for line in lines) == 3
    assert re.fullmatch(r"9 answers, \d\d looks at the server, 0 violations of its limit", lines[-1])


@pytest.mark.asyncio(loop_factories=["virtual"])
async def test_the_handler_of_the_page_refuses_what_is_not_signed(
    example: ModuleType, middesk_server: MiddeskServer
) -> None:
    async with (
        client_of(middesk_server) as client,
        TestClient(TestServer(example.webhooks(client))) as sender,
    ):
        answer = await sender.post("/middesk", data=b"{}", headers={example.SIGNATURE_HEADER: "0" * 64})
        assert answer.status == 401
        assert (await sender.post("/middesk", data=b"{}")).status == 401
    assert endpoints(middesk_server) == []
