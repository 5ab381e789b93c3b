"""What is repeated, and which error an answer becomes: tables, without a loop or a socket."""

import json
from typing import Any

import pytest

from codegen_async.errors import (
    APIError,
    AuthenticationError,
    ConnectionFailedError,
    DecodeError,
    InvalidRequestError,
    NotFoundError,
    OutcomeUnknownError,
    PermissionDeniedError,
    QuotaExceededError,
    RateLimitedError,
    RedirectedError,
    RequestTimeoutError,
    ServerError,
    StatusError,
)
from codegen_async.http.answers import ErrorMaker, NoAnswerError, Request, Response, Unreadable, Verdict, judge
from codegen_async.secret import Secret
from tests.support.canary import CANARY

GET = Request(endpoint="get", method="GET", path="/v1/organizations/323/agent/run/17")
POST = Request(endpoint="create", method="POST", path="/v1/organizations/323/agent/run", body=b"{}")

DONE, RETRY, REFUSED, UNKNOWN = Verdict.DONE, Verdict.RETRY, Verdict.REFUSED, Verdict.UNKNOWN


def maker(request: Request = GET, attempts: int = 1) -> ErrorMaker:
    return ErrorMaker(request, attempts, Secret(CANARY))


def answer(status: int, body: object = b"", **headers: str) -> Response:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Response(status=status, body=raw, headers={name.replace("_", "-"): value for name, value in headers.items()})


def error(status: int, body: object = b"", *, request: Request = GET, **headers: Any) -> APIError:
    return maker(request).status(answer(status, body, **headers))


# What an attempt came to.


@pytest.mark.parametrize(
    ("statuses", "get", "post"),
    [
        ((200, 201, 202, 204, 206, 299), DONE, DONE),
        ((301, 302, 303, 304, 307, 308), REFUSED, REFUSED),
        ((400, 401, 402, 403, 404, 405, 409, 413, 422, 451, 499), REFUSED, REFUSED),
        ((408,), RETRY, UNKNOWN),  # gateways that have passed the request on send it as well
        ((421, 425, 429), RETRY, RETRY),
        ((407, 511), REFUSED, REFUSED),  # a login is wanted before anything is passed on
        ((500, 501, 502, 503, 504, 520, 522, 524, 530, 599), RETRY, UNKNOWN),
        ((100, 101, 103, 600, 700, 999), RETRY, UNKNOWN),  # no HTTP status that ends a request
    ],
)
def test_a_status_is_judged_by_what_the_server_may_have_done(
    statuses: tuple[int, ...], get: Verdict, post: Verdict
) -> None:
    assert {status: judge(GET, answer(status)) for status in statuses} == dict.fromkeys(statuses, get)
    assert {status: judge(POST, answer(status)) for status in statuses} == dict.fromkeys(statuses, post)


@pytest.mark.parametrize(
    ("outcome", "get", "post"),
    [
        (NoAnswerError("refused", sent=False), RETRY, RETRY),
        (NoAnswerError("no connection in time", sent=False, timed_out=True), RETRY, RETRY),
        (NoAnswerError("reset", sent=True), RETRY, UNKNOWN),
        (NoAnswerError("silence", sent=True, timed_out=True), RETRY, UNKNOWN),
        (Unreadable("cut short"), RETRY, UNKNOWN),
        (Unreadable("not as promised", passing=False), REFUSED, UNKNOWN),
    ],
)
def test_without_a_readable_answer_a_post_is_repeated_only_if_nothing_was_sent(
    outcome: NoAnswerError | Unreadable, get: Verdict, post: Verdict
) -> None:
    assert judge(GET, outcome) is get
    assert judge(POST, outcome) is post


# Which error it is.

STATUS_ERRORS = [
    (101, StatusError),
    (301, RedirectedError),
    (400, InvalidRequestError),
    (401, AuthenticationError),
    (402, QuotaExceededError),
    (403, PermissionDeniedError),
    (404, NotFoundError),
    (408, ServerError),
    (421, ServerError),
    (425, ServerError),
    (409, StatusError),
    (413, StatusError),
    (422, InvalidRequestError),
    (429, RateLimitedError),
    (407, RedirectedError),
    (500, ServerError),
    (511, RedirectedError),
    (503, ServerError),
    (599, ServerError),
    (999, ServerError),
]


@pytest.mark.parametrize(("status", "kind"), STATUS_ERRORS)
def test_each_status_has_its_error(status: int, kind: type[APIError]) -> None:
    failure = maker(GET, attempts=3).status(answer(status, {"message": "No."}, x_request_id="abc-1"))
    assert type(failure) is kind
    assert (failure.method, failure.path, failure.status) == ("GET", GET.path, status)
    assert (failure.request_id, failure.attempts) == ("abc-1", 3)
    assert str(failure).startswith(f"GET {GET.path}: {status} ")
    assert str(failure).endswith("(after 3 attempts)")


