"""From checked arguments to calls: what is sent, and how its answer is read. Pure; what is text in a path is quoted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from codegen_async.hosted.dialect import Call, Value
from codegen_async.hosted.wire import given
from codegen_async.http.answers import Response
from codegen_async.http.transport import ForeignAnswerError
from codegen_async.middesk import decoding
from codegen_async.middesk.models import (
    MiddeskAgent,
    MiddeskRun,
    MiddeskRunPage,
    MiddeskThread,
    MiddeskThreadPage,
    RunFeedback,
)

T = TypeVar("T")

ENDPOINT = "all"
"""Whose limit every request spends: the vendor states one, "20 requests per second per customer"."""

_RUNS = "/v1/runs"
_RUN = "/v1/runs/{run_id}"
_THREADS = "/v1/threads"
_NO_NAMES: Mapping[str, str] = {}


def get(run_id: str, *, include_steps: bool = False) -> Call[MiddeskRun]:
    """Read a run ("Retrieve an agent run")."""
    return _get(_RUN, decoding.run(run_id), {"run_id": run_id}, include=_include(include_steps))


def page(number: int | None, per_page: int | None, decode: Callable[[bytes], MiddeskRunPage]) -> Call[MiddeskRunPage]:
    """Read a page of runs ("List agent runs")."""
    return _get(_RUNS, decode, page=number, per_page=per_page)


def create(fields: Mapping[str, Any]) -> Call[MiddeskRun]:
    """Start a run ("Create an agent run")."""

    def decode(body: bytes) -> MiddeskRun:
        run = decoding.created(body)
        if run.thread_id not in (fields.get("thread_id", run.thread_id), None):
            raise ForeignAnswerError(f"the answer is about run {run.id}, which another create has made")
        return run

    return _post(_RUNS, decode, fields)


def resume(run_id: str, body: Mapping[str, Any], *, include_steps: bool) -> Call[MiddeskRun | None]:
    """Answer an interrupt; named on the page of a run, and nowhere described."""
    names = {"run_id": run_id}
    return _post(f"{_RUN}/resume", decoding.resumed(run_id), body, names, include=_include(include_steps))


def feedback(run_id: str, fields: Mapping[str, Any]) -> Call[RunFeedback]:
    """Rate an artifact of a run ("Submit agent run feedback")."""
    return _post(f"{_RUN}/feedback", decoding.feedback, given(fields), {"run_id": run_id})


def stream(run_id: str) -> Call[None]:
    """Follow a run ("Stream agent run events"); its answer is read as it comes."""
    return _get(f"{_RUN}/stream", _unread, {"run_id": run_id})


def thread(thread_id: str) -> Call[MiddeskThread]:
    """Read a thread ("Retrieve an agent thread")."""
    return _get(f"{_THREADS}/{{thread_id}}", decoding.thread(thread_id), {"thread_id": thread_id})


def create_thread(fields: Mapping[str, Any]) -> Call[MiddeskThread]:
    """Start a thread ("Create an agent thread")."""
    return _post(_THREADS, decoding.created_thread, fields)


def threads(number: int | None, per_page: int | None, business_id: str | None) -> Call[MiddeskThreadPage]:
    """Read a page of threads ("List agent threads")."""
    return _get(_THREADS, decoding.threads, page=number, per_page=per_page, business_id=business_id)


def agent(agent_id: str) -> Call[MiddeskAgent]:
    """Read an agent ("Retrieve an agent")."""
    return _get("/v1/agents/{agent_id}", decoding.agent(agent_id), {"agent_id": agent_id})


def agents() -> Call[tuple[MiddeskAgent, ...]]:
    """Read which agents there are ("List agents")."""
    return _get("/v1/agents", decoding.agents)


def _get(path: str, decode: Callable[[bytes], T], names: Mapping[str, str] = _NO_NAMES, **query: Value) -> Call[T]:
    return Call(limit=ENDPOINT, path=path, values=names, read=_reader(decode), query=query)


def _post(
    path: str,
    decode: Callable[[bytes], T],
    fields: Mapping[str, Any],
    names: Mapping[str, str] = _NO_NAMES,
    **query: Value,
) -> Call[T]:
    return Call(limit=ENDPOINT, method="POST", path=path, values=names, read=_reader(decode), query=query, json=fields)


def _reader(decode: Callable[[bytes], T]) -> Callable[[Response], T]:
    return lambda answer: decode(answer.body)


def _unread(_body: bytes) -> None:
    pass


def _include(steps: bool) -> str | None:
    return "steps" if steps else None
