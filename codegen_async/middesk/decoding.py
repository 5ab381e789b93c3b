"""From bodies to models."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar, cast

import msgspec

from codegen_async.hosted.wire import PageDecoder, check_about
from codegen_async.middesk.free import dec_hook
from codegen_async.middesk.models import (
    MiddeskAgent,
    MiddeskRun,
    MiddeskRunPage,
    MiddeskThread,
    MiddeskThreadPage,
    RunFeedback,
    Snapshot,
    StreamEvent,
)
from codegen_async.middesk.sse import ServerSentEvent
from codegen_async.reading import UNREADABLE, Reader, read_json
from codegen_async.record import Model

N = TypeVar("N", MiddeskRun, MiddeskThread, MiddeskAgent)


class _AgentPage(Model, frozen=True, kw_only=True):
    data: tuple[MiddeskAgent, ...]
    unreadable: int = 0


class _Head(msgspec.Struct):
    """As much of an answer as tells whether it is a run."""

    id: str
    object: str


LIST_TELLS = ("object", "has_more", "total_count")
"""What tells a list that has no `data`, and so is an empty one, from anything else."""

_run = Reader(MiddeskRun, dec_hook)
_thread = Reader(MiddeskThread, dec_hook)
_thread_pages = PageDecoder("middesk", MiddeskThreadPage, "data", MiddeskThread, dec_hook, tells=LIST_TELLS)
_agent = Reader(MiddeskAgent)
_agents = PageDecoder("middesk", _AgentPage, "data", MiddeskAgent, tells=LIST_TELLS)
_feedback = Reader(RunFeedback)
_snapshots = Reader(Snapshot, dec_hook)
_head = Reader(_Head)


def is_own(_status: int, said: Mapping[str, Any]) -> bool:
    """Whether a refusal is the API's own: a list of `errors`, each with its `message`."""
    errors = said.get("errors")
    complaints = cast("list[object]", errors) if isinstance(errors, list) else []
    return any(isinstance(one, dict) and "message" in one for one in complaints)


def created(body: bytes) -> MiddeskRun:
    """Read the answer to a create."""
    return _run.decode(body)


def created_thread(body: bytes) -> MiddeskThread:
    """Read a thread that was just made."""
    return _thread.decode(body)


def feedback(body: bytes) -> RunFeedback:
    """Read feedback that was just given."""
    return _feedback.decode(body)


def _about(reader: Reader[N], name: str, what: str) -> Callable[[bytes], N]:
    def decode(body: bytes) -> N:
        shown = reader.decode(body)
        check_about(shown.id, name, what)
        return shown

    return decode


def run(run_id: str) -> Callable[[bytes], MiddeskRun]:
    """Return a reader of that run."""
    return _about(_run, run_id, "run")


def resumed(run_id: str) -> Callable[[bytes], MiddeskRun | None]:
    """Return a reader of what answers a resume of that run: the run, or something that the vendor does not describe."""

    def decode(body: bytes) -> MiddeskRun | None:
        try:
            head = _head.decode(body)
        except UNREADABLE:
            return None
        return run(run_id)(body) if head.object == "run" else None

    return decode


def thread(thread_id: str) -> Callable[[bytes], MiddeskThread]:
    """Return a reader of that thread."""
    return _about(_thread, thread_id, "thread")


def agent(agent_id: str) -> Callable[[bytes], MiddeskAgent]:
    """Return a reader of that agent."""
    return _about(_agent, agent_id, "agent")


def threads(body: bytes) -> MiddeskThreadPage:
    """Read a page of threads."""
    return _thread_pages.decode(body)


def agents(body: bytes) -> tuple[MiddeskAgent, ...]:
    """Read the list of agents."""
    return _agents.decode(body).data


def make_page_decoder() -> PageDecoder[MiddeskRunPage]:
    """Return a reader of pages, for one client."""
    return PageDecoder("middesk", MiddeskRunPage, "data", MiddeskRun, dec_hook, tells=LIST_TELLS)


def stream_event(event: ServerSentEvent) -> StreamEvent:
    """Read an event of a stream; one that nobody knows is an event too."""
    try:
        data = read_json(event.data.encode())
    except UNREADABLE:
        data = event.data
    fields: dict[str, Any] = cast("dict[str, Any]", data) if isinstance(data, dict) else {}
    return StreamEvent(
        type=event.type or _text(fields.get("type")) or "message",
        run_id=_text(fields.get("run_id")),
        snapshot=_snapshot(fields.get("snapshot")),
        data=data,
    )


def _snapshot(value: object) -> Snapshot | None:
    try:
        return _snapshots.read(value)
    except UNREADABLE:
        return None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
