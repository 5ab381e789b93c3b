"""Calls about agents and threads."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from functools import partial

from codegen_async.arguments import check_segment, check_text
from codegen_async.hosted.client import RunClient
from codegen_async.middesk import requests
from codegen_async.middesk.contexts import check_start
from codegen_async.middesk.models import MiddeskAgent, MiddeskRun, MiddeskThread, MiddeskThreadPage
from codegen_async.middesk.paging import check_place, walk
from codegen_async.recent import Recent


class ThreadCalls(RunClient[MiddeskRun, str]):
    """Look at agents, and start and read threads; a part of `MiddeskClient`."""

    _fresh: Recent[str, asyncio.Lock]
    """Threads that this client has made, and in which it has started no run."""

    async def list_agents(self) -> tuple[MiddeskAgent, ...]:
        """Return the agents that the account may use ("List agents").

        Raises:
            APIError: they could not be had.
        """
        return await self._carry(requests.agents())

    async def get_agent(self, agent_id: str) -> MiddeskAgent:
        """Return an agent that the account may use ("Retrieve an agent").

        Raises:
            InvalidArgumentError: the id cannot be one.
            NotFoundError: there is no such agent.
            APIError: any other failure.
        """
        return await self._carry(requests.agent(check_segment("agent_id", agent_id)))

    async def create_thread(
        self,
        type: str,  # noqa: A002 - the vendor's word
        *,
        business_id: str | None = None,
        context_type: str | None = None,
        context_id: str | None = None,
    ) -> MiddeskThread:
        """Start a thread, to which runs can belong ("Create an agent thread").

        Args:
            type: the type of an agent, see `list_agents`.
            business_id: the business it is about.
            context_type: the kind of thing it is about instead of a business.
            context_id: the thing.

        Raises:
            InvalidArgumentError: an argument cannot be right; nothing was sent.
            NotFoundError: there is no such type of agent.
            OutcomeUnknownError: it was sent, and whether there is a thread now is unknown.
            APIError: any other failure; there is no thread.
        """
        fields = {
            "type": type,
            "business_id": business_id,
            "context_type": context_type,
            "context_id": context_id,
        }
        thread = await self._carry(requests.create_thread(check_start(fields)))
        self._fresh[thread.id] = asyncio.Lock()
        return thread

    async def get_thread(self, thread_id: str) -> MiddeskThread:
        """Return a thread as it is now ("Retrieve an agent thread").

        Raises:
            InvalidArgumentError: the id cannot be one.
            NotFoundError: there is no such thread.
            APIError: any other failure.
        """
        return await self._carry(requests.thread(check_segment("thread_id", thread_id)))

    def list_threads(
        self, *, business_id: str | None = None, page_size: int | None = None
    ) -> AsyncGenerator[MiddeskThread]:
        """Yield the account's threads, page after page, each once ("List agent threads").

        The order is the server's, and pages are numbered as those of `list_runs`.

        Args:
            business_id: only threads about this business.
            page_size: threads asked for at a time. Default: the server's, which is not documented.

        Raises:
            InvalidArgumentError: an argument cannot be right.
            APIError: a page could not be had.
        """
        return walk(partial(self.list_threads_page, business_id=business_id), page_size)

    async def list_threads_page(
        self, *, business_id: str | None = None, page: int | None = None, per_page: int | None = None
    ) -> MiddeskThreadPage:
        """Return one page of the account's threads ("List agent threads").

        Args:
            business_id: only threads about this business.
            page: its number; that of the first is not documented. Default: the first.
            per_page: threads on a page; the most allowed is not documented. Default: the server's.

        Raises:
            InvalidArgumentError: an argument cannot be right.
            APIError: the page could not be had.
        """
        business = None if business_id is None else check_text("business_id", business_id)
        return await self._carry(requests.threads(*check_place(page, per_page), business))
