"""A reader who types in all that a page shows, from top to bottom, in a folder of their own.

- `sh`: typed into one shell, which remembers variables; `NAME=...` is taken for a secret that the reader has set.
- `console`: the lines behind `$`, each of which prints what follows it.
- a block that begins with `# name.py` or the like is a file. Tests are run; so is a program that no command names.
- `python` with a test function: a test. With `asyncio.run(`: a program. Else a cell: all cells of a page share their
  names and a loop, and may `await`; a cell that ends with the definition of `main` is followed by `await main()`.
- `output`: what the block before prints; `...` stands for anything.
- 8017 is a port that nobody else has: others may read the page at the same time.
- `toml`, `yaml`, `json` that are no files are read. The steps of a GitHub workflow are run.

Programs are those of one Python: CODEGEN_ASYNC_PYTHON, or the one that runs the tests.
"""

import json
import os
import re
import shlex
import sys
import tomllib
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import msgspec.yaml

from tests.documentation.blocks import Block
from tests.documentation.sessions import NOTEBOOK, SHELL, BlockFailedError, Session, Terminal
from tests.support.ports import own_port

PYTHON = Path(os.environ.get("CODEGEN_ASYNC_PYTHON", sys.executable)).absolute()
WHEELS = os.environ.get("CODEGEN_ASYNC_WHEELS")

_PORT = "8017"
_WORKSPACE = "${{ github.workspace }}"
_SECRET = re.compile(r"^ *export \w+=\.\.\.(?=[ \n]).*\n", re.MULTILINE)
_TEST = re.compile(r"^(async )?def test_", re.MULTILINE)
_PYTEST = "python -m pytest -q -p no:cacheprovider"


class Reader:
    """Read one page; leave it by the end of the `with` block."""

    def __init__(self, folder: Path, page: list[Block], variables: Mapping[str, str]) -> None:
        self.folder = folder / "reader"
        self._page = page
        self._hidden = folder / "blocks"
        self._variables = {**_surroundings(folder), **variables}
        self._printed = ""
        self._number = 0
        self._open = ExitStack()
        self._port = str(self._open.enter_context(own_port()))
        self._shell: Session
        self._notebook: Session | None = None

    def __enter__(self) -> Self:
        for each in (self.folder, self._hidden, self._hidden.parent / "home"):
            each.mkdir()
        self._shell = self._open.enter_context(Session(SHELL, self.folder, self._variables))
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def read(self, block: Block) -> None:
        """Do what a block shows.

        Raises:
            BlockFailedError: it does not work, or not as shown.
        """
        self._number += 1
        try:
            self._read(block)
        except BlockFailedError as failed:
            raise BlockFailedError(f"{block.place}\n{block.text}\n{failed}") from None

    def _read(self, block: Block) -> None:
        block = replace(block, text=block.text.replace(_PORT, self._port))
        if block.marker in {"not run", "run by"} or (block.marker == "needs the network" and not WHEELS):
            return
        if block.marker == "goes on":
            self._leave_running(block)
        elif block.file:
            self._save(block, block.file)
        else:
            self._kind(block)

    def _kind(self, block: Block) -> None:
        match block.language:
            case "sh":
                self._printed = self._type(_SECRET.sub("", block.text))
            case "console":
                self._converse(block.text)
            case "python":
                self._python(block.text)
            case "output":
                _compare(block.text, self._printed)
            case "toml":
                tomllib.loads(block.text)
            case "yaml":
                msgspec.yaml.decode(block.text)
            case "json":
                json.loads(block.text)

    def _type(self, text: str) -> str:
        return self._shell.run(self._write(text, "sh"))

    def _write(self, text: str, kind: str) -> Path:
        file = self._hidden / f"{self._number}.{kind}"
        file.write_text(text)
        return file

    def _converse(self, text: str) -> None:
        for command, answer in re.findall(r"^\$ ((?:.*\\\n)*.*\n)((?:(?!\$ ).*\n)*)", text, re.MULTILINE):
            self._printed = self._type(command)
            _compare(answer, self._printed)

    def _python(self, text: str) -> None:
        if _TEST.search(text):
            name = f"test_{self._number}.py"
            (self.folder / name).write_text(text)
            self._printed = self._type(f"{_PYTEST} {name}")
        elif "asyncio.run(" in text:
            self._printed = self._type(f'python -c "$(< {shlex.quote(str(self._write(text, "py")))})"')
        else:
            self._printed = self._cells().run(self._write(text, "py"))

    def _cells(self) -> Session:
        """Return the notebook, which knows what the shell has exported by when it is first used."""
        if self._notebook is None:
            words = ("bash", "-c", f". {self._exported()}; exec python {NOTEBOOK}")
            self._notebook = self._open.enter_context(Session(words, self.folder, self._variables))
        return self._notebook

    def _exported(self) -> Path:
        exported, asking = self._hidden / "exported", self._hidden / "export.sh"
        asking.write_text(f"export -p > {exported}")
        self._shell.run(asking)
        return exported

    def _save(self, block: Block, name: str) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(block.text)
        if block.marker == "saved":
            return
        if path.suffix in {".yml", ".yaml"}:
            self._work(msgspec.yaml.decode(block.text))
        elif path.name.startswith("test_"):
            self._printed = self._type(f"{_PYTEST} {name}")
        elif path.suffix == ".py" and path.name != "conftest.py" and not self._is_named(path.stem):
            self._printed = self._type(f"python {name}")

    def _is_named(self, stem: str) -> bool:
        """Whether a command of the page names a program."""
        commands = (each.text for each in self._page if each.language in {"sh", "console"})
        return any(re.search(rf"\b{stem}\b", text) for text in commands)

    def _work(self, workflow: Any) -> None:
        """Do the steps of a workflow of GitHub that are commands, with its variables; secrets are set here."""
        for job in workflow.get("jobs", {}).values():
            for step in job["steps"]:
                said = {**workflow.get("env", {}), **job.get("env", {}), **step.get("env", {})}
                values = {name: str(value).replace(_WORKSPACE, str(self.folder)) for name, value in said.items()}
                words = [f"{name}={shlex.quote(value)}" for name, value in values.items() if "${{" not in value]
                if "run" in step:
                    self._printed = self._type(f"(\nexport {' '.join(words)}\n{step['run']}\n)")

    def _leave_running(self, block: Block) -> None:
        file = self._write(_SECRET.sub("", block.text), "sh")
        words = ("bash", "-euo", "pipefail", "-c", f". {self._exported()}; . {file}")
        self._open.enter_context(Terminal(words, self.folder, self._variables)).start(block.value)


def _surroundings(folder: Path) -> dict[str, str]:
    """Return the variables of someone who has installed the package and nothing else."""
    network = {"PIP_FIND_LINKS": str(Path(WHEELS).absolute())} if WHEELS else {"PIP_NO_INDEX": "1"}
    return {
        "PATH": f"{PYTHON.parent}:{os.environ['PATH']}",
        "HOME": str(folder / "home"),
        "LANG": "C.UTF-8",
        "NO_COLOR": "1",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        **network,
    }


def _compare(shown: str, printed: str) -> None:
    pattern = re.escape(_plain(shown)).replace(re.escape("..."), ".*?")
    if not re.fullmatch(pattern, _plain(printed), re.DOTALL):
        raise BlockFailedError(f"it prints\n{printed}\nand not, as is shown,\n{shown}")


def _plain(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.strip().splitlines())
