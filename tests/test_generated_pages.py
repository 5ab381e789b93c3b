"""What is generated from the code says what the code says now, and the code says what it has to."""

import re
import tomllib
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

import codegen_async
from codegen_async import CodegenAsyncError, CodegenClient, MiddeskClient, errors
from codegen_async.cli.config import KEYS, Key
from codegen_async.errors import ConfigurationError
from docs.generate import settings
from docs.generate.errors import MARK, kinds
from docs.generate.layers import OF_LAYERS
from docs.generate.pages import ROOT, pages

PAGES = pages()
SOURCES = {path: path.read_text("utf-8") for path in (ROOT / "codegen_async").rglob("*.py")}


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_a_generated_page_is_fresh(path: Path) -> None:
    assert path.read_text("utf-8") == PAGES[path], "run: .venv/bin/python -m docs.generate"


def test_every_public_error_says_what_to_do_and_is_on_the_page() -> None:
    public = {one for one in (getattr(codegen_async, name) for name in codegen_async.__all__) if _is_error(one)}
    assert public <= set(kinds()) == {one for one in vars(errors).values() if _is_error(one)}
    assert not [kind.__name__ for kind in kinds() if MARK not in (kind.__doc__ or "")]


def _is_error(item: object) -> bool:
    return isinstance(item, type) and issubclass(item, CodegenAsyncError)


def test_every_command_and_option_is_on_the_page() -> None:
    page = PAGES[ROOT / "docs" / "reference" / "command-line.md"]
    helps = (ROOT / "codegen_async" / "cli" / "pages.txt").read_text("utf-8")
    assert set(re.findall(r"--[a-z][a-z-]+", helps)) <= set(re.findall(r"--[a-z][a-z-]+", page))
    commands = [name for name in re.findall(r"\f(.*)\n", helps) if name not in ("", "--dialect")]
    headings = [title.replace("--dialect NAME", "--dialect") for title in re.findall(r"\n##+ codegen-async (.*)", page)]
    assert headings == commands


def test_every_variable_of_the_environment_is_on_the_page() -> None:
    page = PAGES[ROOT / "docs" / "reference" / "settings.md"]
    read = {name for text in SOURCES.values() for name in re.findall(r'environ(?:\.get\(|\[)"([A-Z_]+)"', text)}
    assert {"CODEGEN_FLEET", "CODEGEN_ORG_ID", "XDG_STATE_HOME"} <= read
    stands_for = {name for key in KEYS for name in (key.variable, *key.others)}
    assert not [name for name in {*read, *stands_for, *settings.OTHERS} if f"`{name}`" not in page]


@pytest.mark.parametrize(
    "key", [key for key in KEYS if key.name not in ("repo_id", "dialect")], ids=lambda key: key.name
)
def test_a_variable_counts_in_programs_where_the_page_says_so(key: Key, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CODEGEN_API_TOKEN", "token")
    monkeypatch.setenv("MIDDESK_API_KEY", "mk_test_key")
    monkeypatch.setenv(key.variable, "\N{SNOWMAN}")  # which nothing of this kind can be
    page = PAGES[ROOT / "docs" / "reference" / "settings.md"]
    client = MiddeskClient if key.name.startswith("middesk") else CodegenClient
    if f"`{key.variable}` (commands)" in page:
        client()
    else:
        with pytest.raises(ConfigurationError):
            client()


def test_the_picture_has_each_room_of_the_house() -> None:
    drawn = ET.fromstring(PAGES[ROOT / "docs" / "images" / "layers.svg"])  # noqa: S314 - our own
    words = {"".join(text.itertext()) for text in drawn.iter("{http://www.w3.org/2000/svg}text")}
    rooms = {
        path.stem
        for path in (ROOT / "codegen_async").iterdir()
        if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    assert rooms - {"__init__"} <= words
    assert set(OF_LAYERS.values()) <= words


def test_a_figure_of_why_stands_where_it_is_explained() -> None:
    docs = ROOT / "docs"
    explained = "\n".join(page.read_text("utf-8") for page in (docs / "explanation").glob("*.md"))
    why = (docs / "start" / "why.md").read_text("utf-8").partition("\n## ")[2]
    figures = set(
        re.findall(r"(?<![\w.,])(?:\d+\.\d+|\d+,\d{3}|\d{3})(?![\w,])", re.sub(r"\[[^]]*\]\([^)]*\)", "", why))
    )
    assert len(figures) > 20
    assert {
        figure for figure in figures if not re.search(rf"(?<![\d.,]){re.escape(figure)}(?![\d,])", explained)
    } == set()


def test_the_page_of_versions_names_the_pythons_of_the_classifiers() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    pythons = [line.rpartition(" ")[2] for line in project["classifiers"] if re.search(r":: 3\.\d+$", line)]
    page = (ROOT / "docs" / "project" / "versioning.md").read_text("utf-8")
    assert f"Python {pythons[0]} to {pythons[-1]}" in page
    assert project["requires-python"] == f">={pythons[0]}"
