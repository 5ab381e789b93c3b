"""What the README and the documentation show works as printed: each page is followed from top to bottom.

How a block is run, and how a page says of one that it cannot be, is told in `tests.documentation`.
"""

import builtins
import inspect
import re
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import pytest

import codegen_async
from codegen_async import testing, web
from codegen_async.testing import CodegenServer, Life, ServerThread
from tests.documentation.blocks import LANGUAGES, PAGES, ROOT, Block, blocks
from tests.documentation.reader import Reader

SHOWN = {str(page.relative_to(ROOT)): blocks(page) for page in PAGES}
ALL = [block for page in SHOWN.values() for block in page]

NOT_RUN = {
    "README.md": 1,
    "CONTRIBUTING.md": 1,
    "docs/howto/several-machines.md": 3,
    "docs/project/releasing.md": 2,
    "docs/start/getting-started.md": 1,
}
"""How many blocks of a page are left out; each of them says why."""

SLOW = {
    "README.md",
    "docs/howto/batches.md",
    "docs/howto/ci.md",
    "docs/howto/command-line.md",
    "docs/howto/your-own-api.md",
    "docs/index.md",
    "docs/start/getting-started.md",
}
"""Pages of so many commands that to type them all takes long; `make dist` does it too, with what it has built."""

HELP = {"docs/reference/command-line.md"}
"""Generated from the help, whose examples `tests/cli/test_demo.py` runs."""

OWNERS = (
    codegen_async,
    testing,
    web,
    codegen_async.AgentRun,
    codegen_async.Batch,
    codegen_async.CodegenClient,
    codegen_async.Dialect,
    codegen_async.HostedRuns,
    codegen_async.MiddeskClient,
    testing.CodegenServer,
    testing.World,
    web.RunFeed,
)
"""Whose calls pages name."""

_CALL = re.compile(r"`(?:client\.|batch\.|feed\.)?([a-z_]+)\(([^`]*)\)")
_WORD = re.compile(r"\b([a-z_]+)=")

SPEED = 120.0
LIFE = Life(median=60.0, outcomes={"COMPLETE": 1.0})


def _serve() -> CodegenServer:
    return CodegenServer(speed=SPEED, life=LIFE)


@pytest.mark.parametrize(
    "page",
    [pytest.param(page, marks=[pytest.mark.slow] if page in SLOW else []) for page, shown in SHOWN.items() if shown],
)
def test_a_page_works_as_printed(page: str, tmp_path: Path) -> None:
    if any("uvicorn" in block.text for block in SHOWN[page]) and find_spec("uvicorn") is None:
        pytest.skip("needs the group `web`")
    with ServerThread(_serve) as server, Reader(tmp_path, SHOWN[page], server.environment) as reader:
        for block in SHOWN[page]:
            reader.read(block)
        assert server.violations == 0


def test_every_block_says_what_it_is() -> None:
    assert [block.place for block in ALL if block.language not in LANGUAGES] == []
    commands = re.compile(r"^(\$ |pip |python |codegen-async )", re.MULTILINE)
    read = [block for block in ALL if block.language in {"", "text"} and str(block.page.relative_to(ROOT)) not in HELP]
    assert [block.place for block in read if commands.search(block.text)] == []


def test_a_call_that_a_page_names_is_there() -> None:
    named = [
        (page.name, name, given)
        for page in PAGES
        for name, given in _CALL.findall(re.sub(r"(?ms)^ *```.*?^ *```", "", page.read_text()))
        if name not in dir(builtins)
    ]
    assert len(named) > 20
    for place, name, given in named:
        calls = [getattr(owner, name) for owner in OWNERS if hasattr(owner, name)]
        assert calls, f"{place}: {name}"
        words = _WORD.findall(given)
        assert any(map(partial(_takes, words), calls)), f"{place}: {name}({given})"


def _takes(words: Sequence[str], called: Callable[..., object]) -> bool:
    parameters = inspect.signature(called).parameters
    return set(words) <= set(parameters) or any(each.kind is each.VAR_KEYWORD for each in parameters.values())


def test_a_block_that_is_not_run_is_counted_and_says_why() -> None:
    left = [block for block in ALL if block.marker == "not run"]
    assert [block.place for block in left if len(block.value.split()) < 3] == []
    assert Counter(str(block.page.relative_to(ROOT)) for block in left) == NOT_RUN


@pytest.mark.parametrize("block", [each for each in ALL if each.marker == "run by"], ids=lambda block: block.place)
def test_a_block_that_another_test_runs_is_named_there(block: Block) -> None:
    assert block.page.name in (ROOT / block.value).read_text()
