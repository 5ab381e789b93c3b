"""Bodies that no server should send, read by the client of the Codegen API."""

import json
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest

from codegen_async.cleaning import clean
from codegen_async.codegen.client import CodegenClient
from codegen_async.codegen.models import AgentRun, AgentRunLogs, AgentRunPage
from codegen_async.errors import APIError, CreateOutcomeUnknownError, DecodeError, GatewayError, OutcomeUnknownError
from codegen_async.models import Phase
from tests.support.canary import failure_of
from tests.support.clients import ORG
from tests.support.sender import FakeSender, Reply, reply

pytestmark = pytest.mark.asyncio(loop_factories=["virtual"])

RUN: dict[str, Any] = {"id": 17, "organization_id": ORG, "status": "COMPLETE", "result": "done"}
NOT_FOUND = {"message": "Agent run not found.", "status_code": 404}
EMPTY_PAGE = {"items": [], "total": 0, "page": 1, "size": 100, "pages": 0}


def client_of(*replies: Reply, then: Reply | None = None) -> CodegenClient:
    return CodegenClient(org_id=ORG, sender=FakeSender(*replies, then=then), settle=1)


def json_with(field: str, raw: bytes) -> bytes:
    """Return a run one field of which is written as given."""
    return json.dumps({**RUN, field: "@"}).encode().replace(b'"@"', raw)


Read = Callable[[CodegenClient], Awaitable[object]]

READS: dict[str, tuple[Read, Callable[[bytes], bytes]]] = {
    "get": (lambda client: client.get_run(17), lambda run: run),
    "list": (
        lambda client: client.list_runs_page(),
        lambda run: b'{"items":[' + run + b'],"total":1,"page":1,"size":100,"pages":1}',
    ),
    "logs": (
        lambda client: client.run_logs_page(17),
        lambda run: b'{"id":17,"organization_id":%d,"logs":[],"metadata":{"of":' % ORG + run + b"}}",
    ),
}
WRITES: dict[str, Read] = {
    "create": lambda client: client.create_run("do it"),
    "resume": lambda client: client.resume_run(17, "go on"),
}

DEEP = 100_000  # levels; Python 3.11 and 3.12 give up at 1,000, 3.13 at 10,000

# No JSON at all, or JSON that was damaged: another attempt may bring a better answer.
DAMAGED: dict[str, bytes] = {
    "empty": b"",
    "blank": b" \r\n",
    "HTML": b"<!DOCTYPE html><title>502 Bad Gateway</title>",
    "cut": json.dumps(RUN).encode()[:-2],
    "cut within a text": json.dumps(RUN).encode()[:-4],
    "trailing comma": json.dumps(RUN).encode()[:-1] + b",}",
    "text behind": json.dumps(RUN).encode() + b" ok",
    "NUL behind": json.dumps(RUN).encode() + b"\0",
    "two documents": json.dumps(RUN).encode() + b"\n" + json.dumps(RUN).encode(),
    "single quotes": repr(RUN).encode(),
    "comment": b"/* ok */" + json.dumps(RUN).encode(),
    "control byte": json_with("result", b'"a\x01b"'),
    "deep metadata": json_with("metadata", b'{"a":' * DEEP + b"1" + b"}" * DEEP),
    "deep unknown field": json_with("other", b"[" * DEEP + b"]" * DEEP),
    "brackets without end": b'{"other":' + b"[" * 10_000_000,
    "hexadecimal number": json_with("other", b"0x1"),
    "leading zero": json_with("other", b"01"),
}

# Whole, but not what the vendor's page promises: it would come again.
OTHER: dict[str, bytes] = {
    "null": b"null",
    "array": b"[]",
    "text": b'"ok"',
    "number": b"17",
    "empty object": b"{}",
    "error with status 200": b'{"message":"No.","status_code":500}',
    "id as text": json_with("id", b'"17"'),
    "id as fraction": json_with("id", b"17.5"),
    "id as float": json_with("id", b"17.0"),
    "id as power": json_with("id", b"1e1"),
    "id as boolean": json_with("id", b"true"),
    "id null": json_with("id", b"null"),
    "id 0": json_with("id", b"0"),
    "id negative": json_with("id", b"-17"),
    "id 2^63": json_with("id", b"%d" % 2**63),
    "id of 4,301 digits": json_with("id", b"9" * 4301),
    "id of a million digits": json_with("id", b"9" * 1_000_000),
    "organization as text": json_with("organization_id", b'"323"'),
}

ODD: dict[str, bytes] = {**DAMAGED, **OTHER}

