"""What pages link to and load, of the built site and of files that are read as they are."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path

LOADING = {"script": "src", "img": "src", "iframe": "src", "source": "src", "embed": "src", "object": "data"}
LOADED_LINKS = {"stylesheet", "icon", "preload", "modulepreload", "preconnect", "dns-prefetch", "manifest"}


@dataclass
class Page:
    """A page of HTML.

    Attributes:
        ids: its anchors.
        links: where a reader is led.
        loads: what a browser fetches to show it.
    """

    ids: set[str] = field(default_factory=set)
    links: list[str] = field(default_factory=list)
    loads: list[str] = field(default_factory=list)


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.page = Page()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.page.ids |= {given[name] for name in ("id", "name") if name in given}
        if tag in LOADING and LOADING[tag] in given:
            self.page.loads.append(given[LOADING[tag]])
        elif tag == "link" and LOADED_LINKS & {*given.get("rel", "").split()}:
            self.page.loads.append(given["href"])
        elif "href" in given:
            self.page.links.append(given["href"])


def read(text: str) -> Page:
    reader = _Reader()
    reader.feed(text)
    return reader.page


def read_markdown(text: str) -> Page:
    """Read a file as a host of repositories shows it."""
    prose = re.sub(r"^( *)```.*?^\1```$", "", text, flags=re.DOTALL | re.MULTILINE)
    prose_only = re.sub(r"`[^`\n]*`", "", prose)
    links = [*re.findall(r"\]\(([^)\s]*)\)", prose_only), *re.findall(r"^\[[^]]+\]: (\S+)", prose_only, re.MULTILINE)]
    return Page(ids=set(_slugs(re.findall(r"^#+ (.*)$", prose, re.MULTILINE))), links=links)


def _slugs(headings: Iterable[str]) -> Iterable[str]:
    for heading in headings:
        yield re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def pages_of(site: Path) -> dict[str, Page]:
    return {path.relative_to(site).as_posix(): read(path.read_text()) for path in sorted(site.rglob("*.html"))}
