"""Calls that start runs, once, each in a thread by which it is found again."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

from codegen_async.arguments import check_patience, check_segment, check_text
from codegen_async.errors import InvalidArgumentError
from codegen_async.hosted.creating import Creating
from codegen_async.middesk.contexts import check_context
from codegen_async.middesk.models import MiddeskRun
from codegen_async.middesk.threads import ThreadCalls


class StartCalls(ThreadCalls):
    """Start runs and find them again; a part of `MiddeskClient`."""

    _creating: Creating[MiddeskRun]  # made when the client is opened

    @property
    def creating(self) -> Creating[MiddeskRun]:
        """The single steps of a create, for those who keep a journal."""
        self._linked()
        return self._creating

    async def create_run(
        self,
        type: str,  # noqa: A002 - the vendor's word
        *,
        business_id: str | None = None,
        context_type: str | None = None,
        context_id: str | None = None,
        thread_id: str | None = None,
        patience: float | None = None,
    ) -> MiddeskRun:
        """Start a run, once, and return its first snapshot ("Create an agent run").

        It needs a business, another context, or a thread. The API knows no idempotency key, but shows the thread of
        each run, so that without `thread_id` a thread is made for the run first, by one request more. Where the answer
        to the create is lost, the list is looked through for the run of that thread, several times within the client's
        `settle` time, before anything is raised. The same goes for a thread from `create_thread` of this client, as
        long as no other run was started in it; of any other thread a lost create stays unknown.

        Args:
            type: the type of an agent, see `list_agents`.
            business_id: the business it is about.
            context_type: the kind of thing it is about instead of a business.
            context_id: the thing.
            thread_id: the thread it is to belong to. Default: a new one.
            patience: seconds that each request may wait for its slot; to look for a run has its own time. Default: as
                long as it takes.

        Raises:
            InvalidArgumentError: an argument cannot be right; nothing was sent.
            LimiterBusyError: a slot is further away than `patience`; there is no run.
            NotFoundError: there is no such thread, or no such type of agent.
            InvalidRequestError: the server refuses it, for example as the business is in audit.
            CreateOutcomeUnknownError: it was sent, looked for and not found; has the id of the thread as its `key`.
            OutcomeUnknownError: it was sent in a thread with other runs, and whether there is a run now is unknown.
            APIError: any other failure; there is no run.
        """
        context = check_context(business_id, context_type, context_id)
        if thread_id is not None:
            check_text("thread_id", thread_id)
        elif not context:
            raise InvalidArgumentError("business_id", None, "this, context_type and context_id, or thread_id")
        fields = {"type": check_text("type", type), **context}
        seconds = check_patience(patience)
        link = self._linked()
        run = await self._start(fields, thread_id, seconds)
        self.reporter.tell_phase(run, None)
        link.waiting.seen(run)
        return run

    async def _start(self, fields: Mapping[str, Any], thread_id: str | None, patience: float | None) -> MiddeskRun:
        """Start a run in a thread; only of a thread that has no other run, the list tells whether there is one."""
        if thread_id is None:
            return await self._creating.create(None, fields, patience=patience)
        fresh = self._fresh.get(thread_id)
        async with fresh or contextlib.nullcontext():  # who comes second waits until it is known what came first
            if thread_id not in self._fresh:
                call = self.dialect.create(thread_id, fields)
                return await self._linked().calls.run(call, patience=patience)
            try:
                return await self._creating.create(thread_id, fields, patience=patience)
            finally:
                del self._fresh[thread_id]

    async def find_run_by_key(self, key: str) -> MiddeskRun | None:
        """Return the run of a thread that was made for it, or None if the list does not show it.

        None proves nothing: a list may lag.

        Args:
            key: the id of the thread, as `CreateOutcomeUnknownError` carries it.

        Raises:
            InvalidArgumentError: the id cannot be one.
            APIError: a page could not be had.
        """
        name = check_segment("key", key)
        self._linked()
        return await self._creating.finding.find(name, None)
