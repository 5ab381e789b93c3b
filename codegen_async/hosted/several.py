"""Waits for several runs at once, as all clients have them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Iterable
from typing import Generic, Literal, TypeVar, overload

from codegen_async.arguments import check_wait
from codegen_async.errors import InvalidArgumentError
from codegen_async.hosted.link import Link
from codegen_async.models import RunId, RunLike

R = TypeVar("R", bound=RunLike)
Id = TypeVar("Id", bound=RunId)


class SeveralWaits(ABC, Generic[R, Id]):
    """Wait for several runs; a part of clients."""

    @abstractmethod
    def _linked(self) -> Link[R]:
        """Return what an open client has, else raise ClientClosedError."""

    @abstractmethod
    def _check_run(self, run: Id | R) -> Id | R:
        """Return a run or an id if it can be one of this dialect, else raise InvalidArgumentError."""

    @overload
    async def wait_for_runs(
        self,
        runs: Iterable[Id | R],
        *,
        timeout: float | None = None,  # noqa: ASYNC109 - its error names the run
        latency: float | None = None,
        return_exceptions: Literal[False] = False,
    ) -> list[R]: ...

    @overload
    async def wait_for_runs(
        self,
        runs: Iterable[Id | R],
        *,
        timeout: float | None = None,  # noqa: ASYNC109 - its error names the run
        latency: float | None = None,
        return_exceptions: bool,
    ) -> list[R | Exception]: ...

    async def wait_for_runs(
        self,
        runs: Iterable[Id | R],
        *,
        timeout: float | None = None,  # noqa: ASYNC109 - its error names the run
        latency: float | None = None,
        return_exceptions: bool = False,
    ) -> list[R] | list[R | Exception]:
        """Return the final snapshots of runs, in the order given.

        A run that failed is a result like any other, and so is one that is paused: it does not move by itself. Look at
        `run.phase`. A run that is not found, or refused, costs the others nothing: all of them are waited for before
        anything is raised; to have their snapshots nevertheless, ask for exceptions as results, or use `as_completed`.

        Args:
            runs: runs or ids.
            timeout: seconds until the wait for all of them gives up. Default: never.
            latency: seconds within which each is looked at again. Default: the client's.
            return_exceptions: put the error of a run that was not found, was refused, or has not ended in time, in its
                place in the list, as `asyncio.gather` does. Default: raise.

        Raises:
            WaitTimeoutError: the time is over; names the first run that has not ended.
            NotFoundError, PermissionDeniedError: there is no such run, or the token may not see it; raised when all
                others have ended.
            APIError, ClientClosedError: as `wait_for_run`; what ends all waits is raised in any case.
        """
        waiting, wait = self._linked().waiting, check_wait(timeout=timeout, latency=latency)
        gather = waiting.gather_runs if return_exceptions else waiting.wait_for_runs
        return await gather(self._check_runs(runs), **wait)

    def as_completed(
        self, runs: Iterable[Id | R], *, timeout: float | None = None, latency: float | None = None
    ) -> AsyncGenerator[R]:
        """Yield the final snapshot of each run as it ends, or of one that is paused; each run once.

        A run that is not found, or refused, costs the others nothing: they are yielded before its error is raised.

        Args:
            runs: runs or ids.
            timeout: seconds until the wait for all of them gives up. Default: never.
            latency: seconds within which each is looked at again. Default: the client's.

        Raises:
            WaitTimeoutError: the time is over; names the first run that has not ended.
            NotFoundError, PermissionDeniedError: there is no such run, or the token may not see it; raised when all
                others have ended.
            APIError, ClientClosedError: as `wait_for_run`.
        """
        return self._linked().waiting.as_completed(
            self._check_runs(runs), **check_wait(timeout=timeout, latency=latency)
        )

    def watch(
        self,
        runs: Iterable[Id | R],
        *,
        timeout: float | None = None,
        latency: float | None = None,
        changes: Literal["phase", "any"] = "phase",
    ) -> AsyncGenerator[R]:
        """Yield a first snapshot of each run and one at every change of its phase, until all have ended.

        A run that is not found, or refused, costs the others nothing: its error is raised when they have ended.

        Args:
            runs: runs or ids.
            timeout: seconds until it gives up. Default: never.
            latency: seconds within which each is looked at again. Default: the client's.
            changes: `phase` (default), or `any`: also where anything else of a snapshot differs. No look is made for
                that alone: what lists do not show may be seen late, and at the end at the latest.

        Raises:
            InvalidArgumentError: an argument cannot be right.
            WaitTimeoutError: the time is over; names the first run that has not ended.
            NotFoundError, PermissionDeniedError: there is no such run, or the token may not see it; raised when all
                others have ended.
            APIError, ClientClosedError: as `wait_for_run`.
        """
        if changes not in ("phase", "any"):
            raise InvalidArgumentError("changes", changes, "phase or any")
        wait = check_wait(timeout=timeout, latency=latency)
        return self._linked().waiting.watch(self._check_runs(runs), whole=changes == "any", **wait)

    def _check_runs(self, runs: Iterable[Id | R]) -> Iterable[Id | R]:
        if isinstance(runs, str) or not isinstance(runs, Iterable):  # pyright: ignore[reportUnnecessaryIsInstance] - as above
            raise InvalidArgumentError("runs", runs, "a list of runs or ids")
        return map(self._check_run, runs)
