"""What the distributions hold, and what they say of themselves."""

import re
import subprocess
import tarfile
from email.message import Message
from email.parser import Parser
from pathlib import Path
from zipfile import ZipFile

import pytest

from codegen_async import __version__

ROOT = Path(__file__).parents[2]
URL = "https://github.com/codegen-async/codegen-async"
# What a reader of the wheel would look for in vain, unless it stands in an address.
ELSEWHERE = re.compile(
    r"(?<![\w./:-])(?:docs|tests|benchmarks|examples)/\w|\b(?:README|CHANGELOG|CONTRIBUTING|SECURITY)\b"
)


def files_of_the_repository(*words: str) -> set[str]:
    try:
        listed = subprocess.check_output(["git", "ls-files", *words], cwd=ROOT, text=True)  # noqa: S603, S607 - ours
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a clone, or there is no git")
    return set(listed.splitlines())


@pytest.fixture(scope="module")
def metadata(wheel: Path) -> Message:
    with ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return Parser().parsestr(archive.read(name).decode())


def test_the_wheel_holds_the_package_and_its_licence_and_nothing_else(wheel: Path) -> None:
    with ZipFile(wheel) as archive:
        names = set(archive.namelist())
    about = {name for name in names if ".dist-info/" in name}
    assert names - about == files_of_the_repository("codegen_async")
    assert {name.partition("/")[2] for name in about} == {
        *("METADATA", "WHEEL", "RECORD", "entry_points.txt", "licenses/LICENSE"),
    }
    assert "codegen_async/py.typed" in names


def test_the_source_distribution_holds_the_whole_repository(source: Path) -> None:
    with tarfile.open(source) as archive:
        names = {member.name.partition("/")[2] for member in archive if not member.isdir()}
    beside = files_of_the_repository("--others", "--exclude-standard")  # whose clone it is has put it there
    assert names - {"PKG-INFO"} - beside == files_of_the_repository()


def test_the_metadata_says_whose_it_is_and_where_it_lives(metadata: Message) -> None:
    assert metadata["Version"] == __version__
    assert metadata["Author"] == "The codegen_async authors"
    assert metadata["License-Expression"] == "MIT"
    urls = dict(text.split(", ") for text in metadata.get_all("Project-URL", []))
    assert list(urls) == ["Homepage", "Documentation", "Repository", "Changelog", "Issues", "Security"]
    assert all(url.startswith(URL) for url in urls.values())
    inside = [url.removeprefix(f"{URL}/blob/main/") for url in urls.values() if "/blob/" in url]
    assert [path for path in inside if not (ROOT / path).is_file()] == []


def test_the_page_of_the_package_links_to_nothing_that_is_only_in_the_repository(metadata: Message) -> None:
    text = re.sub(r"```.*?```", "", str(metadata.get_payload()), flags=re.DOTALL)
    links = re.findall(r"\]\(([^)\s]+)", text) + re.findall(r"(?:src|href)=\"([^\"]+)", text)
    assert links
    assert [link for link in links if not link.startswith(("https://", "#"))] == []
    inside = [link.removeprefix(f"{URL}/blob/main/").partition("#")[0] for link in links if f"{URL}/blob/main/" in link]
    assert [path for path in inside if not (ROOT / path).is_file()] == []


def test_nothing_in_the_wheel_points_to_files_that_it_has_not(wheel: Path) -> None:
    with ZipFile(wheel) as archive:
        texts = {
            name: archive.read(name).decode() for name in archive.namelist() if name.endswith((".py", "pages.txt"))
        }
    lines = ((name, line) for name, text in texts.items() for line in text.splitlines())
    assert [(name, line) for name, line in lines if ELSEWHERE.search(line)] == []


def test_the_changelog_tells_of_this_version_and_its_day() -> None:
    headings = re.findall(r"^## (\S+)(?: \((\d{4}-\d\d-\d\d)\))?$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert dict(headings)[__version__]
