"""`codegen-async dashboard`: a batch as a page in the browser."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from codegen_async.cli.errors import Exit, UsageError
from codegen_async.cli.options import ANYWHERE, PLAIN, Connection, Display, JournalFile, Page, Place

if TYPE_CHECKING:
    from codegen_async.cli.session import Session

app: App = App(
    name="dashboard",
    usage="Usage: codegen-async dashboard [OPTIONS] [JOURNAL]",
    help_epilogue="""\
Prints a link to open, and serves the page until a signal comes. It only reads
the journal: it asks no server, and may come and go while the batch is run. To
pause it or retry from the page: codegen-async batch run FILE --dashboard
Others on this machine cannot see it without the link, which is new each time.

Examples:
  codegen-async dashboard prompts.jsonl
  codegen-async dashboard prompts.jsonl.db --port 8080
  codegen-async dashboard --simulate""",
)


@app.default
def dashboard(
    journal: JournalFile | None = None,
    /,
    *,
    simulate: Annotated[bool, Parameter(help="Show a simulated batch of 40 prompts: no token, no network.")] = False,
    place: Place = ANYWHERE,
    display: Display = PLAIN,
) -> Exit:
    """Show a batch as a page in the browser, while it is run or afterwards."""
    if simulate:
        if journal is not None:
            raise UsageError("--simulate shows a batch of its own, and no JOURNAL")
        from codegen_async.cli.batch import run
        from codegen_async.cli.demo import FILE

        page = Page(port=place.port, listen=place.listen, dashboard=True, stay=True)
        return run(FILE, page=page, connection=Connection(simulate=True), display=display)
    if journal is None:
        raise UsageError("JOURNAL: expected the journal of a batch, or its file of prompts", "or: --simulate")
    from codegen_async.batch.readers import read_counts
    from codegen_async.cli.inputs import existing
    from codegen_async.cli.page import NoClient, serving, until_signal
    from codegen_async.cli.session import execute

    where = existing(journal)
    read_counts(where)  # what is no journal is told here, and not by an empty page

    async def work(session: Session[None]) -> Exit:
        async with serving(session, where, place) as link:
            if session.output.structured:
                session.output.document({"url": link})
            elif display.quiet:
                session.output.line(link)
            await until_signal(session)
        return session.exit

    return execute(work, NoClient(), display)
