"""Let a person answer a run of a batch that waits for one."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import msgspec

from codegen_async.arguments import check_text
from codegen_async.batch.items import Id, Item, R, State
from codegen_async.batch.looking import Looking
from codegen_async.batch.runner import Runner
from codegen_async.errors import InvalidArgumentError

_EXPECTED = "the key of an item whose run waits for a person"


class Answering(Looking[R, Id]):
    """Be the part of a batch that lets blocked runs go on."""

    _runner: Runner[Any] | None
    _answering: dict[int, asyncio.Event]

    async def answer(self, key: str, text: str) -> None:
        """Tell the run of an item that waits for a person to go on; its end is an outcome again.

        A `run` that is on waits for it, or else the next one does.

        Args:
            key: of the item.
            text: what the run is told.

        Raises:
            InvalidArgumentError: an argument cannot be right, or the run does not wait; nothing was sent.
            NotOfferedError: the API has no such call, or one that takes more than a text (Middesk).
            OutcomeUnknownError: it was sent, and whether the run goes on is unknown.
            APIError: any other failure; the run is as it was.
            JournalError: the journal cannot be written to; the next `run` finds out that the run goes on.
        """
        name, said = check_text("key", key), check_text("text", text)
        item = await self._item_of(name)
        if item is None or item.run_id is None or item.seq in self._answering:
            raise InvalidArgumentError("key", name, _EXPECTED)
        self._answering[item.seq] = asyncio.Event()
        try:
            run = await self._maker.answer(item.run_id, said)
            if run is None:
                raise InvalidArgumentError("key", name, _EXPECTED)
            await self._note(item, msgspec.structs.replace(item, run_id=run.id))
        finally:
            self._answering.pop(item.seq).set()

    async def _note(self, item: Item, answered: Item) -> None:
        runner = self._runner
        with contextlib.nullcontext() if runner is None else runner.answering(item):
            await self._opened().answered(item.seq, answered.run_id or "")
            if runner is not None:
                runner.go_on_with(answered)

    async def _item_of(self, name: str) -> Item | None:
        async for item in self._opened().items(State.CREATED):  # few, and a person has time
            if item.name == name:
                return item
        return None
