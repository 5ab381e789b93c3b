"""The programs of the page on web frameworks, as they are printed there."""

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

PAGE = Path(__file__).parents[2] / "docs" / "howto" / "web-frameworks.md"

RECIPES: dict[str, str] = {
    name: block
    for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    for name in re.findall(r"\A# (\w+)\.py\n", block)
}


def lines_of(name: str) -> list[str]:
    """Return the lines of a recipe that say something."""
    return [line for line in RECIPES[name].splitlines()[1:] if line.strip()]


def load(name: str, folder: Path) -> ModuleType:
    """Import a recipe from a file in a folder."""
    path = folder / f"{name}.py"
    path.write_text(RECIPES[name])
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # frameworks look up the annotations of handlers there
    spec.loader.exec_module(module)
    return module
