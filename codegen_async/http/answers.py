"""What an answer means: whose it is, whether to repeat the request, and which error it is. Pure: no I/O.

What is repeated is written down in `judge`: a request that does the same when it is sent `Twice` after everything that
may pass; any other only where the server provably did not act, since a repeated create costs its user money.

A refusal counts for what it says only in the API's own form, which the dialect knows. In any other form it was written
by something on the way (a gateway, a firewall, a page of maintenance), which may have passed the request on:

| status | the API's own | anybody else's, done twice | anybody else's, done once |
|---|---|---|---|
| 2xx that is no JSON | - | outage, repeated | unknown outcome |
| 3xx, 407, 511 | - | redirected, refused | redirected, refused: it was not passed on |
| 401 | refused | refused: the token, whoever looks at it | refused |
| 413, 414, 431 | refused | refused: too large, seen before anything is done | refused |
| 408 | - | repeated | unknown outcome: gateways that pass the request on send it too |
| 421, 425, 429 | repeated | repeated | repeated: they say that nothing was done |
| other 4xx | refused | outage, repeated | unknown outcome |
| 5xx, what HTTP does not know | repeated, or unknown outcome | repeated | unknown outcome |

A dialect may know better what a refusal means: a `Refusal` goes before all of this.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from typing import Any, TypedDict, cast

import msgspec

from codegen_async.cleaning import clean
from codegen_async.errors import (
    AlreadyExistsError,
    APIError,
    AuthenticationError,
    CapacityError,
    ConnectionFailedError,
    DecodeError,
    GatewayError,
    InvalidRequestError,
    NotFoundError,
    OutcomeUnknownError,
    PermissionDeniedError,
    QuotaExceededError,
    RateLimitedError,
    RedirectedError,
    RequestTimeoutError,
    RunEndedError,
    ServerError,
    StatusError,
)
from codegen_async.http.complaints import read_complaint
from codegen_async.http.retry import parse_retry_after
from codegen_async.reading import UNREADABLE, read_json
from codegen_async.secret import Secret

TOO_MANY_REQUESTS = 429
_LOGINS = (407, 511)
_NO_HEADERS: Mapping[str, str] = {}
_BODY_SHOWN = 1024  # characters of an unreadable answer that an error keeps
_FIELDS_SHOWN = 100
_BODY_READ = 65536  # and that are looked at for that, as a token in it may be written at length
_REDIRECT = "redirects are not followed, as they would carry the token elsewhere; check the base URL"
_LOGIN = "something on the way to the API wants a login first"
_FOREIGN = "it was not the API that answered, but something on the way; if it lasts, check the base URL"

OwnForm = Callable[[int, dict[str, Any]], bool]
"""Tell whether a refusal is the API's own: takes the status and the JSON object that came with it."""


class Twice(enum.Enum):
    """Say what comes of sending a request a second time; decides what is repeated, and what a lost answer leads to."""

    SAME = "same"
    """No more than of the first: it only reads, also by POST, or bears a key that the server knows."""
    REFUSED = "refused"
    """The server refuses it where the first was carried out, for a name of the caller's choice is taken."""
    ANOTHER = "another"
    """Another run, or whatever it is that it makes."""