@pytest.mark.parametrize(("status", "kind"), STATUS_ERRORS)
def test_a_post_has_the_same_errors_but_where_the_outcome_is_unknown(status: int, kind: type[APIError]) -> None:
    failure = error(status, {"message": "No."}, request=POST)
    unknown = judge(POST, answer(status)) is UNKNOWN
    assert type(failure) is (OutcomeUnknownError if unknown else kind)
    assert failure.status == status
    assert f"{status} No." in str(failure) or isinstance(failure, RedirectedError)
    if isinstance(failure, OutcomeUnknownError):
        assert not failure.likely_done


def test_a_get_never_has_an_unknown_outcome() -> None:
    failures = [error(status) for status in range(100, 1000) if judge(GET, answer(status)) is not DONE]
    assert len(failures) == 800
    assert not [failure for failure in failures if isinstance(failure, OutcomeUnknownError)]


@pytest.mark.parametrize(("retry_after", "seconds"), [("7", 7.0), ("0.5", 0.5), ("nan", None), (None, None)])
def test_a_rate_limit_tells_how_long_to_wait(retry_after: str | None, seconds: float | None) -> None:
    failure = error(429, request=GET, **({} if retry_after is None else {"retry_after": retry_after}))
    assert isinstance(failure, RateLimitedError)
    assert failure.retry_after == seconds


def test_a_rate_limit_can_tell_a_date_by_the_servers_own_clock() -> None:
    dates = {"retry_after": "Wed, 21 Oct 2015 07:28:30 GMT", "date": "Wed, 21 Oct 2015 07:28:00 GMT"}
    failure = error(429, request=GET, **dates)
    assert isinstance(failure, RateLimitedError)
    assert failure.retry_after == 30.0


def test_a_redirect_is_explained_rather_than_quoted() -> None:
    failure = error(307, b"<a href='https://evil.example'>moved</a>")
    assert "redirects are not followed" in str(failure)
    assert "evil" not in str(failure)


@pytest.mark.parametrize(
    ("request_", "outcome", "kind"),
    [
        (GET, NoAnswerError("the connection broke", sent=True), ConnectionFailedError),
        (GET, NoAnswerError("no answer in time", sent=True, timed_out=True), RequestTimeoutError),
        (POST, NoAnswerError("the server cannot be reached", sent=False), ConnectionFailedError),
        (POST, NoAnswerError("no connection in time", sent=False, timed_out=True), RequestTimeoutError),
        (POST, NoAnswerError("the connection broke", sent=True), OutcomeUnknownError),
        (POST, NoAnswerError("no answer in time", sent=True, timed_out=True), OutcomeUnknownError),
    ],
)
def test_an_attempt_without_an_answer_has_its_error(
    request_: Request, outcome: NoAnswerError, kind: type[APIError]
) -> None:
    failure = maker(request_, attempts=2).no_answer(outcome)
    assert type(failure) is kind
    assert outcome.reason in str(failure)
    assert (failure.status, failure.request_id, failure.attempts) == (None, None, 2)
    if isinstance(failure, OutcomeUnknownError):
        assert not failure.likely_done


def test_a_timeout_is_a_timeout_error_of_the_language() -> None:
    assert isinstance(maker().no_answer(NoAnswerError("silence", sent=True, timed_out=True)), TimeoutError)


def test_an_unreadable_success_of_a_get_keeps_the_beginning_of_its_body() -> None:
    failure = maker().unreadable(answer(200, b"<html>" + b"x" * 5000, x_request_id="r"), Unreadable("not JSON"))
    assert isinstance(failure, DecodeError)
    assert failure.body == "<html>" + "x" * 1018
    assert (failure.status, failure.request_id) == (200, "r")


@pytest.mark.parametrize("passing", [True, False])
def test_an_unreadable_success_of_a_post_was_likely_done(passing: bool) -> None:
    failure = maker(POST).unreadable(answer(201, b"<html>"), Unreadable("not JSON", passing=passing))
    assert isinstance(failure, OutcomeUnknownError)
    assert failure.likely_done
    assert failure.status == 201


# What the server says about it.

LOC = {"loc": ["query", "limit"], "msg": "Input should be less than or equal to 100", "type": "less_than_equal"}


