"""From prompts to the ends of their runs, for scripts that keep no journal."""

from __future__ import annotations

import asyncio
import math
import os
from abc import abstractmethod
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping
from typing import Any, TypedDict, Unpack

import anyio
import msgspec

from codegen_async.arguments import LARGEST_ID, check_int, check_wait
from codegen_async.codegen.calls import CodegenCalls
from codegen_async.codegen.creating import check_fields
from codegen_async.codegen.images import check_images
from codegen_async.codegen.models import AgentRun
from codegen_async.codegen.webhooks import RunWebhook, check_webhooks
from codegen_async.errors import (
    AuthenticationError,
    ClientClosedError,
    CodegenAsyncError,
    InvalidArgumentError,
    NotFoundError,
    PermissionDeniedError,
    QuotaExceededError,
    RunError,
    own_copy,
)
from codegen_async.hosted.settling import OnUnknown
from codegen_async.models import Phase

# What refuses one create would refuse the next: the token, the plan, or that there is no repository.
_FOR_ALL = (AuthenticationError, PermissionDeniedError, QuotaExceededError, NotFoundError, ClientClosedError)
_CREATING = 20  # at once; their slots come ten a minute
_UNREAD = 1000  # results that may wait to be looked at before no prompt is taken any more


class CreateOptions(TypedDict, total=False):
    """Hold what else a run may be given; see `CodegenClient.create_run`."""

    images: Iterable[str | os.PathLike[str] | bytes]
    metadata: Mapping[str, Any] | None
    repo_id: int | None
    model: str | None
    agent_type: str | None
    webhooks: Iterable[RunWebhook]
    on_unknown: OnUnknown


class PromptResult(msgspec.Struct, frozen=True, kw_only=True):
    """Hold what became of one prompt of `CodegenClient.map`.

    Attributes:
        index: its place among the prompts, counted from 0.
        prompt: the prompt.
        run: the final snapshot of its run, whether it went well or not, or that of a run that is paused. With an error
            the last that was seen, None if there was none.
        error: why there is no final snapshot: the create failed, or the wait did. None if there is one.
    """

    index: int
    prompt: str
    run: AgentRun | None = None
    error: CodegenAsyncError | None = None

    @property
    def ok(self) -> bool:
        """Whether the run has ended well."""
        return self.error is None and self.run is not None and self.run.phase is Phase.SUCCEEDED

    def unwrap(self) -> AgentRun:
        """Return the final snapshot.

        Raises:
            CodegenAsyncError: there is none; it is the `error`.
        """
        if self.error is not None or self.run is None:
            raise self.error or RuntimeError("a result has a run or an error")
        return self.run


class PromptCalls(CodegenCalls):
    """Take prompts to the ends of their runs; a part of `CodegenClient`."""

    @abstractmethod
    async def create_run(
        self, prompt: str, *, idempotency_key: str | None = None, **options: Unpack[CreateOptions]
    ) -> AgentRun:
        """Start a run, once, and return its first snapshot."""

    async def run(
        self,
        prompt: str,
        *,
        idempotency_key: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - its error carries the last snapshot
        latency: float | None = None,
        raise_on_failure: bool = False,
        on_blocked: Callable[[AgentRun], Awaitable[object]] | None = None,
        **options: Unpack[CreateOptions],
    ) -> AgentRun:
        """Start a run, wait for it and return its final snapshot: `create_run` and `wait_for_run` in one.

        Cancelling it stops nothing at the server.

        Args:
            prompt: what the agent is to do.
            idempotency_key: as in `create_run`.
            timeout: seconds until the wait gives up, from the create on. Default: never.
            latency: seconds within which the run is looked at again. Default: the client's.
            raise_on_failure: as in `wait_for_run`.
            on_blocked: as in `wait_for_run`.
            options: the other arguments of `create_run`.

        Raises:
            CodegenAsyncError: as `create_run` and `wait_for_run`; of the latter each has the run.
        """
        wait = check_wait(timeout=timeout, latency=latency)
        run = await self.create_run(prompt, idempotency_key=idempotency_key, **options)
        return await self.wait_for_run(run, raise_on_failure=raise_on_failure, on_blocked=on_blocked, **wait)

    def map(
        self,
        prompts: Iterable[str],
        *,
        max_active: int | None = None,
        timeout: float | None = None,
        **options: Unpack[CreateOptions],
    ) -> AsyncGenerator[PromptResult]:
        """Make each prompt into a run and yield what became of it, as the runs end; each result has its prompt.

        For scripts that keep no journal: what was under way when the program ends goes on at the server, unseen. A
        `Batch` survives that. Creates keep their limit. A prompt whose create or wait fails is a result with an error,
        and so is every later one, unsent, after a refusal that holds for all (401, 402, 403, or no repository). A run
        that failed or is paused is a result, too: look at `ok`. Where the consumer leaves early, nothing more is
        created; close the iterator then (`contextlib.aclosing`).

        Args:
            prompts: the prompts; taken one by one, as their creates may begin.
            max_active: most runs under way at once. Default: what the limit of creates allows.
            timeout: seconds until the wait for a run gives up, from its create on. Default: never.
            options: the other arguments of `create_run`, for all of them.

        Raises:
            InvalidArgumentError: an argument other than a prompt cannot be right; nothing was sent.
        """
        if isinstance(prompts, str) or not isinstance(prompts, Iterable):  # pyright: ignore[reportUnnecessaryIsInstance] - not everybody checks types
            raise InvalidArgumentError("prompts", prompts, "a list of prompts")
        most = math.inf if max_active is None else check_int("max_active", max_active, 1, LARGEST_ID)
        wait = check_wait(timeout=timeout, latency=None)
        for_each = checked_options(options)
        self._linked()

        async def finish(run: AgentRun) -> AgentRun:
            return (await self.wait_for_runs([run], **wait))[0]

        return PromptMap(prompts, lambda prompt: self.create_run(prompt, **for_each), finish, most).results()


