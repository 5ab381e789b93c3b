"""Waits for one run, as the clients of most dialects have them. Knows the base client, and no API."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Awaitable, Callable
from typing import TypeVar

from codegen_async.arguments import check_wait
from codegen_async.hosted.client import RunClient
from codegen_async.hosted.run import check_success
from codegen_async.models import RunId, RunLike

R = TypeVar("R", bound=RunLike)
Id = TypeVar("Id", bound=RunId)


class WaitCalls(RunClient[R, Id]):
    """Wait for runs; a part of clients."""

    @abstractmethod
    def _check_id(self, run_id: Id, field: str = "run_id") -> Id:
        """Return an id if it can be one of this dialect, else raise InvalidArgumentError."""

    async def wait_for_run(
        self,
        run: Id | R,
        *,
        timeout: float | None = None,  # noqa: ASYNC109 - its error carries the last snapshot
        latency: float | None = None,
        raise_on_failure: bool = False,
        on_blocked: Callable[[R], Awaitable[object]] | None = None,
    ) -> R:
        """Return the final snapshot of a run, when it has one.

        All waits of a client share one schedule: where the API shows many runs at once, a thousand cost little more
        than one. Outages of the server delay a wait and do not end it. Cancelling a wait stops nothing at the server,
        and disturbs no other wait.

        Args:
            run: the run or its id.
            timeout: seconds until this wait gives up; the time `on_blocked` takes does not count. Default: never.
            latency: seconds within which the run is looked at again. Default: the client's.
            raise_on_failure: raise if the run failed or was stopped. Default: that is a result, look at `run.phase`.
            on_blocked: called with the snapshot when the run is paused and needs a person; it should see to that (for
                example by `reply` or `resume_run`), and then waiting goes on: for the run that it returns, where a
                reply makes another one, else for the same. Without it a paused run raises.

        Raises:
            WaitTimeoutError: the time is over; has the last snapshot. The run goes on, and can be waited for again.
            RunBlockedError: the run is paused; has the snapshot.
            RunFailedError: it ended badly, and `raise_on_failure` is set.
            NotFoundError: the server says so for longer than the dialect lets new runs be unseen, a minute by default
                (five seconds for an id that was never seen).
            AuthenticationError, PermissionDeniedError: the token may not see the run; or it is refused everything,
                for five seconds and three looks, which ends all waits.
            RedirectedError: the base URL is wrong, or a login stands before it; ends all waits, after some seconds.
            ClientClosedError: the client was closed meanwhile.
        """
        final = await self._linked().waiting.wait_for_run(
            self._check_run(run), on_blocked=on_blocked, **check_wait(timeout=timeout, latency=latency)
        )
        if raise_on_failure:
            check_success(final)
        return final

    def notify(self, run_id: Id) -> None:
        """Look at a run now, because something says that it has changed (a webhook, say); does nothing if nobody waits.

        Raises:
            InvalidArgumentError: the id cannot be one.
        """
        self._linked().waiting.notify(self._check_id(run_id))
