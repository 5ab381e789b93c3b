"""A simulated Middesk agent-run API: the endpoints, fields, limit and error bodies of the vendor's pages.

Where they say nothing (the body of a resume, pages, what a stream sends at an interrupt), it does what its arguments
say, or what seems likely.
"""

import asyncio
import json
import re
from base64 import b64encode
from collections.abc import Callable, Coroutine, Mapping
from datetime import datetime
from http import HTTPStatus
from typing import Any, cast
from uuid import UUID

from aiohttp import hdrs, web

from codegen_async.testing.delivery import Answer
from codegen_async.testing.faults import Fault, Injection
from codegen_async.testing.middesk_webhooks import Delivery, Webhook, Webhooks
from codegen_async.testing.middesk_world import (
    AGENT_TYPES,
    ListOrder,
    MiddeskWorld,
    Moment,
    ScriptedRun,
    artifacts,
    new_id,
)
from codegen_async.testing.rates import RetryAfter
from codegen_async.testing.server import Handler, Rate, Route, SimulatedServer, Window
from codegen_async.testing.validation import Refusal, plain_json

__all__ = ["RATES", "MiddeskServer"]

RATES: Mapping[str, Rate] = {"ceiling": (20, 1.0)}
"""The vendor's limit: 20 requests per second per customer, over all endpoints."""

_RUNS = "/v1/runs"
_THREADS = "/v1/threads"
_CREATED = frozenset({"create", "create_thread", "feedback"})
_LONGEST_COMMENT = 5000
_DIGITS = re.compile(r"[0-9]{1,18}")


