"""`codegen-async completion`: scripts for shells."""

from __future__ import annotations

from typing import Literal

from cyclopts import App

from codegen_async.cli.errors import PROGRAM, Exit

app: App = App(
    name="completion",
    help_epilogue="""\
Examples:
  eval "$(codegen-async completion bash)"            # in ~/.bashrc
  codegen-async completion zsh > _codegen-async      # into a folder of $fpath
  codegen-async completion fish > codegen-async.fish # into fish/completions""",
)


@app.default
def completion(shell: Literal["bash", "zsh", "fish"], /) -> Exit:
    """Print the completion script of a shell."""
    from codegen_async.cli.app import make_app
    from codegen_async.cli.options import PLAIN
    from codegen_async.cli.output import Output

    Output(PLAIN).line(make_app().generate_completion(prog_name=PROGRAM, shell=shell).rstrip())
    return Exit.OK
