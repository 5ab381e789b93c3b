"""From checked arguments to requests. Pure; what is text in a path is quoted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from codegen_async.hosted.wire import json_body, query_of, segment
from codegen_async.http.answers import Request

ENDPOINT = "all"
"""Whose limit every request spends: the vendor states one, "20 requests per second per customer"."""

_RUNS = "/v1/runs"
_RUN = "/v1/runs/{run_id}"
_THREADS = "/v1/threads"
_NO_NAMES: Mapping[str, str] = {}


def get(run_id: str, *, include_steps: bool = False) -> Request:
    """Read a run ("Retrieve an agent run")."""
    return _get(_RUN, {"run_id": run_id}, include=_include(include_steps))


def page(number: int | None, per_page: int | None) -> Request:
    """Read a page of runs ("List agent runs")."""
    return _get(_RUNS, page=number, per_page=per_page)


def create(fields: Mapping[str, Any]) -> Request:
    """Start a run ("Create an agent run")."""
    return _post(_RUNS, json_body(fields))


def resume(run_id: str, body: Mapping[str, Any], *, include_steps: bool) -> Request:
    """Answer an interrupt; named on the page of a run, and nowhere described."""
    return _post(f"{_RUN}/resume", msgspec.json.encode(body), {"run_id": run_id}, include=_include(include_steps))


def feedback(run_id: str, fields: Mapping[str, Any]) -> Request:
    """Rate an artifact of a run ("Submit agent run feedback")."""
    return _post(f"{_RUN}/feedback", json_body(fields), {"run_id": run_id})


def stream(run_id: str) -> Request:
    """Follow a run ("Stream agent run events")."""
    return _get(f"{_RUN}/stream", {"run_id": run_id})


def thread(thread_id: str) -> Request:
    """Read a thread ("Retrieve an agent thread")."""
    return _get(f"{_THREADS}/{{thread_id}}", {"thread_id": thread_id})


def create_thread(fields: Mapping[str, Any]) -> Request:
    """Start a thread ("Create an agent thread")."""
    return _post(_THREADS, json_body(fields))


def threads(number: int | None, per_page: int | None, business_id: str | None) -> Request:
    """Read a page of threads ("List agent threads")."""
    return _get(_THREADS, page=number, per_page=per_page, business_id=business_id)


def agent(agent_id: str) -> Request:
    """Read an agent ("Retrieve an agent")."""
    return _get("/v1/agents/{agent_id}", {"agent_id": agent_id})


def agents() -> Request:
    """Read which agents there are ("List agents")."""
    return _get("/v1/agents")


def _get(template: str, names: Mapping[str, str] = _NO_NAMES, **query: object) -> Request:
    return Request(
        endpoint=ENDPOINT, method="GET", path=_path(template, names), template=template, query=query_of(**query)
    )


def _post(template: str, body: bytes, names: Mapping[str, str] = _NO_NAMES, **query: object) -> Request:
    return Request(
        endpoint=ENDPOINT,
        method="POST",
        path=_path(template, names),
        template=template,
        query=query_of(**query),
        body=body,
    )


def _path(template: str, names: Mapping[str, str]) -> str:
    return template.format(**{place: segment(name) for place, name in names.items()})


def _include(steps: bool) -> str | None:
    return "steps" if steps else None
