"""The exceptions of the package. This is the whole tree.

    CodegenAsyncError
    |- ConfigurationError            the client cannot work as it was set up (also a ValueError)
    |- InvalidArgumentError          an argument was refused, nothing was sent (also a ValueError)
    |- NotOfferedError               the API has no such call, nothing was sent
    |- ClientClosedError             the client is used outside its `async with` (also a RuntimeError)
    |- LimiterBusyError              a slot is further away than the caller's patience, nothing was sent; `wait`
    |- APIError                      a call failed; carries method, path, status, request_id, attempts
    |  |- StatusError                the server answered, and not with success; `retry_after`
    |  |  |- InvalidRequestError     400, 422: the server refused the request; `fields` says where
    |  |  |- AuthenticationError     401: the token is missing, wrong or expired
    |  |  |- QuotaExceededError      402: the plan's runs are used up
    |  |  |- PermissionDeniedError   403: the token has no access
    |  |  |- NotFoundError           404: no such run (or, on create, no repository)
    |  |  |- RateLimitedError        429: still refused after the attempts made
    |  |  |- CapacityError           as many runs are under way as the plan allows; nothing was done
    |  |  |- AlreadyExistsError      what was to be made is there: an earlier attempt was carried out
    |  |  |- RunEndedError           the run does not move any more: there is nothing to cancel or to answer
    |  |  |- RedirectedError         3xx, 407, 511: something on the way wants to be asked elsewhere, or a login first
    |  |  `- ServerError             5xx; 408, 421, 425: the server could not, for now
    |  |     `- GatewayError         something on the way answered, not the API; `body` is its first KB
    |  |- DecodeError                the answer is not what the vendor's page promises; `body` is its first KB
    |  |- ConnectionFailedError      no answer: refused, reset, unresolvable, broken HTTP
    |  |- RequestTimeoutError        no answer in time (also a TimeoutError)
    |  `- OutcomeUnknownError        a create or resume may have happened or not; `likely_done`
    |     `- CreateOutcomeUnknownError  a create of which no run was found; `key` tells it apart
    |- BatchPausedError              a batch cannot go on now; nothing is lost, running it again goes on
    |- JournalError                  a batch's journal cannot be used; `path`
    |- RunError                      about one run; carries run_id and the last snapshot, if any
    |  |- RunFailedError             the run ended badly: the server's verdict
    |  |- RunBlockedError            the run needs a person before it can go on
    |  `- WaitTimeoutError           our verdict: not ended in time; waiting can be taken up again (also a TimeoutError)

None of them ever carries the token or an object of the HTTP library.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TypeVar

from codegen_async.cleaning import clean, shown
from codegen_async.models import RunId, RunLike

E = TypeVar("E", bound=BaseException)


class CodegenAsyncError(Exception):
    """Stand above every exception that the package raises on purpose. Can be copied and pickled.

    What to do: catch it where all that goes wrong is to be told; `is_passing(error)` says whether the same call may
    do later.
    """

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), self.args, self.__dict__)


def _rebuild(kind: type[CodegenAsyncError], args: tuple[object, ...], state: dict[str, object]) -> CodegenAsyncError:
    # The constructors demand keywords, which the default way of copying an exception does not know.
    error = kind.__new__(kind)
    error.args = args
    error.__dict__.update(state)
    return error


def own_copy(error: E) -> E:
    """Return the error for one more task: each wants a traceback of its own."""
    return copy.copy(error) if isinstance(error, CodegenAsyncError) else error


class NotOfferedError(CodegenAsyncError):
    """Say that the API has no such call; nothing was sent.

    What to do: leave the call out, or do what it was for by calls that the API has. In a dialect of your own, write
    the method that makes this call.
    """


class ConfigurationError(CodegenAsyncError, ValueError):
    """Say that the client cannot work as it was set up.

    What to do: correct the argument that the message names, or the environment variable that stands in for it;
    `codegen-async config view` shows where each value comes from.
    """


class InvalidArgumentError(CodegenAsyncError, ValueError):
    """Say that an argument was refused before anything was sent.

    What to do: give what is expected, and call again: nothing was sent.

    Attributes:
        field: the argument's name.
        value: what was given.
        expected: what would be right.
    """

    def __init__(self, field: str, value: object, expected: str) -> None:
        super().__init__(f"{clean(field)}: expected {expected}, got {shown(value)}")
        self.field = field
        self.value = value
        self.expected = expected


class ClientClosedError(CodegenAsyncError, RuntimeError):
    """Say that the client is used outside its `async with` block.

    What to do: keep calls inside the block, or between `open()` and `aclose()`. A run that was waited for goes on:
    wait for it by its id with the next client.
    """


class LimiterBusyError(CodegenAsyncError):
    """Say that a slot is further away than the `patience` of a call. Nothing was sent, or nothing was done.

    What to do: call again after `wait` seconds, or with more `patience`; without one, the call waits as long as it
    takes.

    Attributes:
        endpoint: whose limit is spent.
        wait: seconds until a slot is likely to be free.
    """

    def __init__(self, endpoint: str, wait: float, patience: float) -> None:
        super().__init__(
            f"{endpoint}: the next slot is {wait:.1f} s away, which is more than the patience of {patience:g} s"
        )
        self.endpoint = endpoint
        self.wait = wait


class APIError(CodegenAsyncError):
    """Say that a call to the API failed.

    What to do: look at which of its kinds it is: each says more. `request_id` is what the vendor's support asks
    for.

    Attributes:
        reason: what happened, without the method and the path.
        method: the HTTP method.
        path: the path of the URL, without host and query.
        status: the HTTP status, None where no answer came.
        request_id: what the server calls the request, if it said so.
        attempts: how often the request was tried.
    """

    def __init__(
        self,
        message: str,
        *,
        method: str,
        path: str,
        status: int | None = None,
        request_id: str | None = None,
        attempts: int = 1,
    ) -> None:
        tried = "" if attempts == 1 else f" (after {attempts} attempts)"
        super().__init__(f"{method} {path}: {clean(message, 600)}{tried}")
        self.reason = message
        self.method = method
        self.path = path
        self.status = status
        self.request_id = request_id
        self.attempts = attempts


class StatusError(APIError):
    """Say that the server answered with something other than success.

    What to do: look at `status` and at the message, which is in the server's words.

    Attributes:
        retry_after: seconds until the server says it will listen again, None where it did not say.
        code: the server's own word or number for what went wrong, None where it gave none.
    """

    retry_after: float | None = None
    code: str | None = None


class InvalidRequestError(StatusError):
    """Say that the server refused the request as malformed (400, 422).

    What to do: correct what `fields` names. The same request is refused again.

    Attributes:
        fields: one text per complaint, such as `query.limit: Input should be less than or equal to 100`.
    """

    fields: Sequence[str] = ()


class AuthenticationError(StatusError):
    """Say that the token is missing, wrong or expired (401).

    What to do: set a token that is good; `codegen-async doctor` tries it. A token may have been withdrawn while the
    program ran.
    """


class QuotaExceededError(StatusError):
    """Say that the runs of the billing plan are used up (402).

    What to do: wait for the plan's next period, or enlarge the plan. Runs that exist go on, and can be waited for.
    """


class PermissionDeniedError(StatusError):
    """Say that the token has no access to the organization (403).

    What to do: check the organization and whose token it is: `codegen-async org list` shows those that it has
    access to.
    """


class NotFoundError(StatusError):
    """Say that there is no such run, or on create no repository (404).

    What to do: check the id, and that the run is of the organization (or, at Middesk, of the account) that the
    client speaks for: an id of another one is not found. On create, connect a repository at the vendor;
    `codegen-async repo list` shows which there are.
    """


class RateLimitedError(StatusError):
    """Say that the server still refused for its rate limit after the attempts made (429).

    What to do: find who else spends the same limit: all clients of one token need one budget, by `fleet=`, or
    `processes=`. The client itself keeps within it. Then call again, after `retry_after` seconds if that is given.
    """


class CapacityError(StatusError):
    """Say that as many runs are under way as the plan allows; another can be created when one of them has ended.

    What to do: wait for one of the runs to end, and call again. A create with more `patience` waits for room by
    itself, and so does a batch.
    """


class AlreadyExistsError(StatusError):
    """Say that what was to be made is there already: an earlier attempt was carried out.

    What to do: take what is there. Where another is wanted, make it under another name or key.
    """


class RunEndedError(StatusError):
    """Say that a run does not move any more, so there is nothing to cancel or to answer.

    What to do: look at how the run has ended; to go on from there, start another.
    """


class RedirectedError(StatusError):
    """Say that something on the way leads elsewhere or wants a login first (3xx, 407, 511). No patience mends it.

    What to do: check `base_url`, and what stands between: a proxy that wants a login (`proxy=`), a network that
    wants one in a browser.
    """


class ServerError(StatusError):
    """Say that the server failed (5xx), or could not for now (408, 421, 425).

    What to do: call again later. GETs have been tried up to four times by then; a create that may have been carried out
    is never this error, but `OutcomeUnknownError`.
    """


class GatewayError(ServerError):
    """Say that something on the way answered in place of the API: a refusal, or a success, in a form that is not its.

    That is an outage: it says nothing about the run or the request.

    What to do: call again later. If it lasts, `body` tells who answers: check `base_url` and the proxy.

    Attributes:
        body: the first KB of the answer, cleaned of control characters.
    """

    body: str = ""


class DecodeError(APIError):
    """Say that an answer is not of the documented shape.

    What to do: check that `base_url` is the API's. If it is, `body` shows what has changed; report it.

    Attributes:
        body: the first KB of the answer, cleaned of control characters.
    """

    body: str = ""


class ConnectionFailedError(APIError):
    """Say that no answer came: refused, reset, not resolvable, or not HTTP.

    What to do: check the network, `proxy=` and `base_url`: `codegen-async doctor` says what does not answer. A
    create that ended so was not sent.
    """


class RequestTimeoutError(APIError, TimeoutError):
    """Say that no answer came in time.

    What to do: call again later, or allow more by `timeouts=`.
    """


class OutcomeUnknownError(APIError):
    """Say that a create or resume was sent and nobody knows whether it happened.

    It was not repeated, since that could do it twice.

    What to do: look at the run before you do it again.

    Attributes:
        likely_done: True where the server reported success and only its answer could not be read.
    """

    likely_done: bool = False


class CreateOutcomeUnknownError(OutcomeUnknownError):
    """Say that a create was sent and that no run of its was found.

    What to do: look again, by `find_run_by_key(error.key)`. Only if you are sure that there is no run, create it
    again, under another key.

    Attributes:
        key: the idempotency key it was sent with. `find_run_by_key(key)` finds its run if it comes up later. The same
            key is sent again only where it is proven that there is no run; to create it all the same, give another.
        likely_created: True where the server reported success and only its answer could not be read.
    """

    key: str = ""

    @property
    def likely_created(self) -> bool:
        """Whether the server reported success."""
        return self.likely_done

    @classmethod
    def of(cls, unknown: OutcomeUnknownError, key: str, *, searched: bool) -> CreateOutcomeUnknownError:
        """Return the error for a create whose outcome is still unknown after it was looked for, if it could be."""
        search = "it was looked for and not found" if searched else "it could not be looked for"
        error = cls(
            f"{unknown.reason}; {search}; find_run_by_key({key!r}) looks again, and only if you are sure that there is "
            "no run, create it again, under another key",
            method=unknown.method,
            path=unknown.path,
            status=unknown.status,
            request_id=unknown.request_id,
            attempts=unknown.attempts,
        )
        error.key = key
        error.likely_done = unknown.likely_done
        return error


class BatchPausedError(CodegenAsyncError):
    """Say that a batch cannot go on for now, as the plan or the token does not allow it. Its journal has all of it.

    Its `__cause__` is what the API answered.

    What to do: do what its cause asks for (a larger plan, another token), and run the batch again.
    """


class JournalError(CodegenAsyncError):
    """Say that the journal of a batch cannot be used: full disk, no permission, damaged, held by another process.

    What to do: do what the message says: it names the way on. While another process runs the batch, let that one
    finish, or stop it.

    Attributes:
        path: the journal's file.
    """

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(f"{clean(path, 300)}: {clean(problem, 600)}")
        self.path = path


class RunError(CodegenAsyncError):
    """Say something about one run.

    What to do: look at `run`, and ask for it anew by `run_id`.

    Attributes:
        run_id: the run.
        run: its last known snapshot, None where it was never seen.
    """

    def __init__(self, message: str, *, run_id: RunId, run: RunLike | None) -> None:
        super().__init__(clean(message, 600))
        self.run_id = run_id
        self.run = run


class RunFailedError(RunError):
    """Say that a run ended in failure or was stopped.

    What to do: read `run.result` and the log of the run; then start another, or tell this one how to go on, where
    the API can (`resume_run`).
    """


class RunBlockedError(RunError):
    """Say that a run cannot go on before a person acts.

    What to do: answer it (`resume_run`, `reply`, or on the page of the run), and wait again.
    """


class WaitTimeoutError(RunError, TimeoutError):
    """Say that a run did not end in the time given. The run itself goes on.

    What to do: wait again by `run_id`: nothing is lost by it. To have the run end as well, stop it.
    """


PASSING = (ConnectionFailedError, RequestTimeoutError, RateLimitedError, ServerError)
"""What goes by with time, and is no fault of the request."""


def is_passing(error: BaseException) -> bool:
    """Whether an error goes by with time, so that the same call may do what was wanted later.

    An outage, a gateway, a limit, or no room for one more run. Not so a create whose outcome is unknown: to make that
    again is safe only under the same `idempotency_key` and with `newer_than`.
    """
    return isinstance(error, (*PASSING, LimiterBusyError, CapacityError))


REFUSALS = (AuthenticationError, PermissionDeniedError)
"""What a token may not do, or one that is not good."""
