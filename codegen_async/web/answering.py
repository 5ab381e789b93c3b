"""Answer a request as all applications here do: what goes wrong instead is told as a problem. Knows no route."""

from __future__ import annotations

import logging
from collections.abc import Awaitable
from typing import TypeVar

import msgspec

from codegen_async.errors import CodegenAsyncError
from codegen_async.reading import UNREADABLE
from codegen_async.web.asgi import BodyError, GoneError, Receive, Reply, Scope, body_of, header
from codegen_async.web.problems import Problem, problem, stated

T = TypeVar("T")

_log = logging.getLogger("codegen_async")

_OURS = (500, 502)  # statuses whose reasons only the log tells


class RefusedError(Exception):
    """Say that a request is answered with a problem."""

    def __init__(self, told: Problem) -> None:
        super().__init__(told.status)
        self.told = told


async def answered(replying: Awaitable[T], name: str) -> T | Reply | None:
    """Return an answer, or the problem that it came to; None: the other side has left.

    Args:
        replying: what answers.
        name: of the application, for the log.
    """
    try:
        return await replying
    except GoneError:
        return None
    except RefusedError as refused:
        return refused.told.reply()
    except BodyError as error:
        return stated(error.status, error.detail).reply()
    except CodegenAsyncError as error:
        told = problem(error)
        if told.status in _OURS:
            _log.warning("%s: a request failed: %s", name, error)
        return told.reply()
    except Exception as error:  # noqa: BLE001 - whatever functions of the user raise
        _log.exception("%s: a request failed", name)
        return problem(error).reply()


async def json_of(scope: Scope, receive: Receive, kind: type[T], *, most: int) -> T:
    """Return the JSON object that is the body of a request.

    Raises:
        RefusedError: it is none, or is not said to be JSON: other sites can send none in a visitor's name that is,
            without being asked first.
        BodyError, GoneError: as `body_of`.
    """
    if (header(scope, "content-type") or "").partition(";")[0].strip().lower() != "application/json":
        raise RefusedError(stated(415, "Expected application/json."))
    body = await body_of(receive, most)
    try:
        return msgspec.json.decode(body, type=kind)
    except UNREADABLE:
        raise RefusedError(stated(400, "Expected a JSON object.")) from None


def only(methods: str) -> Reply:
    """Return the answer to a request of another method than these."""
    return stated(405, f"Expected {methods}.").reply().with_headers({"allow": methods})
