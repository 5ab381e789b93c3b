"""Add prompts to a batch, one by one or those of a file, and write them to its journal."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, overload

from codegen_async.batch.aside import aside
from codegen_async.batch.columns import CODEGEN
from codegen_async.batch.fields import DialectColumns
from codegen_async.batch.inputs import Prompts, read_prompts
from codegen_async.batch.items import Added, Id, R, Task, check_name
from codegen_async.batch.looking import Looking
from codegen_async.batch.runner import Runner
from codegen_async.codegen.client import CodegenClient
from codegen_async.codegen.models import AgentRun
from codegen_async.errors import InvalidArgumentError
from codegen_async.hosted.run import HostedRun

_NOT_GIVEN = object()


class Adding(Looking[R, Id]):
    """Be the part of a batch that prompts are added to."""

    _runner: Runner[Any] | None
    _saving: asyncio.Lock
    _added: dict[str, tuple[Task, int | None]]
    _copies: Counter[bytes]
    _unnamed: int

    @overload
    def add(
        self: Adding[AgentRun, int],
        prompt: str,
        *,
        images: Iterable[str | os.PathLike[str] | bytes] = (),
        metadata: Mapping[str, Any] | None = None,
        repo_id: int | None = None,
        model: str | None = None,
        agent_type: str | None = None,
        key: str | None = None,
    ) -> None: ...

    @overload
    def add(self: Adding[HostedRun, str], *, key: str | None = None, **fields: Any) -> None: ...

    def add(self, prompt: object = _NOT_GIVEN, *, key: str | None = None, **fields: Any) -> None:
        """Add a prompt; the other arguments are those of `create_run`.

        It is in the journal once `run` begins or the block ends. What is there already, with the same content, is not
        added again, so a script may simply be started anew. Without a key, items are told apart by their content; of
        several with the same content, each is an item of its own. Under the key of an item that was rejected, other
        content corrects it.

        Args:
            prompt: what the agent is to do.
            fields: at Codegen `images`, which are read when they are sent, `metadata`, `repo_id`, `model` and
                `agent_type`; else what the dialect's `create` takes, as JSON.
            key: a name for the item, at most 200 characters, the first of them no `#`. Default: `#0`, `#1`, ..., as
                added when it was new.

        Raises:
            InvalidArgumentError: an argument cannot be right, nothing was added; later, from `run` or on leaving: the
                key is that of an item with other content.
        """
        self._opened()
        task = self._maker.task(fields if prompt is _NOT_GIVEN else {"prompt": prompt, **fields})
        name = f"#{self._unnamed}" if key is None else check_name(key)
        if self._added.get(name, (task, None))[0] != task:
            raise InvalidArgumentError("key", name, "another key, as an item of this one was added with other content")
        if key is None:
            self._unnamed += 1
            self._copies[task.content()] += 1
        self._added[name] = (task, None if key is not None else self._copies[task.content()])
        if self._runner is not None:
            self._runner.look()

    async def add_file(self, path: str | os.PathLike[str], *, whole: bool = False) -> Added:
        """Add the prompts of a file, all of them or, if one cannot be right, none.

        A `.jsonl` or `.json` file has objects with a `prompt` and, where wanted, `key`, `images` (a list), `metadata`,
        `repo_id`, `model` and `agent_type`; a `.csv` or `.tsv` file has these as columns, `images` as JSON or one path
        and `metadata` as JSON; a `.txt` file has a prompt a line. What else a line says comes out with the results.
        Paths of images are taken from the folder of the file. Without a key, an item is called `#<file>:<line>`, and is
        the item of the same content wherever that line was before; of several equal lines, each is an item of its own.

        For a dialect, objects and tables have `key` and the fields that its `create` takes; a cell is text, or JSON in
        a column whose name ends with a colon; a line of a `.txt` file is its `prompt_field`. Names that begin with `_`
        come out with the results. A field of which nothing would be sent cannot be right.

        The file may have changed since it was added before: what was not sent, or rejected, is corrected under its key,
        and left out where the file does not have it any more.

        Args:
            path: the file.
            whole: whether the file is all that is to be done: nothing else is left to be sent, whatever it came from.

        Raises:
            InvalidArgumentError: a line cannot be right, and which; an image is not there; or its key is that of an
                item with other content, which was sent.
            JournalError: the journal cannot be written to.
        """
        columns = CODEGEN if isinstance(self._client, CodegenClient) else DialectColumns(self._client.dialect)
        return await self.add_prompts(await aside(lambda: read_prompts(Path(path), columns=columns)), whole=whole)

    async def add_prompts(self, prompts: Prompts, *, whole: bool = False) -> Added:
        """Add the prompts of a file that was read already; see `add_file`."""
        await self._save_added()
        prompts.check()
        sent = await self._opened().sent()
        await asyncio.to_thread(prompts.look_at_images, sent)
        prompts.check()
        try:
            named = await asyncio.to_thread(prompts.named)
            added = await self._opened().add(named, source=prompts.name, folder=prompts.folder, whole=whole)
        except InvalidArgumentError as error:
            raise prompts.at_key(error) from None
        if self._runner is not None:
            self._runner.look()
        return added

    async def save(self) -> None:
        """Write to the journal what was added; from then on it survives this process.

        Raises:
            InvalidArgumentError: something bears the key of an item with other content, and is left out.
            JournalError: the journal cannot be written to; what was added is kept for another time.
        """
        await self._save_added()

    async def _save_added(self) -> None:
        journal = self._opened()
        async with self._saving:  # what somebody else is writing just now is not safe before that is done
            if not self._added:
                return
            added, self._added = self._added, {}
            try:
                await journal.add([(name, *what) for name, what in added.items()])
            except BaseException as error:
                if isinstance(error, InvalidArgumentError):
                    added.pop(str(error.value), None)  # it bears the key of another item
                self._added = added | self._added  # for another time
                raise
