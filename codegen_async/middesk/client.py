"""The client of the Middesk agent-run API."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec

from codegen_async.arguments import (
    check_json,
    check_json_object,
    check_patience,
    check_seconds_given,
    check_segment,
    check_text,
    check_wait,
)
from codegen_async.errors import (
    APIError,
    InvalidArgumentError,
    OutcomeUnknownError,
)
from codegen_async.events import Observer
from codegen_async.hosted.calls import Calls
from codegen_async.hosted.creating import Creating
from codegen_async.hosted.places import Places
from codegen_async.hosted.setup import secrets_of
from codegen_async.hosted.snapshots import Snapshots
from codegen_async.http.transport import Sender
from codegen_async.limits import Rate
from codegen_async.middesk import requests
from codegen_async.middesk.dialect import RATE, MiddeskDialect
from codegen_async.middesk.free import dec_hook
from codegen_async.middesk.homes import check_host, home_of
from codegen_async.middesk.interrupts import Answering, InterruptBook, InterruptHandler
from codegen_async.middesk.looking import LookCalls
from codegen_async.middesk.models import PHASES, MiddeskRun, Rating, RunFeedback, WebhookEvent
from codegen_async.middesk.remote import MiddeskRemote
from codegen_async.middesk.starting import StartCalls
from codegen_async.middesk.webhooks import SeenEvents
from codegen_async.models import Phase, Vocabulary
from codegen_async.polling import NumberedListing, PollSchedule
from codegen_async.recent import Recent
from codegen_async.settings import Fleet, Timeouts, check_base_url, check_phases

_LONGEST_COMMENT = 5000
_FRESH = 1000  # threads that are remembered as having no run yet
_PAGES_PART = 2  # every second poll may be a page; the other is for what a page cannot show, or only hints at


def resume_body(interrupt_id: str, answer: object) -> dict[str, Any]:
    """Return the body of a resume, as far as the vendor's page of a run describes it: an id and an input."""
    return {"id": interrupt_id, "input": answer}