class MiddeskServer(SimulatedServer):
    """Serve the Middesk agent-run API on 127.0.0.1 while the `async with` block lasts, on the loop of the caller.

        async with MiddeskServer() as server:
            client = MiddeskClient(server.token, base_url=server.url)

    Make it where that loop runs. It enforces the limit strictly, and keeps a record: `requests`, `violations`,
    `worst("ceiling")`, `deliveries`. What the runs do is in `world`, what goes wrong in `faults`.

    Args:
        window: how requests are counted. Default: over a sliding window, the strictest of the exact ways, as the
            vendor's is unknown.
        count_rejected: a rejected request uses the limit up like any other.
        retry_after: whether, and how, to tell in a header of each 429 how many seconds to wait (`rates.RetryAfter`;
            True: rounded up). Default: no, as neither the status nor the header is documented.
        rates: limits that replace or complete those of `RATES`, by endpoint; "ceiling" is the one across all.
        latency: least and most that a request takes to arrive, and again its answer, in seconds.
        speed: how many times faster the server's clock is than the loop's.
        token: the key that the server accepts, as a bearer token or a user name.
        seed: of everything random.
        port: where to listen. Default: 0, a free port.
        lag: least and most that reads lag behind, in seconds: they show what was answered as still asked.
        list_lag: seconds after its creation from which a list shows a run.
        old_words: use the status words of an older generation of the API (`pending`, `failed`).
        nulls: share of the fields that may be null that are, each by chance and at each look anew. Default: 0.
        first_page: the number of the first page of the list, which is not documented.
        page_size: runs on a page unless the request says otherwise.
        largest_page: the most runs on a page, whatever the request says; not documented either.
        list_order: which runs the list shows first. Nothing is documented; "random" is another order at each request.
        resume_fields: names of the two fields in the body of a resume, which are not documented.
    """

    def __init__(
        self,
        *,
        window: Window = "sliding",
        count_rejected: bool = False,
        retry_after: bool | RetryAfter = False,
        rates: Mapping[str, Rate] | None = None,
        latency: tuple[float, float] = (0.0, 0.0),
        speed: float = 1.0,
        token: str = "simulated",  # noqa: S107 - opens nothing but a simulation
        seed: int = 0,
        port: int = 0,
        lag: tuple[float, float] = (0.0, 0.0),
        list_lag: float = 0.0,
        old_words: bool = False,
        nulls: float = 0.0,
        first_page: int = 1,
        page_size: int = 25,
        largest_page: int = 100,
        list_order: ListOrder = "newest",
        resume_fields: tuple[str, str] = ("id", "input"),
    ) -> None:
        super().__init__(
            rates={**RATES, **(rates or {})},
            window=window,
            count_rejected=count_rejected,
            retry_after=retry_after,
            latency=latency,
            speed=speed,
            token=token,
            seed=seed,
            port=port,
        )
        self.world: MiddeskWorld = MiddeskWorld(
            self.now, seed=seed, lag=lag, list_lag=list_lag, old_words=old_words, nulls=nulls
        )
        """The runs of the account."""
        self.cut_streams: int = 0
        """How many streams from now on are to break off after their first event."""
        self._first_page = first_page
        self._page_size = page_size
        self._largest_page = largest_page
        self._list_order: ListOrder = list_order
        self._resume_fields = resume_fields
        self._webhooks = Webhooks(self.now, speed, seed)
        self.world.on_change = self._changed

    async def __aexit__(self, *exc: object) -> None:
        await self._webhooks.aclose()
        await super().__aexit__(*exc)

    @property
    def deliveries(self) -> list[Delivery]:
        """All attempts to deliver a webhook."""
        return self._webhooks.deliveries

    def add_webhook(self, url: str, secret: str, *, copies: int = 1) -> None:
        """Deliver the events of runs to a URL from now on, signed, and again until they are answered with success.

        Args:
            url: where to; on this machine.
            secret: what to sign with.
            copies: how often to send each event, as if an answer had been lost.

        Raises:
            ValueError: it is not on this machine.
        """
        self._webhooks.add(Webhook(url, secret, copies))
        for run in self.world.runs.values():
            self._expect(run)

    def variables(self) -> dict[str, str]:
        """Return the variables that lead a client here."""
        return {"MIDDESK_API_BASE_URL": self.url, "MIDDESK_API_KEY": self.token}

    def routes(self) -> list[Route]:
        """Return the endpoints."""
        return [
            Route(hdrs.METH_GET, "/v1/agents", "agents", self._agents),
            Route(hdrs.METH_GET, "/v1/agents/{id}", "agent", self._agent),
            Route(hdrs.METH_POST, _THREADS, "create_thread", self._create_thread),
            Route(hdrs.METH_GET, _THREADS, "threads", self._threads),
            Route(hdrs.METH_GET, f"{_THREADS}/{{id}}", "thread", self._thread),
            Route(hdrs.METH_POST, _RUNS, "create", self._create),
            Route(hdrs.METH_GET, _RUNS, "list", self._list),
            Route(hdrs.METH_GET, f"{_RUNS}/{{id}}", "get", self._get),
            Route(hdrs.METH_POST, f"{_RUNS}/{{id}}/resume", "resume", self._resume),
            Route(hdrs.METH_POST, f"{_RUNS}/{{id}}/feedback", "feedback", self._feedback),
            Route(hdrs.METH_GET, f"{_RUNS}/{{id}}/stream", "stream", self._stream),
        ]

    def date(self) -> datetime:
        """Return the date that the world shows."""
        return self.world.datetime(self.now())

    def refusal(self, status: int) -> Refusal:
        """Return a refusal in the form of the API."""
        return _refuse(status, "Invalid API key" if status == 401 else HTTPStatus(status).phrase)  # noqa: PLR2004 - HTTP

    def problem(self, reason: str) -> Mapping[str, Any]:
        """Say in the form of the API that a request came to no endpoint."""
        return {"errors": [{"message": reason}]}

    def is_authorized(self, request: web.Request) -> bool:
        """Let the key pass, also as the user name of basic authentication."""
        basic = f"Basic {b64encode(f'{self.token}:'.encode()).decode()}"
        return request.headers.get(hdrs.AUTHORIZATION) == basic or super().is_authorized(request)

    # -- endpoints

    def _agents(self, _request: web.Request, _body: bytes) -> Mapping[str, Any]:
        """Answer "List agents"."""
        return {"data": self.world.agents()}

    def _agent(self, request: web.Request, _body: bytes) -> Mapping[str, Any]:
        """Answer "Retrieve an agent"."""
        for agent in self.world.agents():
            if agent["id"] == request.match_info["id"]:
                return agent
        raise _refuse(404, "Agent not found")

    def _create_thread(self, request: web.Request, body: bytes) -> Mapping[str, Any]:
        """Answer "Create an agent thread"."""
        fields = _fields(request, body)
        if _agent_type(fields) not in AGENT_TYPES:
            raise _refuse(404, "Agent type not found", "type")
        if not _has_context(fields):
            raise _refuse(400, "business_id or context_type and context_id are required", "business_id")
        return self.world.create_thread(business_id=_uuid(fields, "business_id"))

    def _threads(self, request: web.Request, _body: bytes) -> Mapping[str, Any]:
        """Answer "List agent threads"."""
        return self.world.listed_threads(*self._place(request), request.query.get("business_id"))

    def _thread(self, request: web.Request, _body: bytes) -> Mapping[str, Any]:
        """Answer "Retrieve an agent thread"."""
        return self._thread_of(request.match_info["id"])

    def _create(self, request: web.Request, body: bytes) -> Mapping[str, Any]:
        """Answer "Create an agent run"."""
        fields = _fields(request, body)
        kind = _agent_type(fields)
        if kind not in AGENT_TYPES:
            raise _refuse(422, "is not an agent type", "type")
        thread_id = _uuid(fields, "thread_id")
        if not _has_context(fields) and thread_id is None:
            raise _refuse(400, "business_id or context_type and context_id are required", "business_id")
        if thread_id is not None:
            self._thread_of(thread_id)
        business_id = _uuid(fields, "business_id")
        return self.world.response(self.world.create(kind, thread_id=thread_id, business_id=business_id))

    def _list(self, request: web.Request, _body: bytes) -> Mapping[str, Any]:
        """Answer "List agent runs"."""
        return self.world.listed(*self._place(request), self._list_order)

    def _get(self, request: web.Request, _body: bytes) -> Mapping[str, Any]:
        """Answer "Retrieve an agent run"."""
        return self.world.seen(self._run(request), steps=_wants_steps(request))

    def _resume(self, request: web.Request, body: bytes) -> Mapping[str, Any]:
        """Answer a resume; which answers there are is not documented."""
        run = self._run(request)
        fields = _fields(request, body)
        id_field, input_field = self._resume_fields
        interrupt_id = fields.get(id_field)
        if not isinstance(interrupt_id, str) or input_field not in fields:
            raise _refuse(400, f"{id_field} and {input_field} are required")
        if not self.world.answer(run.id, interrupt_id, fields[input_field]):
            raise _refuse(422, "is not a pending interrupt of this run", id_field)
        return self.world.response(run, steps=_wants_steps(request))

    def _feedback(self, request: web.Request, body: bytes) -> Mapping[str, Any]:
        """Answer "Submit agent run feedback"."""
        run = self._run(request)
        fields = _fields(request, body)
        rating, comment = fields.get("rating"), fields.get("comment")
        if rating not in {"POSITIVE", "NEGATIVE"}:
            raise _refuse(422, "must be POSITIVE or NEGATIVE", "rating")
        if comment is not None and (not isinstance(comment, str) or len(comment) > _LONGEST_COMMENT):
            raise _refuse(422, f"must be a text of at most {_LONGEST_COMMENT} characters", "comment")
        if fields.get("artifact_id") not in {artifact["id"] for artifact in artifacts(run)}:
            raise _refuse(404, "Artifact not found", "artifact_id")
        return self.world.rate(run, fields["artifact_id"], rating, comment)

    def _stream(self, request: web.Request, _body: bytes) -> Mapping[str, Any]:
        """Refuse "Stream agent run events" where it must be; what it sends follows in `_send_events`."""
        self._run(request)
        return {}

    def _place(self, request: web.Request) -> tuple[int, int]:
        """Return which page is asked for, counted from 0, and how much is on it."""
        number = _integer(request, "page", self._first_page, self._first_page)
        size = min(_integer(request, "per_page", self._page_size, 1), self._largest_page)
        return number - self._first_page, size

    # -- what differs from other servers

    def _work(
        self, request: web.Request, endpoint: str, handler: Handler, body: bytes
    ) -> tuple[Answer, Injection | None]:
        answer, injection = super()._work(request, endpoint, handler, body)
        if endpoint in _CREATED and answer.status == 200:  # noqa: PLR2004 - HTTP
            answer = answer._replace(status=201)
        if injection is not None and injection.fault is Fault.WRONG_ID:
            return answer._replace(payload=_with_wrong_ids(answer.payload)), None
        return answer, injection

    def _serving(
        self, endpoint: str, handler: Handler
    ) -> Callable[[web.Request], Coroutine[Any, Any, web.StreamResponse]]:
        serve = super()._serving(endpoint, handler)
        if endpoint != "stream":
            return serve

        async def serve_stream(request: web.Request) -> web.StreamResponse:
            response = await serve(request)
            if response.prepared or response.status != 200:  # noqa: PLR2004 - HTTP
                return response
            return await self._send_events(request, self._run(request))

        return serve_stream

    async def _send_events(self, request: web.Request, run: ScriptedRun) -> web.StreamResponse:
        """Send the run's state at each change, until it ends or asks something."""
        response = web.StreamResponse(headers={hdrs.CONTENT_TYPE: "text/event-stream"})
        await response.prepare(request)
        await _send(response, {"type": "RUN_STARTED", "run_id": run.id})
        if self.cut_streams:
            self.cut_streams -= 1
            _hang_up(request)
            return response
        shown = 0
        while True:
            run.advance(self.now())
            for number in range(shown, len(run.moments)):
                await _send(
                    response, {"type": "STATE_SNAPSHOT", "run_id": run.id, "snapshot": self._state(run, number)}
                )
            shown = len(run.moments)
            if run.moments[-1].status != "running":
                break
            await asyncio.sleep(1.0 if run.next_at is None else max(0.0, run.next_at - self.now()) / self._speed)
        await _send(response, {"type": "RUN_FINISHED", "run_id": run.id})
        return response

    def _state(self, run: ScriptedRun, number: int) -> dict[str, Any]:
        completed = run.moments[number].status == "completed"
        return {"steps": self.world.steps(run, number), "artifacts": artifacts(run) if completed else []}

    # -- webhooks

    def _changed(self, run: ScriptedRun, moment: Moment) -> None:
        if not self._webhooks:
            return
        self._expect(run)
        kind = _event_of(run, moment)
        if kind is not None:
            event = {"object": "event", "id": new_id(run.ids), "type": kind, "created_at": self.world.date(moment.at)}
            shown: dict[str, Any] = {**self.world.response(run, moment.at), "steps": []}
            self._webhooks.send({**event, "data": {"object": shown}})

    def _expect(self, run: ScriptedRun) -> None:
        """See to it that the run takes its next step in time, though nobody looks."""
        if run.next_at is not None:
            self._loop.call_at(run.next_at / self._speed, lambda: run.advance(self.now()))

    def _run(self, request: web.Request) -> ScriptedRun:
        run = self.world.runs.get(request.match_info["id"])
        if run is None:
            raise _refuse(404, "Run not found")
        return run

    def _thread_of(self, thread_id: str) -> dict[str, Any]:
        thread = self.world.threads.get(thread_id)
        if thread is None:
            raise _refuse(404, "Thread not found")
        return thread