class PromptMap:
    """Make prompts into runs and wait for them, a task each.

    A prompt is taken when its create may begin, so the source may be endless.

    Args:
        prompts: the prompts.
        create: makes one into a run.
        finish: waits for the end of a run.
        max_active: how many may be under way, from before the create to the end.
    """

    def __init__(
        self,
        prompts: Iterable[str],
        create: Callable[[str], Awaitable[AgentRun]],
        finish: Callable[[AgentRun], Awaitable[AgentRun]],
        max_active: float,
    ) -> None:
        self._source = enumerate(prompts)
        self._create = create
        self._finish = finish
        self._max_active = max_active
        self._creating = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._results: asyncio.Queue[PromptResult | None] = asyncio.Queue()
        self._refusal: CodegenAsyncError | None = None
        self._failure: BaseException | None = None
        self._is_dry = False
        self._is_feeding = False

    async def results(self) -> AsyncGenerator[PromptResult]:
        """Yield the results as they come; however it ends, no task is left behind."""
        try:
            self._feed()
            while self._tasks or not self._results.empty():
                result = await self._results.get()
                if result is not None:
                    yield result
                self._feed()
            if self._failure is not None:
                raise self._failure
            if self._refusal is not None:
                for index, prompt in self._source:
                    await asyncio.sleep(0)  # there may be no end of them
                    yield PromptResult(index=index, prompt=prompt, error=own_copy(self._refusal))
        finally:
            self._is_dry = True
            await _end(self._tasks)

    def _feed(self) -> None:
        """Start what may start now."""
        if self._is_feeding:  # an eager task calls this before it is even known
            return
        self._is_feeding = True
        try:
            while self._may_start():
                self._start(*next(self._source))
        except StopIteration:
            self._is_dry = True
        except Exception as error:  # noqa: BLE001 - raised when what is under way has ended: it is paid for
            self._is_dry, self._failure = True, error
        finally:
            self._is_feeding = False

    def _may_start(self) -> bool:
        return (
            not self._is_dry
            and self._creating < _CREATING
            and len(self._tasks) < self._max_active
            and self._results.qsize() < _UNREAD
        )

    def _start(self, index: int, prompt: str) -> None:
        self._creating += 1
        task = asyncio.create_task(self._take(index, prompt))
        self._tasks.add(task)
        task.add_done_callback(self._taken)

    def _taken(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._is_dry, self._failure = True, error  # none of ours: the program is wrong somewhere
        self._feed()
        self._results.put_nowait(None)  # it may have left no result, and been the last

    async def _take(self, index: int, prompt: str) -> None:
        run: AgentRun | None = None
        error: CodegenAsyncError | None = None
        try:
            run = await self._created(prompt)
            run = await self._finish(run)
        except CodegenAsyncError as exc:
            error = exc
            seen = exc.run if isinstance(exc, RunError) else None
            run = seen if isinstance(seen, AgentRun) else run
        self._results.put_nowait(PromptResult(index=index, prompt=prompt, run=run, error=error))

    async def _created(self, prompt: str) -> AgentRun:
        try:
            return await self._create(prompt)
        except _FOR_ALL as error:
            self._is_dry, self._refusal = True, error
            raise
        finally:
            self._creating -= 1
            self._feed()


async def _end(tasks: set[asyncio.Task[None]]) -> None:
    """Cancel tasks and see them end, also where this is cancelled meanwhile."""
    for task in tuple(tasks):
        task.cancel()
    with anyio.CancelScope(shield=True):
        while tasks:
            await asyncio.wait(tasks)


def checked_options(options: CreateOptions) -> CreateOptions:
    """Return options that serve many creates: what can be read but once is read now.

    Raises:
        InvalidArgumentError: one of them cannot be right.
    """
    check_fields(
        "any",
        metadata=options.get("metadata"),
        repo_id=options.get("repo_id"),
        model=options.get("model"),
        agent_type=options.get("agent_type"),
    )
    kept = options.copy()
    if "images" in kept:
        kept["images"] = check_images(kept["images"])
    if "webhooks" in kept:
        kept["webhooks"] = check_webhooks(kept["webhooks"])
    return kept
