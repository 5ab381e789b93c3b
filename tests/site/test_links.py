"""Whatever a page leads to is there, and no page fetches anything from another host."""

import re
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit

import pytest

from tests.site.conftest import ROOT
from tests.site.pages import Page, pages_of, read, read_markdown

HERE = "http://site.invalid/"
REPOSITORY = "https://github.com/codegen-async/codegen-async"
OURS = re.compile(
    rf"(?:{re.escape(REPOSITORY)}/(?:blob|tree|raw)|https://raw\.githubusercontent\.com/codegen-async/codegen-async)"
    r"/main/(?P<path>[^#?]+)(?:#(?P<anchor>.+))?"
)
DELIVERERS = re.compile(r"unpkg|jsdelivr|cdnjs|googleapis|gstatic|bootstrapcdn|\bcdn\b", re.IGNORECASE)
SHOWN_IN_THE_REPOSITORY = ["README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"]


def why_not_outside(link: str) -> str | None:
    """Say what is wrong with a link that leads out of the site; None if nothing is."""
    parts = urlsplit(link)
    if parts.scheme == "mailto":
        return None
    if parts.scheme != "https" or not re.fullmatch(r"[a-z0-9-]+(\.[a-z0-9-]+)+", parts.netloc):
        return "is no address with https and a host"
    if not re.fullmatch(r"[!-~]*[\w/)#-]", link):
        return "has or ends with what is not of an address"
    if DELIVERERS.search(parts.netloc):
        return "leads to a host that delivers for others"
    ours = OURS.fullmatch(link)
    return why_not_inside(ROOT, ours["path"], ours["anchor"]) if ours else None


def why_not_inside(root: Path, path: str, anchor: str | None) -> str | None:
    target = root / unquote(path)
    if not target.exists():
        return f"there is no {path}"
    if anchor and target.suffix == ".md" and anchor not in read_markdown(target.read_text()).ids:
        return f"{path} has no section {anchor}"
    return None


def why_not_on_site(pages: dict[str, Page], site: Path, page: str, link: str) -> str | None:
    parts = urlsplit(urljoin(HERE + page, link))
    path = unquote(parts.path).removeprefix("/")
    path += "index.html" if not path or path.endswith("/") else ""
    if not (site / path).is_file():
        return f"there is no {path}"
    if parts.fragment and path in pages and unquote(parts.fragment) not in pages[path].ids:
        return f"{path} has no anchor {parts.fragment}"
    return None


def test_every_link_of_the_site_leads_somewhere(site: Path) -> None:
    pages = pages_of(site)
    wrong = [
        f"{page}: {link} {why}"
        for page, read_page in pages.items()
        for link in dict.fromkeys(read_page.links + read_page.loads)
        if (why := why_not_outside(link) if urlsplit(link).scheme else why_not_on_site(pages, site, page, link))
    ]
    assert wrong == []
    assert len(pages) > 100
    assert sum(len(page.links) for page in pages.values()) > 10_000


def test_the_navigation_has_every_page_once() -> None:
    docs = ROOT / "docs"
    named = re.findall(r"^ +- (?:.+: )?([^\s:]+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE)
    assert sorted(named) == sorted(path.relative_to(docs).as_posix() for path in docs.rglob("*.md"))


def test_no_page_of_the_site_loads_from_another_host(site: Path) -> None:
    loaded = {load for page in pages_of(site).values() for load in page.loads}
    styles = [path.read_text() for path in site.rglob("*.css")]
    loaded |= {place for style in styles for place in re.findall(r"(?:url\(|@import)\s*[\"']?([^\"')\s]+)", style)}
    assert {load for load in loaded if urlsplit(load).netloc} == set()
    assert {Path(urlsplit(load).path).suffix for load in loaded} >= {".css", ".js", ".svg"}


@pytest.mark.parametrize("name", SHOWN_IN_THE_REPOSITORY)
def test_every_link_of_a_file_at_the_top_leads_somewhere(name: str) -> None:
    page = read_markdown((ROOT / name).read_text())
    inside = re.compile(r"(?P<path>[^#]*)(?:#(?P<anchor>.+))?")
    wrong = []
    for link in page.links:
        parts = inside.fullmatch(link)
        assert parts
        if why := (
            why_not_outside(link) if urlsplit(link).scheme else why_not_inside(ROOT, parts[1] or name, parts["anchor"])
        ):
            wrong.append(f"{link} {why}")
    assert wrong == []


def test_the_readme_leads_to_the_same_places_wherever_it_is_shown() -> None:
    assert [link for link in read_markdown((ROOT / "README.md").read_text()).links if not urlsplit(link).scheme] == []


def test_what_is_wrong_with_a_link_is_told() -> None:
    site, page = ROOT / "docs", read('<h1 id="a"></h1><a href="#b"></a><script src="https://unpkg.com/x"></script>')
    assert page.loads == ["https://unpkg.com/x"]
    assert (
        why_not_on_site({"index.html": page}, site, "howto/x.html", "../nowhere/") == "there is no nowhere/index.html"
    )
    assert why_not_outside("https://unpkg.com/x") == "leads to a host that delivers for others"
    assert why_not_outside("http://example.org") == "is no address with https and a host"
    assert why_not_outside("https://example.org/a,") == "has or ends with what is not of an address"
    assert why_not_outside(f"{REPOSITORY}/blob/main/nothing.md") == "there is no nothing.md"
    assert why_not_outside(f"{REPOSITORY}/blob/main/SECURITY.md#no") == "SECURITY.md has no section no"
    assert why_not_outside(f"{REPOSITORY}/blob/main/SECURITY.md#reporting") is None
