"""The client of the Codegen API."""

from __future__ import annotations

import os
import re
import uuid
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

from codegen_async.arguments import LARGEST_ID, check_id, check_int, check_key, check_patience, check_text
from codegen_async.codegen.account import AccountCalls, only_organization
from codegen_async.codegen.creating import Creating
from codegen_async.codegen.dialect import BASE_URL, CodegenDialect
from codegen_async.codegen.images import read_images
from codegen_async.codegen.keyed import Doubt, KeyedCreates
from codegen_async.codegen.logs import LogCalls
from codegen_async.codegen.looking import LookCalls
from codegen_async.codegen.models import PHASES, AgentRun
from codegen_async.codegen.prompts import PromptCalls
from codegen_async.codegen.remote import CodegenRemote
from codegen_async.codegen.stopping import StopCalls
from codegen_async.codegen.webhooks import RunWebhook, check_webhooks
from codegen_async.errors import ConfigurationError, InvalidArgumentError
from codegen_async.events import Observer
from codegen_async.hosted.calls import Calls
from codegen_async.hosted.keyed import Keys
from codegen_async.hosted.settling import OnUnknown, check_on_unknown
from codegen_async.hosted.setup import secrets_of
from codegen_async.hosted.snapshots import Snapshots
from codegen_async.http.transport import Sender, Transport
from codegen_async.limits import Rate
from codegen_async.models import Phase, Vocabulary
from codegen_async.polling import Listing, PollSchedule
from codegen_async.settings import Fleet, Timeouts, check_base_url, check_phases

_TOKEN = (CodegenDialect.token_variable, "CODEGEN_API_KEY")  # the last is what some of the vendor's tools read


