"""Every field, word and date form of the vendor's pages and of live answers."""

import logging
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from codegen_async import AgentRun, AgentRunLog, AgentRunLogs, AgentRunPage, Phase, PullRequest, RunFailedError
from codegen_async.codegen.decoding import Decoding

RUN: dict[str, Any] = {
    "id": 17,
    "organization_id": 5,
    "status": "COMPLETE",
    "created_at": "2025-06-21 11:20:04.338398",
    "web_url": "https://codegen.sh/agent/trace/17",
    "result": "Done ✅",
    "summary": "short",
    "source_type": "API",
    "github_pull_requests": [
        {"id": 1, "title": "Fix", "url": "https://x/1", "created_at": "2025-06-21", "head_branch_name": "fix"},
        {"id": 2, "title": None, "url": None, "created_at": "2025-06-22", "head_branch_name": None},
    ],
    "metadata": {"a": [1, None, {"b": 0.5}]},
}
ROW: dict[str, Any] = {
    "agent_run_id": 17,
    "created_at": "2024-01-15T10:30:00Z",
    "tool_name": "ripgrep_search",
    "message_type": "ACTION",
    "thought": "hm",
    "observation": {"x": 1},
    "tool_input": {"query": "x"},
    "tool_output": {"hits": []},
}


def decode_run(**fields: object) -> AgentRun:
    return Decoding(5).created(msgspec.json.encode({"id": 17, "organization_id": 5, **fields}))


def test_every_field_of_a_run_is_read() -> None:
    run = Decoding(5).created(msgspec.json.encode(RUN))
    assert run == AgentRun(
        id=17,
        organization_id=5,
        status="COMPLETE",
        created_at="2025-06-21 11:20:04.338398",
        web_url="https://codegen.sh/agent/trace/17",
        result="Done ✅",
        summary="short",
        source_type="API",
        github_pull_requests=(
            PullRequest(id=1, title="Fix", url="https://x/1", created_at="2025-06-21", head_branch_name="fix"),
            PullRequest(id=2, created_at="2025-06-22"),
        ),
        metadata={"a": [1, None, {"b": 0.5}]},
    )


def test_only_ids_are_required_null_is_missing_and_unknown_fields_are_ignored() -> None:
    bare = decode_run()
    assert (bare.status, bare.created_at, bare.web_url, bare.result, bare.summary) == (None,) * 5
    assert (bare.source_type, bare.github_pull_requests, bare.metadata) == (None,) * 3
    assert decode_run(**dict.fromkeys(set(RUN) - {"id", "organization_id"})) == bare
    assert decode_run(new_field={"deep": [1]}, status=None) == bare


def test_every_field_of_a_page_is_read() -> None:
    page = Decoding(5).page(msgspec.json.encode({"items": [RUN], "total": 201, "page": 2, "size": 100, "pages": 3}))
    assert (page.total, page.page, page.size, page.pages, page.unreadable) == (201, 2, 100, 3, 0)
    assert page.items[0].id == 17


def test_every_field_of_a_log_page_is_read() -> None:
    body = {**RUN, "logs": [ROW, {"agent_run_id": 17}], "total_logs": 2, "page": 1, "size": 100, "pages": 1}
    logs = Decoding(5).logs(17)(msgspec.json.encode(body))
    assert (logs.id, logs.organization_id, logs.status, logs.result) == (17, 5, "COMPLETE", "Done ✅")
    assert (logs.total_logs, logs.page, logs.size, logs.pages, logs.unreadable) == (2, 1, 100, 1, 0)
    assert logs.logs == (AgentRunLog(**ROW), AgentRunLog(agent_run_id=17))
    assert logs.logs[0].created_time == datetime(2024, 1, 15, 10, 30, tzinfo=UTC)
    assert logs.phase is Phase.SUCCEEDED


@pytest.mark.parametrize("observation", [None, "text", {"a": 1}, [1, 2], 3])
def test_an_observation_may_be_anything(observation: object) -> None:
    body = {"id": 17, "organization_id": 5, "logs": [{**ROW, "observation": observation, "tool_output": "text"}]}
    (row,) = Decoding(5).logs(17)(msgspec.json.encode(body)).logs
    assert (row.observation, row.tool_output) == (observation, "text")


