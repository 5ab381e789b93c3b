"""Make many prompts into runs, each exactly once, and go on where it stood after whatever has happened."""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Self, cast, overload

import anyio

from codegen_async.arguments import check_id, check_text
from codegen_async.batch.adding import Adding
from codegen_async.batch.answering import Answering
from codegen_async.batch.bounds import Bounds, check_most
from codegen_async.batch.codegen import CodegenMaker
from codegen_async.batch.ending import until_done
from codegen_async.batch.hosted import HostedMaker
from codegen_async.batch.items import Id, Outcome, R, Task
from codegen_async.batch.journal import Journal, driving
from codegen_async.batch.making import Maker
from codegen_async.batch.outside import export_journal, journal_status
from codegen_async.batch.readers import Where
from codegen_async.batch.runner import Runner
from codegen_async.codegen.client import CodegenClient
from codegen_async.codegen.models import AgentRun
from codegen_async.errors import ClientClosedError, InvalidArgumentError
from codegen_async.events import ItemChanged
from codegen_async.hosted.run import HostedRun
from codegen_async.hosted.runs import HostedRuns
from codegen_async.middesk.client import MiddeskClient

__all__ = ["Batch", "export_journal", "journal_status"]


class Batch(anyio.AsyncContextManagerMixin, Adding[R, Id], Answering[R, Id]):
    """Drive many prompts to the ends of their runs, with a journal that outlives the process.

    Use it as `async with Batch(client, "batch.db") as batch:`. Whatever happens to the process, the next one that opens
    the journal goes on where it stood: no prompt is lost and none is made into two runs, see "Exactly once" in the
    documentation. The file holds prompts and results and is readable to its owner only.

    Args:
        client: an open client: a `CodegenClient`, a `MiddeskClient`, or a `HostedRuns` of any dialect. A journal is of
            one API for good.
        path: the journal; made if it is not there.
        repo_id: the repository for prompts that name none, at Codegen; a setting that the journal does not keep, as
            it is no part of a prompt. Default: the server's choice.
        adopt: take over a journal that this user did not make here, or whose server has another address now. Default:
            such a journal is refused, as its prompts would be run with your token, or its runs be looked for where they
            are not. It belongs to its organization for good.
        clock: returns wall-clock seconds, which cross processes. Default: `time.time`; another one is for tests.

    Raises:
        InvalidArgumentError: `client` is none of these, or `repo_id` cannot be one.
        JournalError: on entering: the file cannot be used, another process drives it, it belongs to another server or
            organization, or somebody else made it.
        ClientClosedError: on entering: the client is not open; from any method: the block has ended.
    """

    @overload
    def __init__(
        self: Batch[AgentRun, int],
        client: CodegenClient,
        path: str | os.PathLike[str],
        *,
        repo_id: int | None = None,
        adopt: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None: ...

    @overload
    def __init__(
        self: Batch[HostedRun, str],
        client: HostedRuns[Any] | MiddeskClient,
        path: str | os.PathLike[str],
        *,
        adopt: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None: ...

    def __init__(
        self,
        client: CodegenClient | MiddeskClient | HostedRuns[Any],
        path: str | os.PathLike[str],
        *,
        repo_id: int | None = None,
        adopt: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        if not isinstance(client, CodegenClient | MiddeskClient | HostedRuns):  # pyright: ignore[reportUnnecessaryIsInstance] - not everybody checks types
            raise InvalidArgumentError("client", client, "a CodegenClient, a MiddeskClient or a HostedRuns")
        self.path: Path = Path(path)
        self._repo_id = None if repo_id is None else check_id("repo_id", repo_id)
        self._client: Any = client
        self._clock = clock
        self._journal: Journal | None = None
        self._runner: Runner[Any] | None = None
        self._driver: asyncio.Task[None] | None = None
        self._stopped = False
        self._paused = False
        self._max_active: int | None = None
        self._adopt = adopt
        self._added: dict[str, tuple[Task, int | None]] = {}
        self._answering: dict[int, asyncio.Event] = {}  # by the numbers of items; set when that is over
        self._copies: Counter[bytes] = Counter()  # of each content, added without a key
        self._unnamed = 0  # these, in all

    @property
    def place(self) -> Where:
        """Where its items are, for who reads them from outside."""
        return self.path

    async def open(self) -> Self:
        """Open the batch where no block fits, and return it; end it with `aclose`.

        Raises:
            JournalError, ClientClosedError: as on entering a block.
        """
        await self.__aenter__()
        return self

    async def aclose(self) -> None:
        """Write down what was added, end a run that is on, and let others have the journal."""
        if self._journal is not None:
            await self.__aexit__(None, None, None)

    @asynccontextmanager
    async def __asynccontextmanager__(self) -> AsyncGenerator[Self]:
        self._client.check_open()
        self._maker = self._new_maker()
        async with driving(self.path, self._clock, self._maker.account, adopt=self._adopt) as journal:
            with self._client.remembering(journal.memory, self._clock):
                self._journal = journal
                self._saving = asyncio.Lock()  # of this loop
                try:
                    if self._client.reporter.listening:
                        await journal.watch(self._tell)
                    yield self
                    await self._save_added()
                finally:
                    self._journal = self._runner = None
                    await self._end_driver()

    def _tell(self, name: str, state: str) -> None:
        self._client.reporter.tell(ItemChanged(name, state, str(self.path)))

    def _new_maker(self) -> Maker[Any]:
        if isinstance(self._client, CodegenClient):
            return CodegenMaker(self._client, self._repo_id)
        return HostedMaker(self._client)

    # -- deciding about what is in it

    async def resend(self, *keys: str) -> None:
        """Let `run` send items again that are `unknown` or `rejected`: the decision of a person.

        Raises:
            InvalidArgumentError: there is no such item, or it is neither.
            JournalError: the journal cannot be written to.
        """
        await self._opened().release([check_text("key", key) for key in keys])
        if self._runner is not None:
            self._runner.look()

    async def retry(self, *keys: str, failed: bool = False) -> Sequence[str]:
        """Let `run` make another attempt at items, with a key and a run of its own, and return their keys.

        The run of the earlier attempt stays in the journal. Those named may also be `rejected` or `unknown`, as for
        `resend`, or have a run that is not found any more: the decision of a person.

        Args:
            keys: of the items.
            failed: also all that have ended, but not well.

        Raises:
            InvalidArgumentError: one of the keys is of no such item; nothing was changed.
            JournalError: the journal cannot be written to.
        """
        await self._save_added()
        again = await self._opened().try_again([check_text("key", key) for key in keys], failed=failed)
        if self._runner is not None:
            self._runner.look()
        return again

    # -- running it

    def run(
        self,
        *,
        max_active: int | None = None,
        max_attempts: int = 1,
        max_runs: int | None = None,
        max_failures: int | None = None,
        acknowledge: bool = True,
    ) -> AsyncGenerator[Outcome[R, Id]]:
        """Create a run for each item, wait for all of them, and yield an outcome for each as it comes.

        What an earlier process began is gone on with. An outcome counts as handed out when the next one is asked for;
        those that were not are yielded again by the next `run`, those that were are not. Leaving the loop early leaves
        at once; see `stop` for another way.

        Args:
            max_active: most items that may be under way at once. Default: as many as the create limit allows.
            max_attempts: most runs to be created for an item whose runs fail. Default 1: a failed run is a result.
            max_runs: most runs that the batch may make, over all its lives. Default: no such bound.
            max_failures: most prompts in a row that may fail or be rejected before it creates no more. Default: no such
                bound.
            acknowledge: whether to note at once what counts as handed out. If not, call `acknowledge`: what was not
                noted when the process dies is yielded again by the next one.

        Raises:
            InvalidArgumentError: an argument cannot be right, or what was added bears the key of another item.
            BatchPausedError: the plan's runs are used up, or a bound is reached, and what was running has come to its
                end; or the token is refused, which stops everything. To go on, see to it and run it again.
            JournalError: the journal cannot be written to; run it again when that is mended.
            APIError: the answers of the server make no sense.
        """
        bounds = Bounds.checked(max_attempts=max_attempts, max_runs=max_runs, max_failures=max_failures)
        return self._drive(bounds, check_most("max_active", max_active), serving=False, note=acknowledge)

    async def acknowledge(self) -> None:
        """Note that what `run` has handed out has arrived where it was to go, and is not to be yielded again."""
        await self._opened().handed_out()

    def serve(
        self,
        *,
        max_active: int | None = None,
        max_attempts: int = 1,
        max_runs: int | None = None,
        max_failures: int | None = None,
        acknowledge: bool = True,
    ) -> AsyncGenerator[Outcome[R, Id]]:
        """Do as `run` does, but wait for more when all is done: a durable queue behind a service.

        Add prompts at any time, `save` them before you promise anything, and end it by `stop` or by leaving the loop.
        The arguments and errors are those of `run`.
        """
        bounds = Bounds.checked(max_attempts=max_attempts, max_runs=max_runs, max_failures=max_failures)
        return self._drive(bounds, check_most("max_active", max_active), serving=True, note=acknowledge)

    async def _drive(
        self, bounds: Bounds, max_active: int | None, *, serving: bool, note: bool = True
    ) -> AsyncGenerator[Outcome[R, Id]]:
        journal = self._opened()
        self._check_idle()
        self._max_active = max_active or self._max_active
        runner = self._new_runner(bounds, serving=serving)
        if self._paused:
            runner.pause()
        if self._stopped:
            runner.stop()
        self._runner = runner
        try:
            await self._save_added()
            more = True
            while more:
                driver = self._driver = asyncio.create_task(runner.run())
                driver.add_done_callback(lambda _: runner.news.set())
                over = False
                while not over:
                    runner.news.clear()
                    over = driver.done()  # what it wrote is seen from here on
                    while outcomes := await journal.to_hand_out():
                        for place, outcome in outcomes:
                            yield cast("Outcome[R, Id]", outcome)
                            await journal.handed_out(place, note=note)
                    if not over:
                        await runner.news.wait()
                await driver
                # The last outcomes may have moved the caller to answer a run, or to add something.
                more = bool(runner.answered) or (
                    not self._stopped and (bool(self._added) or await journal.has_planned())
                )
        finally:
            if self._runner is runner:  # else this is a loop that was left, and the batch is run again
                self._runner = None
                await self._end_driver()

    def _new_runner(self, bounds: Bounds, *, serving: bool) -> Runner[Any]:
        return Runner(
            self._maker,
            self._opened(),
            self._save_added,
            bounds,
            self._answering,
            max_active=self._max_active,
            serving=serving,
        )

    def stop(self) -> None:
        """Create no more runs: `run` goes on until those that were created have ended, then it ends.

        Items that were not sent stay planned; open the journal again to go on with them.
        """
        self._stopped = True
        if self._runner is not None:
            self._runner.stop()

    def pause(self) -> None:
        """Create no more runs until `resume`; those that were created go on, and `run` waits."""
        self._paused = True
        if self._runner is not None:
            self._runner.pause()

    def resume(self) -> None:
        """Create runs again after `pause`."""
        self._paused = False
        if self._runner is not None:
            self._runner.resume()

    @property
    def max_active(self) -> int | None:
        """Most items that may be under way at once; None: as many as the create limit allows. May be set at any time.

        Raises:
            InvalidArgumentError: on setting: it is no number from 1.
        """
        return self._max_active

    @max_active.setter
    def max_active(self, value: int | None) -> None:
        self._max_active = check_most("max_active", value)
        if self._runner is not None:
            self._runner.max_active = self._max_active
            self._runner.look()

    async def _end_driver(self) -> None:
        driver, self._driver = self._driver, None
        if driver is not None:
            driver.cancel()
            await until_done(driver)  # what it still writes is written before others get the journal
            if not driver.cancelled():
                driver.exception()  # told already, or of no use any more

    # -- helpers

    def _check_idle(self) -> None:
        if self._runner is not None:
            raise RuntimeError("this batch is being run already; to leave a run early, close it: contextlib.aclosing")

    def _opened(self) -> Journal:
        if self._journal is None:
            raise ClientClosedError("use the batch inside its block: async with Batch(client, path) as batch: ...")
        return self._journal