@pytest.mark.parametrize(
    ("body", "message", "fields"),
    [
        ({"message": "Agent run not found.", "status_code": 404}, "422 Agent run not found.", ()),
        ({"detail": "Not Found"}, "422 Not Found", ()),
        ({"detail": "late", "message": "early"}, "422 early", ()),
        (
            {"detail": [LOC]},
            "422 query.limit: Input should be less than or equal to 100",
            ("query.limit: Input should be less than or equal to 100",),
        ),
        (
            {"detail": [LOC, {"loc": ["body", "images", 0], "msg": "Bad"}]},
            "422 query.limit: Input should be less than or equal to 100; body.images.0: Bad",
            ("query.limit: Input should be less than or equal to 100", "body.images.0: Bad"),
        ),
        (
            {"errors": [{"parameter": "q[city]", "message": "is unknown"}, {"message": "no more"}]},
            "422 q[city]: is unknown; no more",
            ("q[city]: is unknown", "no more"),
        ),
        ({"message": None, "detail": None}, "422 ", ()),
        ({}, "422 ", ()),
        (b"", "422 ", ()),
        (b"<html><h1>Bad Gateway</h1></html>", "422 <html><h1>Bad Gateway</h1></html>", ()),
        (b"upstream \xff\xfe timed out", "422 upstream \N{REPLACEMENT CHARACTER}", ()),
        (b'{"message": "broken \xff"}', "422 broken \N{REPLACEMENT CHARACTER}", ()),
        (b"[" * 100_000, "422 " + "[" * 100, ()),
        (b'{"detail": ' * 5_000, '422 {"detail": {"detail": ', ()),
        ([1, 2], "422 [1, 2]", ()),
        ({"detail": 7}, '422 {"detail": 7}', ()),
        ({"detail": [{"loc": "body", "msg": 1}]}, '422 {"detail": [{"loc": "body"', ()),
        (b'{"message": NaN}', '422 {"message": NaN}', ()),
        (b'{"message": "cut sh', '422 {"message": "cut sh', ()),
    ],
)
def test_what_the_server_says_is_shown_in_all_its_forms(body: object, message: str, fields: tuple[str, ...]) -> None:
    failure = error(422, body)
    assert isinstance(failure, InvalidRequestError)
    assert message in str(failure)
    assert failure.fields == fields
    assert len(str(failure)) < 600


@pytest.mark.parametrize(
    "mark", ["\x1b[31m", "\x00", "\x07", "\r", "\x7f", "\x9b31m", "\u202e", "\u2066", "\u200f", "\x85"]
)
def test_no_mark_that_steers_a_terminal_gets_into_an_error(mark: str) -> None:
    body = {"message": f"a{mark}b", "detail": [{"loc": [f"a{mark}"], "msg": f"{mark}b"}]}
    failures = [
        error(422, body, x_request_id=f"id{mark}"),
        error(422, {"detail": body["detail"]}),
        error(500, f"<html>{mark}".encode()),
        error(503, {"message": mark}, request=POST),
        maker().unreadable(answer(200, f"x{mark}".encode()), Unreadable(f"odd {mark}")),
        maker(POST).unreadable(answer(200), Unreadable(f"odd {mark}")),
    ]
    assert not [text for failure in failures for text in texts(failure) if mark[0] in text]


def test_a_header_with_broken_encoding_gets_into_no_error() -> None:
    failure = error(500, x_request_id=b"id \xff".decode("utf-8", "surrogateescape"))
    assert failure.request_id == "id ?"


def test_a_request_id_is_kept_to_a_length_that_can_be_shown() -> None:
    assert len(error(500, x_request_id="x" * 8000).request_id or "") <= 300


# The token.


@pytest.mark.parametrize(
    "body",
    [
        {"message": f"Bearer {CANARY} is no token"},
        {"detail": f"{CANARY}"},
        {"detail": [{"loc": ["header", CANARY], "msg": f"got {CANARY}"}]},
        {"errors": [{"parameter": CANARY, "message": CANARY}]},
        f"<html>Authorization: Bearer {CANARY}</html>".encode(),
        {"message": "x" * 295 + CANARY + "y" * 500},
    ],
)
def test_a_token_that_the_server_echoes_is_scrubbed(body: Any) -> None:
    failures = [error(422, body, x_request_id=f"for {CANARY}"), error(500, body, request=POST)]
    assert not [text for failure in failures for text in texts(failure) if shows_a_part(text)]


def test_not_even_a_part_of_an_echoed_token_survives_a_cut() -> None:
    places = [*range(175, 205), *range(280, 305), *range(480, 505), *range(1000, 1030)]
    shown = [text for before in places for failure in cut(before) for text in texts(failure)]
    assert len(shown) > 5000
    assert not [text for text in shown if shows_a_part(text)]


def cut(before: int) -> list[APIError]:
    """Return errors that quote a body with the token in that place."""
    body = b"x" * before + CANARY.encode() + b"y" * 2000
    json_body = json.dumps({"message": body.decode()}).encode()
    return [
        error(400, body),
        error(400, json_body),
        error(400, {"detail": [{"msg": body.decode()}]}),
        maker().unreadable(answer(200, body), Unreadable(f"invalid value {body!r}")),
        maker(POST).unreadable(answer(200, body), Unreadable(f"invalid value {body!r}")),
        error(500, x_request_id=body.decode()),
    ]


def texts(failure: APIError) -> list[str]:
    """Return all text that an error carries."""
    return [str(failure), repr(failure), *map(str, vars(failure).values())]


def shows_a_part(text: str) -> bool:
    return CANARY[:6] in text or CANARY[-6:] in text
