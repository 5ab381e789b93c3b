"""Calls that stop agents."""

from __future__ import annotations

from codegen_async.arguments import check_id
from codegen_async.codegen.calls import CodegenCalls
from codegen_async.errors import OutcomeUnknownError
from codegen_async.hosted.dialect import Call


class StopCalls(CodegenCalls):
    """Stop what works on a pull request; a part of `CodegenClient`."""

    async def stop_run(self, run_id: int) -> None:
        """Stop all agents that work on the pull request of a run ("Ban All Checks For Agent Run").

        The API has no call that stops one run. What it has, and calls a ban, goes for the run's pull request: later
        events of its checks start no agent any more, and all agents that work on it now are stopped, those of other
        runs too. What happens to a run without a pull request is not documented, nor is the answer, so that nothing is
        returned: `wait_for_run` tells what has become of the run, and waits for it look at once. No limit is stated; 10
        per 60 s is kept, for this and `remove_from_pr` together.

        Raises:
            InvalidArgumentError: the id cannot be one.
            NotFoundError: there is no such run.
            OutcomeUnknownError: it was sent, and whether agents were stopped is unknown.
            APIError: any other failure; nothing was stopped.
        """
        await self._stop(check_id("run_id", run_id), self.dialect.stop(run_id))

    async def remove_from_pr(self, run_id: int) -> None:
        """Take the vendor's agents off the pull request of a run ("Remove Codegen From Pr").

        By the vendor's page it does what `stop_run` does, under a friendlier name, and all that is said there goes for
        it as well. The pull request itself stays as it is.

        Raises:
            InvalidArgumentError: the id cannot be one.
            NotFoundError: there is no such run.
            OutcomeUnknownError: it was sent, and whether agents were stopped is unknown.
            APIError: any other failure; nothing was stopped.
        """
        await self._stop(check_id("run_id", run_id), self.dialect.remove_from_pr(run_id))

    async def _stop(self, run_id: int, call: Call[None]) -> None:
        link = self._linked()
        try:
            await link.calls.carry(call)
        except OutcomeUnknownError:
            link.waiting.notify(run_id)
            raise
        link.waiting.notify(run_id)
