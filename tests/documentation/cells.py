"""Run cells as a notebook does: one namespace, one loop, `await` at the top; the last expression is shown.

It is started by `sessions.Session` with the Python that runs a page, and knows nothing of this project.
"""

import ast
import asyncio
import inspect
import sys
from pathlib import Path
from typing import Any


async def run(path: str, text: str, namespace: dict[str, Any]) -> None:
    """Run one cell; of a cell that ends with the definition of `main`, that too."""
    tree = ast.parse(text, path)
    last = tree.body[-1]
    shown = [tree.body.pop()] if isinstance(last, ast.Expr) else []
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    for part in (compile(tree, path, "exec", flags), compile(ast.Interactive(shown), path, "single", flags)):
        outcome = eval(part, namespace)  # noqa: S307 - what it is there for
        if inspect.isawaitable(outcome):
            await outcome
    if isinstance(last, ast.AsyncFunctionDef) and last.name == "main":
        await namespace["main"]()


if __name__ == "__main__":
    sys.path[0] = ""
    with asyncio.Runner() as runner:
        cells: dict[str, Any] = {"__name__": "__main__"}
        for line in sys.stdin:
            path = line.strip()
            runner.run(run(path, Path(path).read_text("utf-8"), cells))
            sys.stdout.write("\0")
            sys.stdout.flush()