class CodegenClient(PromptCalls, LookCalls, LogCalls, StopCalls, AccountCalls):
    """Start Codegen agent runs, look at them and wait for them, within the API's rate limits.

    Use it as `async with CodegenClient() as client:`. All methods may be called concurrently. The limits hold if there
    is one client per token, so one client serves a whole application; several processes share them with `fleet`.

    GETs are tried up to four times after connection failures, timeouts, 408, 421, 425, 429, 5xx, and answers that are
    not the API's own. A create or resume has no idempotency key, so it is only repeated where the server provably did
    not act (no connection, 421, 425, 429).
    Bound a call with `asyncio.timeout` or `anyio.fail_after`; under the latter it gives up at once when the next
    attempt would come too late.

    Args:
        token: the API token. Default: the environment variable `CODEGEN_API_TOKEN`, else `CODEGEN_API_KEY`.
        org_id: the organization. Default: `CODEGEN_ORG_ID`, else the only one that the token has access to, which is
            asked for when the client is opened; if there are several, opening it fails and names them.
        base_url: where the API is. Default: `CODEGEN_API_BASE_URL`, else https://api.codegen.com. http is refused
            except towards this machine.
        latency: seconds within which every run that is waited for is looked at again. Default 5, which is how often
            people ask by hand; 0 spends all of `share`.
        share: part of the get and list limits that waiting may spend; the rest is left to your own calls. Default 0.8.
        rates: limits that differ from the vendor's pages, by endpoint (`create`, `get`, `list`, `logs`, `resume`,
            `stop`, `organizations`, `me`, `repos`, `models`). Default: none.
        ceiling: a limit over all endpoints together; one page of the vendor calls the limits shared. Default: none.
        processes: how many processes use the token at once, each through such a client: each keeps to its part of the
            stated limits. Default 1.
        timeouts: bounds of a single attempt. Default: 10 s to connect, 30 s without a byte, 60 s in all (`Timeouts()`).
        max_body: bytes an answer may have, after decompression. Default 32 MiB, a hundred times a full list page.
        proxy: an HTTP proxy to reach the server through, such as `http://user:password@proxy.example:3128`; it tunnels
            TLS, and so sees no token. A server on this machine is reached without it. Default: none; none is taken from
            the environment.
        settle: seconds over which a create whose answer was lost is looked for. Default 60: longer than a gateway keeps
            a request that it has given up on.
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

    _creating: Creating  # made when the client is opened
    _keyed: KeyedCreates

    # Before it is known which organization it is, these are asked; a ceiling is over all.
    _of_all_organizations = frozenset({"organizations", "me", "ceiling"})

    def __init__(
        self,
        token: str | None = None,
        *,
        org_id: int | None = None,
        base_url: str | None = None,
        latency: float = 5.0,
        share: float = 0.8,
        rates: Mapping[str, Rate] | None = None,
        ceiling: Rate | None = None,
        processes: int = 1,
        timeouts: Timeouts | None = None,
        max_body: int = 32 * 2**20,
        proxy: str | None = None,
        settle: float = 60.0,
        phases: Mapping[str, Phase | str] | None = None,
        observe: Observer | None = None,
        memory: str | os.PathLike[str] | None = None,
        fleet: str | Fleet | None = None,
        sender: Sender | None = None,
    ) -> None:
        try:
            secrets = secrets_of(token, proxy, *_TOKEN, fleet=fleet)
        finally:
            del token, proxy, fleet  # crash reporters show the variables of functions that raise
        words = Vocabulary(PHASES, check_phases(phases))
        super().__init__(
            CodegenDialect(_org_id(org_id), words),
            secrets,
            base_url=check_base_url(base_url or os.environ.get("CODEGEN_API_BASE_URL") or BASE_URL),
            words=words,
            rates=rates,
            ceiling=ceiling,
            settle=settle,
            latency=latency,
            share=share,
            processes=processes,
            timeouts=timeouts,
            max_body=max_body,
            observe=observe,
            memory=memory,
            sender=sender,
            end_of=lambda run: run.result or None,
        )
        self._keys: Keys[AgentRun, Doubt] = Keys()

    def __repr__(self) -> str:
        return f"CodegenClient(org_id={self.org_id or None}, base_url={self.base_url!r})"

    @property
    def org_id(self) -> int:
        """The organization; 0 where it was not given, until the client is opened."""
        return self.dialect.org_id

    # -- one run

    async def create_run(  # pyright: ignore[reportIncompatibleMethodOverride] - its options, one by one
        self,
        prompt: str,
        *,
        images: Iterable[str | os.PathLike[str] | bytes] = (),
        metadata: Mapping[str, Any] | None = None,
        repo_id: int | None = None,
        model: str | None = None,
        agent_type: str | None = None,
        webhooks: Iterable[RunWebhook] = (),
        idempotency_key: str | None = None,
        newer_than: int | None = None,
        confirm: Callable[[], Awaitable[object]] | None = None,
        on_unknown: OnUnknown = "raise",
        patience: float | None = None,
    ) -> AgentRun:
        """Start a run, once, and return its first snapshot ("Create Agent Run"; 10 per 60 s).

        The API has no idempotency key, so one is put into the metadata. Where an answer is lost, the newest runs are
        searched for it, several times within the client's `settle` time, before anything is raised or sent again.

        Args:
            prompt: what the agent is to do.
            images: data URIs (`data:image/png;base64,...`), paths or contents (bytes) of PNG, JPEG, GIF or WebP files.
            metadata: JSON to be stored with the run.
            repo_id: the repository to work on. Default: the server's choice.
            model: the model to use. Default: the organization's.
            agent_type: `codegen` or `claude_code`, see `AgentType`. Default: the organization's.
            webhooks: where the vendor is to report on this run instead of where the organization has it report. What it
                sends is not documented; `notify` makes use of it whatever it says.
            idempotency_key: what tells this create from all others, 1..128 visible ASCII characters. The same key
                again, in this program or the next, brings back the first run, as it is now, if it is among the newest
                thousand. To look costs up to ten list pages for a client's first key, and one for each further one.
                Default: a new random key, and no look.
            newer_than: says that another process may have sent the key, even a moment ago, and the id of a run that
                existed before anybody did (`newest_run_id`). All newer runs are looked through over the client's
                `settle` time before anything is sent, and it is sent only if they prove that there is no run: one of
                them has to be a run that this client has created since the call began. Needs an `idempotency_key`.
                Default: nobody else has.
            confirm: awaited before each sending, when all that is left is to send; what it raises ends the call. For
                whoever has to be sure that the task is still his: if the process stands still after that for more than
                15 s, nothing is sent, and it is awaited once more. Default: nothing is.
            on_unknown: `raise` (default) or `retry`: whether to send the same key again where no run was found. Even
                then it is only sent again if the list shows a run that this client has created since, and could not
                have hidden this one.
            patience: seconds that the create may wait for its slot; to look for a run has its own time. Default: as
                long as it takes.

        Raises:
            InvalidArgumentError: an argument cannot be right, or a run of this key has other content; nothing was sent.
            LimiterBusyError: a slot is further away than `patience`; nothing was done.
            QuotaExceededError: the plan's runs are used up.
            NotFoundError: the organization has no repository.
            CreateOutcomeUnknownError: it was sent, now or before, and nobody knows whether there is a run; has the key.
            APIError: any other failure; there is no run.
        """
        key = None if idempotency_key is None else check_key(idempotency_key)
        floor = None if newer_than is None else check_int("newer_than", newer_than, 0, LARGEST_ID)
        if floor is not None and key is None:
            raise InvalidArgumentError("newer_than", floor, "an idempotency_key beside it, which may have been sent")
        seconds = check_patience(patience)
        check_on_unknown(on_unknown)
        creating = self.creating
        fields = await creating.prepare(
            prompt,
            images=images,
            metadata=metadata,
            repo_id=repo_id,
            model=model,
            agent_type=agent_type,
            webhooks=webhooks,
        )
        if key is None:
            run = await creating.create(
                fields, uuid.uuid4().hex, on_unknown=on_unknown, patience=seconds, confirm=confirm
            )
        else:
            run = await self.keyed.create(
                fields, key, on_unknown=on_unknown, patience=seconds, newer_than=floor, confirm=confirm
            )
        self.reporter.tell_phase(run, None)
        self._linked().waiting.seen(run)
        return run

    async def find_run_by_key(self, idempotency_key: str, *, newer_than: int | None = None) -> AgentRun | None:
        """Return the run that was created with this key, or None if it is not seen among the newest.

        None proves nothing: a list may lag, be cached, or not give back keys.

        Args:
            idempotency_key: the key that `create_run` was given, or that its error carries.
            newer_than: the id of a run that existed before; the search ends there. Default: it ends after ten pages.

        Raises:
            InvalidArgumentError: an argument cannot be right.
            CreateOutcomeUnknownError: a row that cannot be read bears the key.
            APIError: a page could not be had.
        """
        floor = None if newer_than is None else check_id("newer_than", newer_than)
        return await self.creating.look(check_key(idempotency_key), floor)

    async def newest_run_id(self) -> int:
        """Return the id of the newest run of the organization; 0 if it has none.

        Whatever is created from now on is newer, for `newer_than`. Costs one page of the list.

        Raises:
            APIError: the page could not be had.
        """
        return await self.creating.newest_id()

    @property
    def creating(self) -> Creating:
        """The single steps of a create, for those who keep a journal."""
        self._linked()
        return self._creating

    @property
    def keyed(self) -> KeyedCreates:
        """Creates under keys of the caller's, from their single steps."""
        self._linked()
        return self._keyed

    async def resume_run(
        self,
        run_id: int,
        prompt: str,
        *,
        images: Iterable[str | os.PathLike[str] | bytes] = (),
        model: str | None = None,
        webhooks: Iterable[RunWebhook] = (),
        patience: float | None = None,
    ) -> AgentRun:
        """Take up a paused or ended run with a new prompt, and return its snapshot.

        The end it had before is not taken for its new end by waits of this client: an end with another status or result
        is believed at once, one like the old one when it was shown for a minute. What other clients resume is not known
        here. No limit is stated by the vendor; 10 per 60 s is kept.

        Args:
            run_id: the run.
            prompt: what the agent is to do next.
            images: as in `create_run`.
            model: the model to go on with. Default: as the server chooses.
            webhooks: as in `create_run`.
            patience: seconds that it may wait for a slot. Default: as long as it takes.

        Raises:
            InvalidArgumentError: an argument cannot be right; nothing was sent.
            LimiterBusyError: a slot is further away than `patience`; nothing was done.
            NotFoundError: there is no such run.
            OutcomeUnknownError: it was sent, and whether the run goes on is unknown.
            APIError: any other failure; the run is as it was.
        """
        check_id("run_id", run_id)
        fields = {
            "prompt": check_text("prompt", prompt),
            "model": None if model is None else check_text("model", model),
            "webhooks": check_webhooks(webhooks) or None,
            "images": await read_images(images) or None,
        }
        seconds = check_patience(patience)
        run = await self._go_on(run_id, self.dialect.resume(run_id, fields), seconds)
        self._linked().waiting.seen(run, read=False)
        return run

    async def _learn(self, transport: Transport) -> None:
        if not self.org_id:
            self.dialect: CodegenDialect = CodegenDialect(await only_organization(transport), self._words)

    def _remote(self, calls: Calls[AgentRun]) -> CodegenRemote:
        self._creating = Creating(calls, self.dialect, settle=self._settle)
        self._keyed = KeyedCreates(self._creating, self._keys)
        return CodegenRemote(calls, self.dialect)

    def _snapshots(self, calls: Calls[AgentRun]) -> Snapshots[AgentRun]:
        return Snapshots(calls, AgentRun)

    def _organization(self) -> str:
        return str(self.org_id)

    def _schedule(self) -> PollSchedule:
        (get,), (page,) = self._rates["get"], self._rates["list"]
        return PollSchedule(get=get, page=page, share=self._share, listing=Listing("API"))

    def without_run(self) -> Callable[[], Awaitable[object]]:
        """Return a look at the user; see the base."""
        return self.me

    def read_id(self, text: str) -> int:
        """Return the id of a run from how it is written in a URL or a file.

        Raises:
            InvalidArgumentError: it is no number that can be one.
        """
        return check_id("run", int(text) if re.fullmatch("[0-9]{1,19}", text) else text)

    def _check_run(self, run: int | AgentRun) -> int | AgentRun:
        return run if isinstance(run, AgentRun) else self._check_id(run, "run")

    def _check_id(self, run_id: int, field: str = "run_id") -> int:
        return check_id(field, run_id)


def _org_id(given: object) -> int:
    """Return the organization that was given; 0 if none was."""
    value: object = os.environ.get("CODEGEN_ORG_ID") or None if given is None else given
    if isinstance(value, str) and re.fullmatch("[0-9]{1,19}", value):
        value = int(value)
    try:
        return 0 if value is None else check_id("org_id", value)
    except InvalidArgumentError as exc:
        raise ConfigurationError(str(exc)) from None