def _event_of(run: ScriptedRun, moment: Moment) -> str | None:
    """Return the event that a change of a run is; a part of its questions answered is none, nor is going on."""
    if len(run.moments) == 1:
        return "run.created"
    if moment.status == "interrupted":
        return None if run.moments[-2].status == "interrupted" else "run.interrupted"
    return None if moment.status == "running" else "run.completed"


def _refuse(status: int, message: str, parameter: str | None = None) -> Refusal:
    error = {"message": message} if parameter is None else {"message": message, "parameter": parameter}
    return Refusal(status, {"errors": [error]})


def _fields(request: web.Request, body: bytes) -> dict[str, Any]:
    try:
        fields = plain_json(body)
    except ValueError:
        raise _refuse(400, "The body is not JSON") from None
    if request.content_type != "application/json" or not isinstance(fields, dict):
        raise _refuse(400, "The body is not a JSON object")
    return cast("dict[str, Any]", fields)


def _agent_type(fields: Mapping[str, Any]) -> str:
    kind = fields.get("type")
    if not isinstance(kind, str):
        raise _refuse(400, "is required", "type")
    return kind


def _has_context(fields: Mapping[str, Any]) -> bool:
    if _uuid(fields, "business_id") is not None:
        return True
    return isinstance(fields.get("context_type"), str) and _uuid(fields, "context_id") is not None


def _uuid(fields: Mapping[str, Any], name: str) -> str | None:
    value = fields.get(name)
    if value is None:
        return None
    try:
        return str(UUID(value))
    except (ValueError, AttributeError, TypeError):
        raise _refuse(422, "is not a UUID", name) from None


def _integer(request: web.Request, name: str, default: int, least: int) -> int:
    value = request.query.get(name, str(default))
    if not _DIGITS.fullmatch(value) or int(value) < least:
        raise _refuse(422, f"must be an integer of at least {least}", name)
    return int(value)


def _wants_steps(request: web.Request) -> bool:
    return "steps" in request.query.get("include", "").split(",")


def _with_wrong_ids(payload: Mapping[str, Any]) -> dict[str, Any]:
    changed = dict(payload)
    if "id" in payload:
        changed["id"] = str(payload["id"])[::-1]
    if "data" in payload:
        changed["data"] = [_with_wrong_ids(item) for item in payload["data"]]
    return changed


async def _send(response: web.StreamResponse, event: Mapping[str, Any]) -> None:
    await response.write(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode())


def _hang_up(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.close()