# What the standard library reads, and fields of another shape that nobody has promised.
READABLE: dict[str, bytes] = {
    "byte order mark": b"\xef\xbb\xbf" + json.dumps(RUN).encode(),
    "UTF-16": json.dumps(RUN).encode("utf-16"),
    "NaN": json_with("other", b"NaN"),
    "Infinity": json_with("metadata", b'{"a":Infinity}'),
    "Latin-1": json_with("result", b'"caf\xe9"'),
    "raw surrogate": json_with("result", b'"\xed\xa0\x80"'),
    "overlong UTF-8": json_with("result", b'"\xc0\xaf"'),
    "half a surrogate pair": json_with("result", rb'"\ud83d"'),
    "surrogates the wrong way round": json_with("result", rb'"\ude00\ud83d"'),
    "status as number": json_with("status", b"1"),
    "status as object": json_with("status", b"{}"),
    "metadata as text": json_with("metadata", b'"x"'),
    "metadata as array": json_with("metadata", b"[]"),
    "number out of range": json_with("metadata", b'{"a":1e400}'),
}


@pytest.mark.parametrize("body", ODD.values(), ids=ODD.keys())
async def test_a_get_of_an_odd_body_raises_an_error_of_ours(body: bytes) -> None:
    sender = FakeSender(then=reply(body=body))
    async with CodegenClient(org_id=ORG, sender=sender) as client:
        error = await failure_of(client.get_run(17))
        assert type(error) is (GatewayError if body in DAMAGED.values() else DecodeError)
        assert error.attempts == len(sender.times) == (4 if body in DAMAGED.values() else 1)
        assert error.body == clean(body[:1024].decode("utf-8", "replace"), 1024)
        assert len(str(error)) < 600
        assert (error.__cause__, error.__context__) == (None, None)


@pytest.mark.parametrize("body", DAMAGED.values(), ids=DAMAGED.keys())
@pytest.mark.parametrize("endpoint", READS)
async def test_a_damaged_answer_is_asked_for_again_at_every_endpoint(endpoint: str, body: bytes) -> None:
    read, wrap = READS[endpoint]
    if endpoint == "list" and not body.strip():
        body = b","  # a list of nothing would be in order
    sender = FakeSender(reply(body=wrap(body)), reply(body=wrap(json.dumps(RUN).encode())))
    async with CodegenClient(org_id=ORG, sender=sender) as client:
        assert isinstance(await read(client), AgentRun | AgentRunPage | AgentRunLogs)
        assert len(sender.times) == 2


@pytest.mark.parametrize("body", ODD.values(), ids=ODD.keys())
@pytest.mark.parametrize("endpoint", WRITES)
async def test_a_post_whose_answer_cannot_be_read_was_likely_done_if_it_may_be_the_apis(
    endpoint: str, body: bytes
) -> None:
    sender = FakeSender(reply(body=body), then=reply(body=EMPTY_PAGE))
    async with CodegenClient(org_id=ORG, sender=sender, settle=1) as client:
        error = await failure_of(WRITES[endpoint](client))
        assert type(error) is (CreateOutcomeUnknownError if endpoint == "create" else OutcomeUnknownError)
        assert error.likely_done is (body.strip()[:1] in (b"", b"{") or body in OTHER.values())
        assert error.status == 200
        assert len([request for request in sender.requests if request.method == "POST"]) == 1


@pytest.mark.parametrize("status", [200, 201, 202, 204])
@pytest.mark.parametrize("endpoint", WRITES)
async def test_any_success_with_nothing_in_it_was_likely_done(endpoint: str, status: int) -> None:
    async with client_of(reply(status, b""), then=reply(body=EMPTY_PAGE)) as client:
        error = await failure_of(WRITES[endpoint](client))
        assert isinstance(error, OutcomeUnknownError)
        assert error.likely_done


# What is strange and can be read all the same.


@pytest.mark.parametrize("body", READABLE.values(), ids=READABLE.keys())
@pytest.mark.parametrize("endpoint", READS)
async def test_what_the_standard_library_reads_is_read_at_every_endpoint(endpoint: str, body: bytes) -> None:
    if endpoint != "get" and body[:1] != b"{":
        pytest.skip("marks of the encoding stand at the beginning of a document only")
    read, wrap = READS[endpoint]
    sender = FakeSender(reply(body=wrap(body)))
    async with CodegenClient(org_id=ORG, sender=sender) as client:
        shown = await read(client)
    run = shown.items[0] if isinstance(shown, AgentRunPage) else shown
    assert isinstance(run, AgentRun | AgentRunLogs)
    assert run.id == 17
    msgspec.json.encode(run)  # it can be stored
    if isinstance(run, AgentRun):
        assert run.status in ("COMPLETE", None)


@pytest.mark.parametrize("body", READABLE.values(), ids=READABLE.keys())
async def test_a_create_whose_answer_is_strange_has_its_run(body: bytes) -> None:
    async with client_of(reply(body=body)) as client:
        assert (await client.create_run("do it")).id == 17


