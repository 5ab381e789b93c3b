"""Write server-sent events, as the HTML standard says browsers read them. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote

import msgspec

from codegen_async.models import RunId
from codegen_async.web.problems import Problem

END = "end"
"""The id of the last event: a browser that comes back with it has seen all there is."""

HEADERS: Mapping[str, str] = {
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-store",
    "x-accel-buffering": "no",  # nginx would keep events back until it has a page full
}

BEGIN = b"retry: 3000\n\n"
PING = b": ping\n\n"
LAST = b"event: end\nid: end\ndata: {}\n\n"


def run_frame(run_id: RunId, number: int, view: bytes) -> bytes:
    """Write what a run looks like; `view` is JSON, which has no line breaks."""
    # An id is text of others: a line break in it would begin a field of its own.
    return b"event: run\nid: %b:%d\ndata: %b\n\n" % (quote(str(run_id), safe="/").encode(), number, view)


def problem_frame(run_id: RunId, problem: Problem) -> bytes:
    """Write that a run cannot be shown, and why; without an id, so that it is no place to go on from."""
    return b"event: problem\ndata: %b\n\n" % msgspec.json.encode({"run": run_id, **problem.body})
