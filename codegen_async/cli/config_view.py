"""`codegen-async config`: the settings, and where each comes from."""

from __future__ import annotations

from cyclopts import App

from codegen_async.cli.errors import Exit
from codegen_async.cli.options import PLAIN, REAL, Display, RealServer

app: App = App(
    name="config",
    help="Show the settings and where each comes from.",
    help_epilogue="Example:\n  codegen-async config view",
)


@app.command(
    help_epilogue="""\
A flag goes before the environment, then codegen-async.toml in this directory,
the user's config file, the default. A token comes from the environment or from
the user's file, which nobody else may be able to read; it is never shown. A
project's file may say neither a token nor to which server one is sent.

  # the user's file
  token = "..."
  org_id = 323
  repo_id = 17

Example:
  codegen-async config view"""
)
def view(*, server: RealServer = REAL, display: Display = PLAIN) -> Exit:
    """Show each setting with its source."""
    from codegen_async.cli import config
    from codegen_async.cli.memory import memory_file
    from codegen_async.cli.output import Output

    output = Output(display)
    settings = config.load(config.flags_of(server))
    rows = [(name, setting.shown, setting.source) for name, setting in settings.items()]
    if settings["memory"].value is None and (file := memory_file(settings)) is not None:
        rows = [row if row[0] != "memory" else ("memory", str(file), "default") for row in rows]
    if output.structured:
        output.records([dict(zip(("name", "value", "source"), row, strict=True)) for row in rows])
    else:
        output.table(("SETTING", "VALUE", "SOURCE"), rows)
    output.note(f"user file: {config.where_user_file_is()}")
    return Exit.OK