@pytest.mark.parametrize(
    ("field", "raw", "seen"),
    [
        ("id", b"17", 17),
        ("result", b"null", None),
        ("result", rb'"a\u0000b"', "a\0b"),
        ("result", b'"' + b"x" * 1_000_000 + b'"', "x" * 1_000_000),
        ("status", b'"complete "', "complete "),
        ("status", b"null", None),
        ("created_at", b'"yesterday"', "yesterday"),
        ("created_at", b'"9999999-01-01"', "9999999-01-01"),
        ("metadata", b'{"a":%d}' % 2**64, {"a": 2**64}),
        ("metadata", b'{"a":1e-400}', {"a": 0.0}),
        ("metadata", b'{"a":-0}', {"a": 0}),
        ("metadata", b'{"a":1,"a":2}', {"a": 2}),
        ("web_url", b'"javascript:alert(1)"', "javascript:alert(1)"),
        ("github_pull_requests", b"[]", ()),
        ("github_pull_requests", b"null", None),
    ],
)
async def test_strange_values_are_kept_as_sent(field: str, raw: bytes, seen: object) -> None:
    async with client_of(reply(body=json_with(field, raw))) as client:
        run = await client.get_run(17)
        assert getattr(run, field) == seen
        assert isinstance(run.phase, Phase)
        assert run.created_time is None


async def test_the_last_of_two_equal_keys_counts() -> None:
    body = b'{"id":666,"organization_id":323,"id":17}'
    async with client_of(reply(body=body)) as client:
        assert (await client.get_run(17)).id == 17


async def test_fields_that_nobody_knows_are_ignored() -> None:
    extra = {"new": [1, {"a": None}], "progress": 1e300, "id_": "x"}
    async with client_of(reply(body={**RUN, **extra})) as client:
        assert (await client.get_run(17)).result == "done"


async def test_a_status_word_that_nobody_knows_is_running_and_reported_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    unknown = {**RUN, "status": "MEDITATING\x1b[2J"}
    async with client_of(then=reply(body=unknown)) as client:
        for _ in range(3):
            assert (await client.get_run(17)).phase is Phase.RUNNING
    reports = [record.getMessage() for record in caplog.records if "MEDITATING" in record.getMessage()]
    assert len(reports) == 1
    assert "\x1b" not in reports[0]


# Pages with an odd item.


def page(*items: bytes, name: str = "items", **fields: Any) -> bytes:
    rest = json.dumps({"total": len(items), "page": 1, "size": 100, "pages": 1, **fields}).encode()
    return rest[:-1] + b',"' + name.encode() + b'":[' + b",".join(items) + b"]}"


def run_json(run_id: int) -> bytes:
    return json.dumps({**RUN, "id": run_id}).encode()


def reports_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.parametrize("odd", OTHER.values(), ids=OTHER.keys())
async def test_one_odd_run_does_not_hide_the_others(odd: bytes, caplog: pytest.LogCaptureFixture) -> None:
    body = page(run_json(1), odd, run_json(3))
    async with client_of(reply(body=body), reply(body=body)) as client:
        for _ in range(2):
            runs = await client.list_runs_page()
            assert [run.id for run in runs.items] == [1, 3]
            assert (runs.unreadable, runs.total, runs.size) == (1, 3, 100)
    assert len(reports_of(caplog)) == 1
    assert len(reports_of(caplog)[0]) < 400


@pytest.mark.parametrize(
    "odd",
    [
        b'{"agent_run_id":"17"}',
        b'{"agent_run_id":null}',
        b"{}",
        b"null",
        b"[]",
    ],
)
async def test_one_odd_row_does_not_hide_the_others(odd: bytes, caplog: pytest.LogCaptureFixture) -> None:
    row = b'{"agent_run_id":17,"thought":"hm"}'
    body = page(row, odd, row, name="logs", id=17, organization_id=ORG, total_logs=3)
    async with client_of(reply(body=body), reply(body=body)) as client:
        for _ in range(2):
            logs = await client.run_logs_page(17)
            assert [entry.thought for entry in logs.logs] == ["hm", "hm"]
            assert (logs.unreadable, logs.total_logs) == (1, 3)
    assert len(reports_of(caplog)) == 1


@pytest.mark.parametrize("tool", ["observation", "tool_input", "tool_output"])
@pytest.mark.parametrize("value", [b'"text"', b"[1,2]", b"1", b"null", b'{"a":{"b":[null]}}', b"%d" % 2**70])
async def test_what_tools_take_and_give_may_be_any_json(tool: str, value: bytes) -> None:
    row = b'{"agent_run_id":17,"%s":%s}' % (tool.encode(), value)
    async with client_of(reply(body=page(row, name="logs", id=17, organization_id=ORG))) as client:
        logs = await client.run_logs_page(17)
        assert getattr(logs.logs[0], tool) == json.loads(value)


