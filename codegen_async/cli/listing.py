"""Show the first runs of a list."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from codegen_async.cli.errors import Exit
from codegen_async.cli.output import Output
from codegen_async.cli.render import fields_of, row_of
from codegen_async.codegen.models import AgentRun
from codegen_async.middesk.models import MiddeskRun


async def show_first(
    output: Output, listed: AsyncGenerator[AgentRun] | AsyncGenerator[MiddeskRun], limit: int, columns: Sequence[str]
) -> Exit:
    """Show so many runs, and read no further."""
    runs: list[AgentRun | MiddeskRun] = []
    async with aclosing(listed):
        async for run in listed:
            runs.append(run)
            if len(runs) == limit:
                break
    if output.structured:
        output.records([fields_of(run) for run in runs])
    else:
        output.table(columns, map(row_of, runs))
    return Exit.OK