class Refusal(enum.Enum):
    """Say what a refusal means, whatever its status."""

    RATE = "rate"
    """Too many requests: the limiter is held, and the request repeated."""
    FULL = "full"
    """Too many runs at once: nothing was done, and more will be possible when one has ended."""
    QUOTA = "quota"
    """The plan or the money is used up: a person has to act."""
    EXISTS = "exists"
    """What was to be made is there: an earlier attempt was carried out."""
    STILL = "still"
    """The run does not move any more, so there is nothing to cancel or to answer."""
    NOT_DONE = "not done"
    """Nothing was done, and the request may be sent again."""


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """Describe one request.

    Attributes:
        endpoint: whose limit it spends.
        method: GET, POST, PUT, PATCH or DELETE.
        path: absolute path, already quoted, built from checked values only.
        template: the path with names for the values in it, which tells calls of one kind from others.
        query: the query string's pairs; names may come again.
        body: JSON.
        headers: pairs besides those that all requests have.
        twice: what comes of sending it again. Default: of a GET the same, of all others another.
        refusals: what statuses of refusals mean to this request, where the API itself sends them.
    """

    endpoint: str
    method: str
    path: str
    template: str = ""
    query: tuple[tuple[str, str], ...] = ()
    body: bytes | None = None
    headers: tuple[tuple[str, str], ...] = ()
    twice: Twice | None = None
    refusals: Mapping[int, Refusal] = {}

    @property
    def repeatable(self) -> bool:
        """Whether sending it twice does no more than sending it once."""
        return self.method == "GET" if self.twice is None else self.twice is Twice.SAME

    def __repr__(self) -> str:
        return f"Request({self.method} {self.path})"  # crash reporters show it, and the body is the user's


class Response(msgspec.Struct, frozen=True, kw_only=True):
    """Hold an answer.

    Attributes:
        status: the HTTP status.
        headers: what matters of the headers, names in lower case.
        body: the body, as far as it came.
        problem: why the body is not whole; None if it is.
        too_large: whether that is for its size, which another attempt would not mend.
        own: whether it is the API's own, as far as its form tells.
        refusal: what the dialect takes it for, where it refuses; None where its status says what it means.
    """

    status: int
    headers: Mapping[str, str] = {}
    body: bytes = b""
    problem: str | None = None
    too_large: bool = False
    own: bool = True
    refusal: Refusal | None = None

    def json(self) -> Any:
        """Return the body decoded.

        Raises:
            msgspec.DecodeError: it is no JSON.
        """
        return read_json(self.body)

    @property
    def rate_limited(self) -> bool:
        """Whether there were too many requests."""
        return self.status == TOO_MANY_REQUESTS if self.refusal is None else self.refusal is Refusal.RATE

    @property
    def retry_after(self) -> float | None:
        """Seconds the server asks to wait, None where it does not say."""
        return parse_retry_after(self.headers.get("retry-after"), self.headers.get("date"))

    def __repr__(self) -> str:
        return f"Response({self.status}, {len(self.body)} bytes)"  # as above; and a server may echo the token


_NO_REFUSALS: Mapping[int, Refusal] = {}

Refused = Callable[[Response], Refusal | None]
"""Tell what a refusal means; None where that is what its status says."""