@pytest.mark.parametrize("odd", [body for body in READABLE.values() if body[:1] == b"{"])
async def test_one_run_that_only_the_standard_library_reads_hides_nothing(odd: bytes) -> None:
    body = page(run_json(1), odd, run_json(3))
    async with client_of(reply(body=body)) as client:
        runs = await client.list_runs_page()
        assert [run.id for run in runs.items] == [1, 17, 3]
        assert (runs.unreadable, runs.total) == (0, 3)


@pytest.mark.parametrize("fields", [{"total": "many"}, {"size": [1]}, {"page": None, "pages": {}}, {"total": 1.5}])
@pytest.mark.parametrize("more", [[], [b"{}"]])
async def test_odd_numbers_of_a_page_hide_no_run(fields: dict[str, Any], more: list[bytes]) -> None:
    async with client_of(reply(body=page(run_json(1), *more, **fields))) as client:
        runs = await client.list_runs_page()
        assert [run.id for run in runs.items] == [1]
        assert runs.unreadable == len(more)
        assert runs.odd == fields


@pytest.mark.parametrize("sent", [50, 100, -1, "x", None, True])
async def test_what_the_client_counts_is_never_read_from_the_wire(sent: object) -> None:
    """Else a server could make the client leave out runs."""
    pages = [page(*map(run_json, range(100 * n, 100 * n - 100, -1)), total=200, unreadable=sent) for n in (2, 1)]
    async with client_of(*(reply(body=body) for body in pages), then=reply(body=EMPTY_PAGE)) as client:
        assert [run.id async for run in client.list_runs()] == list(range(200, 0, -1))
    row = b'{"agent_run_id":17}'
    logs = page(row, b"{}", name="logs", id=17, organization_id=ORG, total_logs=2, unreadable=sent)
    async with client_of(reply(body=logs)) as client:
        assert (await client.run_logs_page(17)).unreadable == 1


async def test_a_page_of_which_nothing_can_be_read_is_an_error() -> None:
    async with client_of(reply(body=page(b'{"id":"1"}', b'{"id":"2"}'))) as client:
        error = await failure_of(client.list_runs_page())
        assert isinstance(error, DecodeError)
        assert "$.items[0]" in str(error)


@pytest.mark.parametrize(
    "body",
    [
        b'{"items":{},"total":1}',
        b'{"items":"x"}',
        b'{"items":null}',
        b'{"total":1}',
    ],
)
async def test_a_page_of_another_shape_is_an_error(body: bytes) -> None:
    async with client_of(reply(body=body)) as client:
        error = await failure_of(client.list_runs_page())
        assert isinstance(error, DecodeError)
        assert error.attempts == 1


async def test_a_run_of_another_organization_makes_a_page_foreign() -> None:
    foreign = json.dumps({**RUN, "organization_id": 666}).encode()
    sender = FakeSender(reply(body=page(run_json(1), foreign)), reply(body=page(run_json(1))))
    async with CodegenClient(org_id=ORG, sender=sender) as client:
        runs = await client.list_runs_page()
        assert [run.id for run in runs.items] == [1]
        assert sender.renewals == 1


@pytest.mark.parametrize("numbers", [{"total": -1, "pages": -5, "size": -1}, {"total": 2**70, "pages": 2**70}])
async def test_pages_with_absurd_numbers_end_all_the_same(numbers: dict[str, Any]) -> None:
    pages = [page(*map(run_json, range(300 - 100 * n, 200 - 100 * n, -1)), **numbers) for n in range(2)]
    empty = [reply(body=page(**numbers))] * 6  # an absurd total tells of more, which is asked for a few times
    async with client_of(*(reply(body=body) for body in pages), *empty) as client:
        ids = [run.id async for run in client.list_runs()]
        assert ids == list(range(300, 100, -1))


async def test_a_server_that_repeats_the_same_page_for_ever_is_left() -> None:
    """Each run is yielded once, but only an empty or short page ends a list: bounded by the caller."""
    body = page(*map(run_json, range(100, 0, -1)))
    sender = FakeSender(*[reply(body=body)] * 3, reply(body=page()))
    async with CodegenClient(org_id=ORG, sender=sender) as client:
        assert [run.id async for run in client.list_runs()] == list(range(100, 0, -1))


async def test_an_error_in_the_middle_of_a_list_reaches_the_caller() -> None:
    body = page(*map(run_json, range(100, 0, -1)))
    async with client_of(reply(body=body), reply(404, NOT_FOUND)) as client:
        runs = client.list_runs()
        assert [(await anext(runs)).id for _ in range(100)] == list(range(100, 0, -1))
        assert isinstance(await failure_of(anext(runs)), APIError)
