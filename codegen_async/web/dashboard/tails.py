"""The newest rows of the logs of runs, asked for once however many look at them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import NamedTuple

from codegen_async.cleaning import clean
from codegen_async.codegen.client import CodegenClient
from codegen_async.codegen.models import AgentRunLog

_ROWS = 20
_EVERY = 5.0  # seconds for which what was shown is shown again
_PATIENCE = 5.0  # seconds that a look may stand in line: who looks at a page asks again
_MOST = 100  # runs whose rows are kept
_LONGEST = 300  # characters of a row


class _Look(NamedTuple):
    at: float
    rows: asyncio.Task[Sequence[str]]


class Tails:
    """Look at the logs of runs for whoever wants to see them.

    Args:
        client: asks for them, before polls, within the limit for logs.
        speed: how many times faster than life the loop's clock runs.
    """

    def __init__(self, client: CodegenClient, *, speed: float) -> None:
        self._client = client
        self._speed = speed
        self._looks: dict[int, _Look] = {}

    async def tail(self, run_id: int) -> Sequence[str]:
        """Return the newest rows of a run's log, oldest first, each on a line.

        Raises:
            LimiterBusyError: the limit is used up for now.
            APIError: they could not be had.
        """
        now = asyncio.get_running_loop().time()
        look = self._looks.get(run_id)
        if look is None or (look.rows.done() and now - look.at >= _EVERY * self._speed):
            look = self._looks[run_id] = _Look(now, asyncio.create_task(self._ask(run_id)))
            for old in [*self._looks][: max(0, len(self._looks) - _MOST)]:
                del self._looks[old]
        return await asyncio.shield(look.rows)  # one who leaves takes nothing from the others

    async def _ask(self, run_id: int) -> Sequence[str]:
        patience = _PATIENCE * self._speed
        page = await self._client.run_logs_page(run_id, limit=_ROWS, reverse=True, patience=patience)
        return [_line(row) for row in reversed(page.logs)]


def _line(row: AgentRunLog) -> str:
    said = row.thought or (row.observation if isinstance(row.observation, str) else "") or row.tool_name or ""
    return clean(f"{row.created_at or ''} {row.message_type or ''} {said}".strip(), _LONGEST)
