"""Tell a browser what went wrong, without what is none of its business."""

from __future__ import annotations

import math
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, NamedTuple

from codegen_async.cleaning import clean
from codegen_async.errors import (
    APIError,
    BatchPausedError,
    CapacityError,
    ClientClosedError,
    CodegenAsyncError,
    InvalidArgumentError,
    LimiterBusyError,
    NotFoundError,
    NotOfferedError,
    OutcomeUnknownError,
    QuotaExceededError,
    RateLimitedError,
    RunBlockedError,
    RunEndedError,
)
from codegen_async.web.asgi import Reply, json_reply

_SOON = 1.0  # seconds after which to come again, where nobody knows better

_TOLD: tuple[tuple[type[BaseException] | tuple[type[BaseException], ...], int, str], ...] = (
    # The first that fits.
    (NotFoundError, 404, "There is no such run."),
    (QuotaExceededError, 402, "The runs of the plan are used up."),
    ((LimiterBusyError, RateLimitedError), 503, "Too many requests are in line."),
    (CapacityError, 503, "As many runs are under way as may be."),
    ((ClientClosedError, BatchPausedError), 503, "Nothing is started just now."),
    (OutcomeUnknownError, 502, "It was sent, and nobody knows yet whether it was carried out."),
    ((RunEndedError, RunBlockedError), 409, "The run does not stand where this can be done."),
    (TimeoutError, 504, "No answer came in time."),
    (NotOfferedError, 501, "There is no such call."),
    (APIError, 502, "The service behind this one did not do it."),
    (CodegenAsyncError, 500, "Something went wrong."),
)


class Problem(NamedTuple):
    """Hold what to answer: `application/problem+json`, as RFC 9457 describes it.

    Attributes:
        status: the HTTP status.
        body: the JSON of the answer: `type`, `title`, `status` and `detail`.
        headers: headers that belong to it: its content type and, with a 503, `retry-after`.
    """

    status: int
    body: Mapping[str, Any]
    headers: Mapping[str, str]

    def reply(self) -> Reply:
        """Return it as an answer."""
        return json_reply(self.status, self.body, self.headers)


def problem(error: BaseException) -> Problem:
    """Return what to answer to a browser whose request came to this error.

    What the API says of our token (401, 403) is not about the browser's login: that is a 502 like all that goes wrong
    behind us. Paths, organizations, keys and the server's words stay here, in the log.

    Args:
        error: what was raised; what is no error of this package is a 500.
    """
    if isinstance(error, InvalidArgumentError):
        return stated(422, f"{clean(error.field)}: expected {clean(error.expected)}")
    for kinds, status, detail in _TOLD:
        if isinstance(error, kinds):
            return stated(status, detail, wait=_wait_of(error) if status == 503 else None)  # noqa: PLR2004 - HTTP
    return stated(500, "Something went wrong.")


def stated(status: int, detail: str, *, wait: float | None = None) -> Problem:
    """Return a problem in words; `wait`: seconds after which to come again."""
    body = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": detail}
    headers = {"content-type": "application/problem+json"}
    if wait is not None:
        headers["retry-after"] = str(max(1, math.ceil(wait)))
    return Problem(status, body, headers)


def _wait_of(error: BaseException) -> float:
    told = error.wait if isinstance(error, LimiterBusyError) else getattr(error, "retry_after", None)
    return _SOON if told is None else float(told)
