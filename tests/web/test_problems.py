"""What browsers are told of errors: enough to act on, and nothing of what is behind."""

import pytest

from codegen_async import (
    APIError,
    AuthenticationError,
    BatchPausedError,
    CapacityError,
    ClientClosedError,
    ConnectionFailedError,
    CreateOutcomeUnknownError,
    DecodeError,
    GatewayError,
    InvalidArgumentError,
    InvalidRequestError,
    LimiterBusyError,
    NotFoundError,
    NotOfferedError,
    PermissionDeniedError,
    QuotaExceededError,
    RateLimitedError,
    RequestTimeoutError,
    RunEndedError,
    ServerError,
    WaitTimeoutError,
)
from codegen_async.web import problem

ORG = 987654321


def of(kind: type[APIError], **more: object) -> APIError:
    error = kind("the organization's word", method="GET", path=f"/v1/organizations/{ORG}/agent/run/17", status=400)
    for name, value in more.items():
        setattr(error, name, value)
    return error


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (InvalidArgumentError("prompt", "secret value", "a text that is not blank"), 422),
        (of(NotFoundError), 404),
        (of(QuotaExceededError), 402),
        (of(RateLimitedError), 503),
        (LimiterBusyError("create", 12.3, 1.0), 503),
        (of(CapacityError), 503),
        (ClientClosedError("closed"), 503),
        (BatchPausedError("paused"), 503),
        (of(RequestTimeoutError), 504),
        (WaitTimeoutError("late", run_id=17, run=None), 504),
        (of(AuthenticationError), 502),
        (of(PermissionDeniedError), 502),
        (of(InvalidRequestError), 502),
        (of(ServerError), 502),
        (of(GatewayError), 502),
        (of(DecodeError), 502),
        (of(ConnectionFailedError), 502),
        (of(CreateOutcomeUnknownError, key="the-key"), 502),
        (of(RunEndedError), 409),
        (NotOfferedError("Acme has no list"), 501),
        (KeyError("a defect"), 500),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else str(value),
)
def test_each_error_has_a_status_and_tells_nothing_of_what_is_behind(error: Exception, status: int) -> None:
    told = problem(error)
    assert told.status == told.body["status"] == status
    assert told.headers["content-type"] == "application/problem+json"
    assert (told.body["type"], bool(told.body["title"]), bool(told.body["detail"])) == ("about:blank", True, True)
    for secret in (str(ORG), "organizations", "the-key", "secret value", "organization's word", "Acme", "a defect"):
        assert secret not in str(told)


def test_it_is_said_when_to_come_again() -> None:
    assert problem(LimiterBusyError("create", 12.3, 1.0)).headers["retry-after"] == "13"
    assert problem(of(RateLimitedError, retry_after=7.0)).headers["retry-after"] == "7"
    assert problem(of(RateLimitedError)).headers["retry-after"] == "1"
    assert "retry-after" not in problem(of(ServerError, retry_after=7.0)).headers


def test_the_field_is_named_as_it_was_given() -> None:
    error = InvalidArgumentError("prompt", "", "a text that is not blank")
    assert problem(error).body["detail"] == "prompt: expected a text that is not blank"
