"""The pictures of the layers, drawn from the contracts that `lint-imports` checks."""

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any, NamedTuple

# In pixels.
_EDGE, _GAP, _HIGH, _STEP, _TITLE = 16, 8, 28, 36, 40
_BOXES, _SAYS = 480, 400
_COLUMN = 460

OF_LAYERS = {
    "__main__": "python -m codegen_async",
    "cli": "the commands; OpenTelemetry",
    "engine": "batches of several machines; runs in browsers",
    "batch": "a journal, and what drives it",
    "codegen": "the two APIs; they know not one another",
    "hosted": "dialects, and the client of any of them",
    "fleet": "one budget and one set of looks for many processes",
    "waiting": "all waits of a client, on one schedule",
    "polling": "which look next, and when: no clock, no I/O",
    "http": "one call: repeats, answers, aiohttp",
    "events": "what an observer is told",
    "limits": "slots: no limit is ever exceeded",
    "arguments": "checks, files, settings",
    "secret": "the token, which shows nowhere",
    "errors": "all that is raised",
    "cleaning": "foreign text into messages, JSON into models",
    "hiding": "what imports nothing of the package",
    "testing": "beside: simulated servers, clocks, the pytest plugin",
}
"""What each layer is for, by the first name in it."""

# The pictures bring their own ground, so they can be read on a page of any colour.
_STYLE = """\
  <style>
    .ground { fill: #f6f8fa; stroke: #d0d7de }
    .room { fill: #ffffff; stroke: #57606a }
    .beside { fill: none; stroke: #57606a; stroke-dasharray: 4 3 }
    text { font: 12.5px ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; fill: #1f2328 }
    .says { font-family: system-ui, sans-serif; fill: #57606a }
    .title { font: 600 14px system-ui, sans-serif }
    @media (prefers-color-scheme: dark) {
      .ground { fill: #161b22; stroke: #30363d }
      .room { fill: #21262d; stroke: #8b949e }
      .beside { stroke: #8b949e }
      text { fill: #e6edf3 }
      .says { fill: #9da7b3 }
    }
  </style>"""


class Stack(NamedTuple):
    """Be layers that stand on one another.

    Attributes:
        name: of what.
        layers: names that stand side by side, from the highest layer.
        beside: names that stand beside all of it.
    """

    name: str
    layers: Sequence[Sequence[str]]
    beside: Sequence[str]

    @property
    def height(self) -> int:
        """How many pixels it takes."""
        return _TITLE + _STEP * (len(self.layers) + len(self.beside)) + _EDGE


def house(project: str) -> str:
    """Return the picture of the whole package.

    Args:
        project: the text of pyproject.toml.
    """
    whole = next(stack for stack in _stacks(project) if stack.name == "codegen_async")
    rows = [*whole.layers, *((name,) for name in whole.beside)]
    said = [
        f'  <text class="says" x="{_EDGE + _BOXES + 16}" y="{_TITLE + row * _STEP + 19}">{OF_LAYERS[names[0]]}</text>'
        for row, names in enumerate(rows)
    ]
    lines = [*_stack(whole, _EDGE, 0, _BOXES), *said]
    return _drawn("The layers of the package: each imports only what is below it", _BOXES + _SAYS, whole.height, lines)


def rooms(project: str) -> str:
    """Return the picture of what is inside the rooms that have layers of their own, in two columns."""
    stacks = [stack for stack in _stacks(project) if stack.name != "codegen_async"]
    bottoms = [0, 0]
    lines: list[str] = []
    for stack in sorted(stacks, key=lambda stack: -stack.height):
        column = bottoms.index(min(bottoms))
        lines += _stack(stack, _EDGE + column * (_COLUMN + 2 * _EDGE), bottoms[column], _COLUMN)
        bottoms[column] += stack.height
    return _drawn("The layers inside the rooms", 2 * _COLUMN + 4 * _EDGE, max(bottoms), lines)


def _stacks(project: str) -> Iterator[Stack]:
    contracts: Sequence[Mapping[str, Any]] = tomllib.loads(project)["tool"]["importlinter"]["contracts"]
    for one in contracts:
        if one["type"] == "layers":
            (name,) = one["containers"]
            layers = [[part.strip() for part in layer.split("|")] for layer in one["layers"]]
            yield Stack(name, layers, one.get("exhaustive_ignores", ()))


def _drawn(title: str, width: int, height: int, lines: Sequence[str]) -> str:
    first = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" aria-label="{title}">'
    ground = f'  <rect class="ground" x="0.5" y="0.5" width="{width - 1}" height="{height - 1}" rx="6"/>'
    return "\n".join([first, f"  <title>{title}</title>", _STYLE, ground, *lines, "</svg>", ""])


def _stack(stack: Stack, left: int, top: int, width: int) -> Iterator[str]:
    yield f'  <text class="title" x="{left}" y="{top + 26}">{escape(stack.name.removeprefix("codegen_async."))}</text>'
    rows = [*((names, "room") for names in stack.layers), *(((name,), "beside") for name in stack.beside)]
    for row, (names, kind) in enumerate(rows):
        yield from _row(left, top + _TITLE + row * _STEP, width, names, kind)


def _row(left: float, top: int, width: int, names: Sequence[str], kind: str) -> Iterator[str]:
    """Yield the boxes of a layer, each as wide as its name takes."""
    shared = width - _GAP * (len(names) - 1)
    letters = sum(len(name) + 2 for name in names)
    for name in names:
        wide = shared * (len(name) + 2) / letters
        yield f'  <rect class="{kind}" x="{left:.1f}" y="{top}" width="{wide:.1f}" height="{_HIGH}" rx="4"/>'
        yield f'  <text x="{left + wide / 2:.1f}" y="{top + 19}" text-anchor="middle">{escape(name)}</text>'
        left += wide + _GAP
