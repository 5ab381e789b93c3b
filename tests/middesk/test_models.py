"""Answers as the vendor's pages describe them, of all generations, become models."""

import copy
import pickle
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from codegen_async.errors import RunFailedError
from codegen_async.middesk import decoding
from codegen_async.middesk.free import Interrupt, Output
from codegen_async.middesk.models import MiddeskRun, Requester, Step
from codegen_async.models import Phase

RUN: dict[str, Any] = {
    "object": "run",
    "id": "2f0e6a1c-5b7d-4e8f-9a0b-1c2d3e4f5a6b",
    "created_at": "2026-04-30T12:00:11Z",
    "updated_at": "2026-04-30T12:05:00.000Z",
    "status": "completed",
    "thread_id": "t-1",
    "agent": "cip_orchestrator",
    "requester": {"id": "u3f1c2d4", "name": "A Person", "email": "person@example.com"},
    "started_at": "2026-04-30T12:00:12Z",
    "ended_at": "2026-04-30T12:05:00Z",
    "output": {"artifacts": [{"id": "a-1", "title": "Report", "type": "document", "new": [1]}], "also_new": True},
    "interrupts": [],
}


def read(**changes: object) -> MiddeskRun:
    return decoding.created(msgspec.json.encode({**RUN, **changes}))


def test_every_field_of_the_page_is_kept() -> None:
    run = read(brand_new={"a": 1})
    assert (run.id, run.object, run.status, run.thread_id, run.agent) == (
        RUN["id"],
        "run",
        "completed",
        "t-1",
        "cip_orchestrator",
    )
    assert run.requester == Requester(id="u3f1c2d4", name="A Person", email="person@example.com")
    assert (run.created_at, run.updated_at) == (RUN["created_at"], RUN["updated_at"])
    assert (run.started_at, run.ended_at) == (RUN["started_at"], RUN["ended_at"])
    assert run.created_time == datetime(2026, 4, 30, 12, 0, 11, tzinfo=UTC)
    assert run.source_type is None


def test_an_id_is_all_a_run_must_have() -> None:
    run = decoding.created(b'{"id": "r"}')
    assert (run.phase, run.output, run.interrupts, run.requester, run.created_time) == (
        Phase.RUNNING,
        None,
        (),
        None,
        None,
    )


@pytest.mark.parametrize("run_id", ["", 7, None])
def test_an_id_is_text(run_id: object) -> None:
    with pytest.raises(msgspec.ValidationError):
        read(id=run_id)


@pytest.mark.parametrize(
    ("status", "phase"),
    [
        ("running", Phase.RUNNING),
        ("pending", Phase.RUNNING),
        ("interrupted", Phase.BLOCKED),
        ("Interrupted ", Phase.BLOCKED),
        ("completed", Phase.SUCCEEDED),
        ("error", Phase.FAILED),
        ("failed", Phase.FAILED),
        ("expired", Phase.RUNNING),
        (None, Phase.RUNNING),
    ],
)
def test_status_words_of_all_generations_have_a_phase(status: str | None, phase: Phase) -> None:
    run = read(status=status)
    assert run.phase is phase
    assert run.status == status


def test_absent_steps_differ_from_no_steps() -> None:
    assert read().steps is msgspec.UNSET
    assert read(steps=[]).steps == ()
    assert read(steps=None).steps is None


def test_steps_hold_steps() -> None:
    inner = {"id": "s-2", "type": "error", "label": "No answer", "parent_step_id": "s-1", "result": None}
    run = read(
        steps=[
            {"id": "s-1", "type": "interrupt", "result": {"resolution": "auto_approve"}, "steps": [inner]},
            {"id": "s-3", "artifacts": [{"id": "a-2", "title": "T"}], "steps": []},
        ]
    )
    assert isinstance(run.steps, tuple)
    first, second = run.steps
    assert first.resolution == "auto_approve"
    assert first.steps == (Step(id="s-2", type="error", label="No answer", parent_step_id="s-1"),)
    assert first.steps[0].resolution is None
    assert second.artifacts[0].id == "a-2"
    assert run.error_steps == first.steps