class MiddeskClient(StartCalls, LookCalls):
    """Start Middesk agent runs, answer what they ask and wait for them, within the API's rate limit.

    Use it as `async with MiddeskClient() as client:`. All methods may be called concurrently. The limit holds if there
    is one client per customer, so one client serves a whole application.

    GETs are tried up to four times after connection failures, timeouts, 408, 421, 425, 429 and 5xx. A create, resume or
    feedback has no idempotency key, so it is only repeated where the server provably did not act (no connection, 421,
    425, 429); a create whose answer was lost is looked for.

    Args:
        token: the API key. Default: the environment variable `MIDDESK_API_KEY`. Keys that begin with `mk_test_` are for
            the sandbox only, those with `mk_live_` for the live API only; anything else is refused here.
        base_url: where the API is. Default: `MIDDESK_API_BASE_URL`, else where the key belongs:
            https://api-sandbox.middesk.com or https://api.middesk.com. http is refused except towards this machine.
        latency: seconds within which every run that is waited for is looked at again. Default 5, which the limit allows
            for 80 runs at a time, and for a few thousand where "List agent runs" turns out to be newest first; more
            runs are looked at less often. 0 spends all of `share`.
        share: part of the limit that waiting may spend; the rest is left to your own calls. Default 0.8.
        rate: the limit over all endpoints. Default: the vendor's, 20 requests per second.
        processes: how many processes use the token at once, each through such a client: each keeps to its part of the
            stated limits. Default 1.
        timeouts: bounds of a single attempt. Default: 10 s to connect, 30 s without a byte, 60 s in all (`Timeouts()`).
        max_body: bytes an answer may have, after decompression, or one event of a stream. Default 32 MiB, a
            hundred times a full list page.
        proxy: an HTTP proxy to reach the server through, such as `http://user:password@proxy.example:3128`; it tunnels
            TLS, and so sees no token. A server on this machine is reached without it. Default: none; none is taken from
            the environment.
        settle: seconds over which a create whose answer was lost is looked for. Default 60: longer than a gateway keeps
            a request that it has given up on.
        resume_body: makes the body of a resume from an interrupt's id and an input. Default: `{"id": ..., "input":
            ...}`, since the vendor names both but publishes no field names.
        phases: what status words stand for that the vendor's pages do not know, such as `{"ABORTED": Phase.FAILED}`. An
            unknown word reads as running, and a run that sits in it is logged. Default: none.
        observe: called with what the client does, after the fact and on its loop: see `codegen_async.events`. What it
            raises is logged once. Default: nobody is told.
        memory: a file in which it is remembered when requests were sent, so that a restart spends no second burst; made
            if there is none. One file for each token, on a local file system. Default: nothing is remembered.
        fleet: where all processes meet that use the token, to share its limits: `sqlite:/path` for those of one host,
            `postgresql://...`, `redis://...` or `rediss://...`, or a `Fleet`. Default: `CODEGEN_FLEET`, else this
            process is alone.
        sender: what talks to the server, for tests. The client closes it. Default: aiohttp.

    Raises:
        ConfigurationError: one of these is missing or cannot be right.
    """

    def __init__(
        self,
        token: str | None = None,
        *,
        base_url: str | None = None,
        latency: float = 5.0,
        share: float = 0.8,
        rate: Rate = RATE,
        processes: int = 1,
        timeouts: Timeouts | None = None,
        max_body: int = 32 * 2**20,
        proxy: str | None = None,
        settle: float = 60.0,
        resume_body: Callable[[str, Any], Mapping[str, Any]] = resume_body,
        phases: Mapping[str, Phase | str] | None = None,
        observe: Observer | None = None,
        memory: str | os.PathLike[str] | None = None,
        fleet: str | Fleet | None = None,
        sender: Sender | None = None,
    ) -> None:
        try:
            secrets = secrets_of(token, proxy, MiddeskDialect.token_variable, fleet=fleet)
        finally:
            del token, proxy, fleet  # crash reporters show the variables of functions that raise
        self._resume_body = resume_body
        self._fresh = Recent(_FRESH)
        self._book = InterruptBook()
        self._seen = SeenEvents()
        super().__init__(
            MiddeskDialect(),
            secrets,
            base_url=check_base_url(base_url or os.environ.get("MIDDESK_API_BASE_URL") or home_of(secrets.token)),
            words=Vocabulary(PHASES, check_phases(phases)),
            rates={requests.ENDPOINT: rate},
            settle=settle,
            latency=latency,
            share=share,
            processes=processes,
            timeouts=timeouts,
            max_body=max_body,
            observe=observe,
            memory=memory,
            sender=sender,
            is_old=self._book.is_old,
            end_of=lambda run: tuple(one.id for one in run.interrupts) or run.ended_at,
        )
        check_host(self.base_url, secrets.token)

    def __repr__(self) -> str:
        return f"MiddeskClient(base_url={self.base_url!r})"

    # -- answering

    async def resume_run(
        self,
        run_id: str,
        interrupt_id: str,
        input: Any,  # noqa: A002 - the vendor's word
        *,
        body: Mapping[str, Any] | None = None,
        include_steps: bool = False,
        patience: float | None = None,
    ) -> MiddeskRun | None:
        """Answer an interrupt, so that the run goes on; return the run as the server then shows it.

        The vendor names this call and what it carries, and publishes neither field names nor the answer. It is sent
        whenever it is asked for; waits then take the interrupt for answered, although the server may still show it.

        Args:
            run_id: the run.
            interrupt_id: the interrupt, from `run.interrupts`.
            input: the answer: JSON.
            body: the whole body, to be sent instead of what the client's `resume_body` makes.
            include_steps: ask for the run's steps.
            patience: seconds that it may wait for a slot. Default: as long as it takes.

        Returns:
            The run, or None if the server's answer is no run.

        Raises:
            InvalidArgumentError: an argument cannot be right; nothing was sent.
            LimiterBusyError: a slot is further away than `patience`; nothing was done.
            NotFoundError: there is no such run.
            OutcomeUnknownError: it was sent, and whether the run goes on is unknown.
            APIError: any other failure; the run is as it was.
        """
        check_segment("run_id", run_id)
        check_text("interrupt_id", interrupt_id)
        content = self._resume_body(interrupt_id, check_json("input", input)) if body is None else body
        call = requests.resume(run_id, check_json_object("body", content), include_steps=include_steps)
        seconds = check_patience(patience)
        link = self._linked()
        self._book.answer(run_id, interrupt_id)
        sent = asyncio.Event()
        try:
            run = await link.calls.carry(call, on_sent=sent.set, patience=seconds)
        except BaseException as error:
            refused = isinstance(error, APIError) and not isinstance(error, OutcomeUnknownError)
            if refused or not sent.is_set():  # else it counts as answered, as it must not be answered twice
                self._book.withdraw(run_id, interrupt_id)
            else:
                link.waiting.reopened(run_id)  # perhaps
            raise
        link.waiting.reopened(run_id)
        if run is None:
            link.waiting.notify(run_id)
        else:
            link.waiting.seen(link.calls.known(run))
        return run

    async def submit_feedback(
        self, run_id: str, *, rating: str, artifact_id: str, comment: str | None = None
    ) -> RunFeedback:
        """Rate what a run found ("Submit agent run feedback").

        Args:
            run_id: the run.
            rating: `POSITIVE` or `NEGATIVE`, see `Rating`.
            artifact_id: the artifact, see `Artifact.id`.
            comment: what there is to say, at most 5000 characters.

        Raises:
            InvalidArgumentError: an argument cannot be right; nothing was sent.
            PermissionDeniedError: the account has no access to feedback.
            NotFoundError: there is no such run.
            OutcomeUnknownError: it was sent, and whether it is stored is unknown.
            APIError: any other failure; it is not stored.
        """
        if rating not in list(Rating):
            raise InvalidArgumentError("rating", rating, " or ".join(Rating))
        if comment is not None and len(check_text("comment", comment)) > _LONGEST_COMMENT:
            raise InvalidArgumentError("comment", comment, f"at most {_LONGEST_COMMENT} characters")
        fields = {"rating": rating, "artifact_id": check_text("artifact_id", artifact_id), "comment": comment}
        return await self._carry(requests.feedback(check_segment("run_id", run_id), fields))

    # -- waiting

    async def wait_for_run(
        self,
        run: str | MiddeskRun,
        *,
        timeout: float | None = None,  # noqa: ASYNC109 - its error carries the last snapshot
        latency: float | None = None,
        raise_on_failure: bool = False,
        on_blocked: InterruptHandler | None = None,
        interrupt_timeout: float | None = None,
        include_steps: bool = False,
    ) -> MiddeskRun:
        """Return the final snapshot of a run, when it has one; have its interrupts answered on the way.

        All waits of a client share one schedule. Many runs are looked at by the page, as long as pages show what they
        should; an end or an interrupt on one is confirmed by a get. Outages of the server delay a wait and do not end
        it. Cancelling a wait stops nothing at the server, and disturbs no other wait; an answer that was just given is
        still sent before the cancellation goes on.

        `on_blocked` is called with the run and those of its interrupts that it has not been asked before and that
        nobody has answered, as often as there are any. It returns inputs by interrupt id; each is sent by a resume of
        its own, in this order, never twice, and waiting goes on. Meanwhile this wait asks the server nothing. An answer
        whose resume was lost is not sent again either: that the run goes on shows that it arrived.

        Args:
            run: the run or its id.
            timeout: seconds until this wait gives up; the time `on_blocked` takes does not count. Default: never.
            latency: seconds within which the run is looked at again. Default: the client's.
            raise_on_failure: raise if the run failed. Default: that is a result, look at `run.phase`.
            on_blocked: answers interrupts. Without it an interrupted run raises.
            interrupt_timeout: seconds `on_blocked` may take for one round of interrupts. Default: any time.
            include_steps: read the steps of the final snapshot, by one request more.

        Raises:
            WaitTimeoutError: the time is over, or that of `on_blocked`; has the last snapshot. The run can be waited
                for again.
            RunBlockedError: the run needs a person: there is no `on_blocked`, it returned None or nothing, it has left
                interrupts unanswered and no others have come, or the run still asks five minutes after it was answered.
                Has the snapshot, with the interrupts.
            InvalidArgumentError: `on_blocked` returned something else than answers to what was asked.
            RunFailedError: the run ended badly, and `raise_on_failure` is set.
            NotFoundError: the server says so for a minute (five seconds for an id that was never seen).
            AuthenticationError, PermissionDeniedError: the token may not see the run; or it is refused everything,
                for five seconds and three looks, which ends all waits.
            RedirectedError: the base URL is wrong, or a login stands before it; ends all waits, after some seconds.
            APIError: an answer was refused, or the steps could not be had.
            ClientClosedError: the client was closed meanwhile.
        """
        patience = None if interrupt_timeout is None else check_seconds_given("interrupt_timeout", interrupt_timeout)
        final = await self._linked().waiting.wait_for_run(
            self._check_run(run),
            on_blocked=Answering(self._book, on_blocked, patience, self.resume_run),
            **check_wait(timeout=timeout, latency=latency),
        )
        if include_steps and final.steps is msgspec.UNSET:
            shown = await self.get_run(final.id, include_steps=True)
            final = self._words.teach(msgspec.structs.replace(final, steps=shown.steps))
        return final.raise_for_status() if raise_on_failure else final

    def notify(self, event: WebhookEvent | str) -> None:  # pyright: ignore[reportIncompatibleMethodOverride] - its webhooks
        """Look at a run now, because something says that it has changed; does nothing if nobody waits.

        Args:
            event: a webhook's event, whose signature was checked; one that was given before, or is about no run, does
                nothing. Or the id of a run.

        Raises:
            InvalidArgumentError: the id cannot be one.
        """
        waiting = self._linked().waiting
        if isinstance(event, str):
            waiting.notify(check_segment("event", event))
        elif event.run is not None and self._seen.add(event.id):
            waiting.notify(event.run.id)

    def _remote(self, calls: Calls[MiddeskRun]) -> MiddeskRemote:
        self._creating = Creating(calls, settle=self._settle, places=Places(self._concurrency))
        return MiddeskRemote(calls, self.dialect)

    def _snapshots(self, calls: Calls[MiddeskRun]) -> Snapshots[MiddeskRun]:
        return Snapshots(calls, MiddeskRun, dec_hook)

    def _schedule(self) -> PollSchedule:
        (rate,) = self._rates[requests.ENDPOINT]
        pages = Rate(rate.limit, min(rate.period * _PAGES_PART, 1e9))  # longer there is none
        return PollSchedule(get=rate, page=pages, share=self._share, listing=NumberedListing(), shared=True)

    def without_run(self) -> Callable[[], Awaitable[object]]:
        """Return a look at the agents; see the base."""
        return self.list_agents

    def _check_run(self, run: str | MiddeskRun) -> str | MiddeskRun:
        return run if isinstance(run, MiddeskRun) else check_segment("run", run)