class NoAnswerError(Exception):
    """Say that no status line came at all.

    Attributes:
        reason: what happened, fit for a message.
        sent: whether a byte of the request may have reached the server.
        timed_out: whether it was our patience that ended.
        where: the host that was asked, with its port where that is not the usual one.
        detail: what the system said.
    """

    def __init__(
        self, reason: str, *, sent: bool, timed_out: bool = False, where: str = "", detail: str | None = None
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.sent = sent
        self.timed_out = timed_out
        self.where = where
        self.detail = detail

    @property
    def told(self) -> str:
        """All of it in one sentence."""
        reason = f"{self.reason} ({self.detail})" if self.detail else self.reason
        return f"{self.where}: {reason}" if self.where else reason


class Unreadable(msgspec.Struct, frozen=True):
    """Say why a successful answer cannot be read.

    Attributes:
        problem: what is wrong with it.
        passing: whether another attempt may bring a better one.
        of_the_road: whether it says something of what is between here and the API: cut short, or no JSON.
        absent: whether it says, as a 404 does, that what was asked for is not there.
    """

    problem: str
    passing: bool = True
    of_the_road: bool = False
    absent: bool = False


class Verdict(enum.Enum):
    """Say what an attempt came to."""

    DONE = "done"
    RETRY = "retry"
    REFUSED = "refused"
    UNKNOWN = "unknown"


_MEANINGS = {
    Refusal.RATE: Verdict.RETRY,
    Refusal.NOT_DONE: Verdict.RETRY,
    **dict.fromkeys((Refusal.FULL, Refusal.QUOTA, Refusal.EXISTS, Refusal.STILL), Verdict.REFUSED),
}

# The table of the module. Statuses that are not listed are judged by their class.
_TWICE_STATUSES: dict[int, Verdict] = {
    **dict.fromkeys((401, 407, 413, 414, 431, 511), Verdict.REFUSED),
    **dict.fromkeys((408, 421, 425, 429), Verdict.RETRY),
}
_ONCE_STATUSES = {**_TWICE_STATUSES, 408: Verdict.UNKNOWN}
_CLASSES = {2: Verdict.DONE, 3: Verdict.REFUSED, 4: Verdict.REFUSED}


def judge(request: Request, outcome: Response | NoAnswerError | Unreadable) -> Verdict:
    """Decide what an attempt came to, by what was sent and answered, never by the class of an exception."""
    if isinstance(outcome, NoAnswerError):
        return Verdict.UNKNOWN if outcome.sent and not request.repeatable else Verdict.RETRY
    if isinstance(outcome, Unreadable):
        if not request.repeatable:
            return Verdict.UNKNOWN
        return Verdict.RETRY if outcome.passing else Verdict.REFUSED
    if outcome.refusal is not None:
        return _MEANINGS[outcome.refusal]
    statuses, otherwise = (_TWICE_STATUSES, Verdict.RETRY) if request.repeatable else (_ONCE_STATUSES, Verdict.UNKNOWN)
    known = statuses.get(outcome.status)
    if known is not None or not outcome.own:
        return known or otherwise
    return _CLASSES.get(outcome.status // 100, otherwise)


def attributed(
    response: Response, is_own: OwnForm, refused: Refused | None = None, refusals: Mapping[int, Refusal] = _NO_REFUSALS
) -> Response:
    """Return an answer with what its form tells: what it means, where it refuses, and of a 4xx whose it is."""
    if response.status // 100 < 4:  # noqa: PLR2004 - 4xx and above
        return response
    if refused is not None and (refusal := refused(response)) is not None:
        return msgspec.structs.replace(response, refusal=refusal)
    if response.status // 100 > 4:  # noqa: PLR2004 - 5xx
        return response
    own = is_own(response.status, _json_object(response.body))
    return msgspec.structs.replace(response, own=own, refusal=refusals.get(response.status) if own else None)


def _json_object(body: bytes) -> dict[str, Any]:
    """Return the JSON object that a body is; an empty one if it is something else."""
    try:
        said = read_json(body)
    except UNREADABLE:
        return {}
    return cast("dict[str, Any]", said) if isinstance(said, dict) else {}


class ErrorMaker:
    """Turn what an attempt came to into the error to raise: the one place where answers become exceptions.

    Args:
        request: the request.
        attempts: how often it was tried.
        token: scrubbed from what the server says.
    """

    def __init__(self, request: Request, attempts: int, token: Secret) -> None:
        self._request = request
        self._attempts = attempts
        self._token = token

    def no_answer(self, failure: NoAnswerError) -> APIError:
        """Return the error for an attempt without an answer."""
        if judge(self._request, failure) is Verdict.UNKNOWN:
            return self._unknown(failure.told, None)
        kind = RequestTimeoutError if failure.timed_out else ConnectionFailedError
        return kind(self._safe(failure.told), **self._facts(None))

    def status(self, response: Response) -> APIError:
        """Return the error for an answer other than success."""
        complaint = read_complaint(response.body, self._token.scrub)
        kind = _kind(response)
        message = f"{response.status} {_explained(response, kind) or complaint.text}"
        if kind is GatewayError:
            message = f"{self._safe(message)} ({_FOREIGN})"
        if judge(self._request, response) is Verdict.UNKNOWN:
            return self._unknown(message, response)
        error = kind(self._safe(message), **self._facts(response))
        if isinstance(error, GatewayError):
            error.body = self._shown(response)
        if isinstance(error, InvalidRequestError):
            error.fields = tuple(map(self._safe, complaint.fields[:_FIELDS_SHOWN]))
        error.retry_after = response.retry_after
        error.code = None if complaint.code is None else clean(self._safe(complaint.code), 100)
        return error

    def unreadable(self, response: Response, why: Unreadable) -> APIError:
        """Return the error for a success that cannot be read, or that says that there is nothing."""
        if why.absent:
            return NotFoundError(self._safe(why.problem), **self._facts(response))
        if not self._request.repeatable:
            likely_done = not why.of_the_road or _may_be_the_apis(response.body)
            who = "the server" if likely_done else "something on the way"
            unknown = self._unknown(f"{who} reported success, but: {why.problem}", response)
            unknown.likely_done = likely_done
            return unknown
        kind = GatewayError if why.of_the_road else DecodeError
        error = kind(self._safe(why.problem), **self._facts(response))
        error.body = self._shown(response)
        return error

    def _shown(self, response: Response) -> str:
        text = response.body[:_BODY_READ].decode("utf-8", "replace")
        return clean(self._token.scrub(text)[:_BODY_SHOWN], _BODY_SHOWN)

    def _unknown(self, reason: str, response: Response | None) -> OutcomeUnknownError:
        return OutcomeUnknownError(
            self._safe(f"sent, but whether it was carried out is unknown: {reason}"), **self._facts(response)
        )

    def _facts(self, response: Response | None) -> _Facts:
        headers = _NO_HEADERS if response is None else response.headers
        request_id = headers.get("x-request-id") or headers.get("request-id")
        return {
            "method": self._request.method,
            "path": self._request.path,
            "status": None if response is None else response.status,
            "request_id": None if request_id is None else self._safe(request_id),
            "attempts": self._attempts,
        }

    def _safe(self, text: str) -> str:
        return clean(self._token.scrub(text[:_BODY_READ]), 300)


class _Facts(TypedDict):
    """What every error carries; see `APIError`."""

    method: str
    path: str
    status: int | None
    request_id: str | None
    attempts: int


_STATUS_ERRORS: dict[int, type[StatusError]] = {
    400: InvalidRequestError,
    401: AuthenticationError,
    402: QuotaExceededError,
    403: PermissionDeniedError,
    404: NotFoundError,
    **dict.fromkeys((408, 421, 425), ServerError),  # not now, which passes
    422: InvalidRequestError,
    429: RateLimitedError,
}


_REFUSAL_ERRORS: dict[Refusal, type[StatusError]] = {
    Refusal.RATE: RateLimitedError,
    Refusal.FULL: CapacityError,
    Refusal.QUOTA: QuotaExceededError,
    Refusal.EXISTS: AlreadyExistsError,
    Refusal.STILL: RunEndedError,
    Refusal.NOT_DONE: ServerError,
}


def _may_be_the_apis(body: bytes) -> bool:
    """Whether a success that is no JSON may be what is left of the API's: nothing, or the beginning of an object."""
    return body.strip()[:1] in (b"", b"{")


def _kind(response: Response) -> type[StatusError]:
    if response.refusal is not None:
        return _REFUSAL_ERRORS[response.refusal]
    if response.status // 100 == 3 or response.status in _LOGINS:  # noqa: PLR2004 - 3xx
        return RedirectedError
    if not response.own and response.status not in _TWICE_STATUSES:
        return GatewayError
    return _STATUS_ERRORS.get(response.status) or (ServerError if response.status >= 500 else StatusError)  # noqa: PLR2004 - 5xx


def _explained(response: Response, kind: type[StatusError]) -> str | None:
    """Return what to say in place of the answer's own words."""
    if kind is not RedirectedError:
        return None
    return _LOGIN if response.status in _LOGINS else _REDIRECT