def test_deep_steps_are_walked_without_recursion() -> None:
    step = Step(id="deepest", type="error")
    for _ in range(3000):
        step = Step(id="outer", steps=(step,))
    assert [found.id for found in MiddeskRun(id="r", steps=(step,)).error_steps] == ["deepest"]


def test_outputs_and_artifacts_keep_what_is_not_declared() -> None:
    output = read().output
    assert output is not None
    assert output["also_new"] is True
    (artifact,) = output.artifacts
    assert (artifact.id, artifact.title, artifact.type, artifact["new"]) == ("a-1", "Report", "document", [1])
    assert (artifact.summary, artifact.confidence, artifact.sources) == (None, None, ())


def test_an_artifact_shows_its_documented_fields() -> None:
    source = {"url": "https://registry.example", "source_name": "Registry", "source_tier": 1, "source_type": None}
    output = read(
        output={"artifacts": [{"confidence": 0.5, "summary": "S", "sources": [source, "odd"], "id": 7}]}
    ).output
    assert output is not None
    (artifact,) = output.artifacts
    assert (artifact.confidence, artifact.summary, artifact.sources, artifact.id) == (0.5, "S", (source,), None)


def test_an_output_without_artifacts_has_none() -> None:
    assert Output().artifacts == ()
    assert Output(artifacts=None).artifacts == ()


def test_an_interrupt_shows_what_is_asked() -> None:
    value = {"agent": "web", "label": "Approve?", "proposals": [{"type": "combined_proposal"}]}
    run = read(status="interrupted", interrupts=[{"id": "i-1", "agent": "web", "value": value}])
    (interrupt,) = run.interrupts
    assert (interrupt.id, interrupt.agent, interrupt.label) == ("i-1", "web", "Approve?")
    assert interrupt.value == value


def test_an_interrupt_of_an_older_api_is_a_free_map() -> None:
    (interrupt,) = read(interrupts=[{"anything": 1, "value": "text"}]).interrupts
    assert (interrupt.id, interrupt.agent, interrupt.label, interrupt.value) == ("", None, None, {})
    assert interrupt == {"anything": 1, "value": "text"}


def test_null_interrupts_are_none() -> None:
    assert read(interrupts=None).interrupts == ()


@pytest.mark.parametrize("interrupts", [["text"], [[["id", "i"]]], 3, {"id": "i"}])
def test_interrupts_of_another_shape_are_none_and_kept_as_sent(interrupts: object) -> None:
    run = read(interrupts=interrupts)
    assert (run.interrupts, run.odd) == ((), {"interrupts": interrupts})


def test_what_is_no_interrupt_hides_no_other() -> None:
    assert [one.id for one in read(interrupts=[None, {"id": "i"}, "text"]).interrupts] == ["i"]


@pytest.mark.parametrize("status", ["error", "failed"])
def test_a_failure_is_raised_on_demand(status: str) -> None:
    run = read(status=status, steps=[{"type": "error", "label": "The registry\x1b[2J did not answer"}])
    with pytest.raises(RunFailedError, match=rf"ended with status {status}: The registry\?\[2J did not") as caught:
        run.raise_for_status()
    assert caught.value.run is run


def test_what_did_not_fail_is_returned() -> None:
    for status in ("completed", "interrupted", "running"):
        run = read(status=status)
        assert run.raise_for_status() is run


def test_a_run_can_be_encoded_copied_and_pickled() -> None:
    run = read(interrupts=[{"id": "i", "new": 1}], steps=[{"id": "s"}])
    again = decoding.created(msgspec.json.encode(run))
    assert again == run
    assert copy.deepcopy(run) == run
    loaded = pickle.loads(pickle.dumps(run))  # noqa: S301 - our own
    assert loaded == run
    assert isinstance(loaded.interrupts[0], Interrupt)


def test_a_run_without_steps_is_encoded_without_them() -> None:
    assert b"steps" not in msgspec.json.encode(read())
