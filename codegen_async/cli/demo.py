"""`codegen-async demo`: a batch, simulated, anywhere and without anything."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from codegen_async.cli.errors import Exit
from codegen_async.cli.options import PLAIN, Connection, Display, Page

FILE = Path(__file__).with_name("prompts.jsonl")

app: App = App(
    name="demo",
    help_epilogue="""\
The server is simulated in this process: no token, no network, no trace of it
afterwards. All clocks run sixty times faster than life, so the limits are those
of production. It takes about 20 s, and can be watched in a browser meanwhile.

Examples:
  codegen-async demo
  codegen-async demo --prompts > prompts.jsonl
  codegen-async batch run prompts.jsonl --simulate""",
)


@app.default
def demo(
    *,
    prompts: Annotated[bool, Parameter(help="Print the file of prompts instead, to try other commands with.")] = False,
    display: Display = PLAIN,
) -> Exit:
    """Run a batch of 40 prompts against a simulated server."""
    from codegen_async.cli.batch import run
    from codegen_async.cli.output import Output

    if prompts:
        Output(display).line(FILE.read_text("utf-8").rstrip("\n"))
        return Exit.OK
    return run(FILE, page=Page(dashboard=True), connection=Connection(simulate=True), display=display)
