"""Show what an audit of a batch has found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from codegen_async.batch.batch import Batch
from codegen_async.cli.errors import Exit
from codegen_async.cli.output import Output


async def audit(batch: Batch[Any, Any], output: Output) -> Exit:
    """Compare a batch with the runs that the server has, and show what was found.

    Raises:
        CodegenAsyncError: as `Batch` raises it.
    """
    async with batch:
        report = await batch.audit()
    if output.structured:
        output.document(report)
    else:
        rows = [(name, _shown(value)) for name, value in msgspec.structs.asdict(report).items()]
        output.table(("FOUND", "WHICH"), rows, whole=True)
    return Exit.OK if report.ok else Exit.ATTENTION


def _shown(value: int | Sequence[object] | Mapping[str, object]) -> str:
    if isinstance(value, int):
        return str(value)
    found = [f"{key}: {runs}" for key, runs in value.items()] if isinstance(value, Mapping) else map(str, value)
    return ", ".join(found) or "none"