PHASES: dict[Phase, list[Any]] = {
    Phase.PENDING: ["PENDING", "QUEUED"],
    Phase.RUNNING: ["ACTIVE", "EVALUATION", "RUNNING", "IN_PROGRESS", None],
    Phase.BLOCKED: ["PAUSED", "WAITING", "BLOCKED", "INPUT_REQUIRED"],
    Phase.SUCCEEDED: ["COMPLETE", "COMPLETED", "SUCCESS", "DONE"],
    Phase.FAILED: ["ERROR", "FAILED", "FAILURE", "TIMEOUT", "TIMED_OUT", "MAX_ITERATIONS_REACHED", "OUT_OF_TOKENS"],
    Phase.CANCELLED: ["CANCELLED", "CANCELED", "STOPPED"],
}


@pytest.mark.parametrize(("phase", "word"), [(phase, word) for phase, words in PHASES.items() for word in words])
def test_every_status_word_has_its_phase_in_any_case(phase: Phase, word: str | None) -> None:
    assert decode_run(status=word).phase is phase
    if word is not None:
        assert decode_run(status=word.lower()).phase is phase
        assert decode_run(status=f"  {word.title()} ").phase is phase
        assert decode_run(status=word.lower()).status == word.lower()


def test_only_ended_phases_are_terminal() -> None:
    assert {phase for phase in Phase if phase.is_terminal} == {Phase.SUCCEEDED, Phase.FAILED, Phase.CANCELLED}


def test_a_word_nobody_knows_is_running_and_reported_once(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "codegen_async"):
        phases = [decode_run(status=word).phase for word in ("SLEEPWALKING", "sleepwalking", "SLEEPWALKING")]
    assert phases == [Phase.RUNNING] * 3
    assert sum("SLEEPWALKING" in record.getMessage() for record in caplog.records) == 1


@pytest.mark.parametrize(
    ("wire", "moment"),
    [
        ("2025-06-21 11:20:04.338398", datetime(2025, 6, 21, 11, 20, 4, 338398, tzinfo=UTC)),
        ("2025-06-21 11:20:04", datetime(2025, 6, 21, 11, 20, 4, tzinfo=UTC)),
        ("2024-01-15T10:30:00Z", datetime(2024, 1, 15, 10, 30, tzinfo=UTC)),
        ("2024-01-15T12:30:00+02:00", datetime(2024, 1, 15, 10, 30, tzinfo=UTC)),
        ("yesterday", None),
        ("", None),
        (None, None),
    ],
)
def test_both_date_forms_are_read_and_the_wire_string_is_kept(wire: str | None, moment: datetime | None) -> None:
    run = decode_run(created_at=wire)
    assert (run.created_at, run.created_time) == (wire, moment)


@pytest.mark.parametrize("word", ["ERROR", "CANCELLED", "timeout"])
def test_raise_for_status_raises_for_a_bad_end(word: str) -> None:
    run = decode_run(status=word)
    with pytest.raises(RunFailedError, match=word) as caught:
        run.raise_for_status()
    assert (caught.value.run_id, caught.value.run) == (17, run)


@pytest.mark.parametrize("word", ["COMPLETE", "ACTIVE", "PAUSED", None])
def test_raise_for_status_returns_any_other_run(word: str | None) -> None:
    run = decode_run(status=word)
    assert run.raise_for_status() is run


def test_an_odd_run_does_not_hide_the_others_and_is_reported_once(caplog: pytest.LogCaptureFixture) -> None:
    odd = {"id": "seventeen", "organization_id": 5}
    body = msgspec.json.encode({"items": [RUN, odd, {**RUN, "id": 18}], "total": 3, "page": 1, "size": 100, "pages": 1})
    decoding = Decoding(5)
    for _ in range(2):
        page: AgentRunPage = decoding.page(body)
        assert [run.id for run in page.items] == [17, 18]
        assert (page.total, page.unreadable) == (3, 1)
    assert sum("unknown shape" in record.getMessage() for record in caplog.records) == 1


def test_an_odd_row_does_not_hide_the_others() -> None:
    body = {"id": 17, "organization_id": 5, "logs": [ROW, {"agent_run_id": None}, ROW], "total_logs": 3}
    logs: AgentRunLogs = Decoding(5).logs(17)(msgspec.json.encode(body))
    assert (len(logs.logs), logs.unreadable, logs.total_logs) == (2, 1, 3)


@pytest.mark.parametrize("body", [{"items": [{"id": "x"}]}, {"items": 5}, {"total": 3}, []])
def test_a_page_of_which_nothing_can_be_read_is_refused(body: object) -> None:
    with pytest.raises(msgspec.ValidationError):
        Decoding(5).page(msgspec.json.encode(body))
