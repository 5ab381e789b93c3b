"""Put runs and log rows into the forms a command prints: JSON fields, rows of a table, text for a person."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from codegen_async.cleaning import clean_lines
from codegen_async.cli.output import Linked, Output, one_line
from codegen_async.models import Phase, RunLike
from codegen_async.record import Model

if TYPE_CHECKING:
    from codegen_async.codegen.models import AgentRun, AgentRunLog
    from codegen_async.middesk.models import MiddeskRun

RUN_COLUMNS = ("RUN", "STATUS", "CREATED", "SOURCE", "SUMMARY")
HOSTED_COLUMNS = ("RUN", "STATUS", "CREATED", "SUMMARY")
MIDDESK_COLUMNS = ("RUN", "STATUS", "CREATED", "AGENT", "SUMMARY")

_WIDEST = 1000


class Standing(Protocol):
    """What a run of any dialect says of where it stands."""

    @property
    def status(self) -> str | None:
        """The server's word."""
        ...

    @property
    def phase(self) -> Phase:
        """What it means."""
        ...


def status_of(run: Standing) -> str:
    """Return where a run stands, with the server's word where that says more."""
    word = (run.status or "").strip()
    return run.phase.value if word.lower() in ("", run.phase.value) else f"{run.phase.value} ({one_line(word, 40)})"


def summary_of(run: RunLike) -> str:
    """Return what a run says of itself in a line."""
    from codegen_async.codegen.models import AgentRun
    from codegen_async.middesk.models import MiddeskRun

    if isinstance(run, AgentRun):
        return one_line(run.summary or run.result or run.web_url or "", _WIDEST)
    if isinstance(run, MiddeskRun):
        return one_line("; ".join(_questions(run)) or ", ".join(_found(run)), _WIDEST)
    return one_line(_said(run, "error") or _said(run, "text") or run.web_url or "", _WIDEST)


def row_of(run: AgentRun | MiddeskRun) -> Sequence[str]:
    """Return a run as a row of `RUN_COLUMNS` or `MIDDESK_COLUMNS`."""
    from codegen_async.codegen.models import AgentRun

    started = run.source_type if isinstance(run, AgentRun) else run.agent
    return Linked(run.id, run.web_url), status_of(run), (run.created_at or "")[:19], started or "", summary_of(run)


def hosted_row_of(run: RunLike) -> Sequence[str]:
    """Return a run of any dialect as a row of `HOSTED_COLUMNS`."""
    created = run.created_time
    when = "" if created is None else f"{created:%Y-%m-%dT%H:%M:%S}"
    return Linked(run.id, run.web_url), status_of(run), when, summary_of(run)


def plain(run: Model | RunLike) -> dict[str, Any]:
    """Return a model as JSON values: all that it has; of a run that a dialect has made itself what every run has."""
    if isinstance(run, Model):
        return run.to_dict()
    created = None if run.created_time is None else run.created_time.isoformat()
    return {"id": run.id, "status": run.status, "phase": run.phase, "created": created, "web_url": run.web_url}


def news_of(run: RunLike, what: str) -> str:
    """Return a note of what has just been done with a run."""
    return f"run {run.id} {what}{f': {run.web_url}' if run.web_url else ''}"


def show_run(output: Output, run: RunLike) -> None:
    """Print one run."""
    if output.structured:
        output.document(plain(run))
        return
    for line in _lines(run):
        output.line(line)


def _lines(run: RunLike) -> Iterator[str]:
    from codegen_async.codegen.models import AgentRun
    from codegen_async.middesk.models import MiddeskRun

    if isinstance(run, AgentRun):
        return _run_lines(run)
    return _middesk_lines(run) if isinstance(run, MiddeskRun) else _hosted_lines(run)


def _run_lines(run: AgentRun) -> Iterator[str]:
    yield f"run {run.id}  {status_of(run)}"
    yield from _facts({"created": run.created_at, "source": run.source_type, "url": run.web_url})
    yield from _facts({"summary": run.summary})
    for pull in run.github_pull_requests or ():
        yield from _facts({"pull": f"{pull.url or pull.id}  {pull.title or ''}"})
    if run.result:
        yield ""
        yield clean_lines(run.result).rstrip()


def _middesk_lines(run: MiddeskRun) -> Iterator[str]:
    yield f"run {one_line(run.id)}  {status_of(run)}"
    yield from _facts({"agent": run.agent, "thread": run.thread_id})
    yield from _facts({"created": run.created_at, "ended": run.ended_at})
    for question in _questions(run):
        yield from _facts({"asks": question})
    for artifact in _found(run):
        yield from _facts({"found": artifact})
    for step in run.steps or ():
        yield from _facts({"step": f"{step.status or ''} {step.label or step.name or step.id}"})


def _hosted_lines(run: RunLike) -> Iterator[str]:
    from codegen_async.hosted.run import HostedRun

    created = run.created_time
    yield f"run {one_line(run.id)}  {status_of(run)}"
    yield from _facts({"created": None if created is None else f"{created:%Y-%m-%dT%H:%M:%SZ}", "url": run.web_url})
    if isinstance(run, HostedRun):
        for url in run.urls:
            yield from _facts({"made": url})
        yield from _facts({"cost": None if run.cost is None else f"{run.cost.amount:g} {run.cost.unit}"})
    yield from _facts({"error": _said(run, "error")})
    if text := _said(run, "text"):
        yield ""
        yield clean_lines(text).rstrip()


def _said(run: RunLike, name: str) -> str:
    """Return a text of a run that those of other dialects may not have."""
    value: object = getattr(run, name, None)
    return value if isinstance(value, str) else ""


def _facts(facts: dict[str, str | None]) -> Iterator[str]:
    for name, value in facts.items():
        if value:
            yield f"{name:9}{one_line(value, _WIDEST)}"


def _questions(run: MiddeskRun) -> Iterable[str]:
    return (f"{interrupt.id}: {interrupt.label or 'something'}" for interrupt in run.interrupts)


def _found(run: MiddeskRun) -> Iterable[str]:
    artifacts = () if run.output is None else run.output.artifacts
    return (": ".join(filter(None, (artifact.title, artifact.summary))) for artifact in artifacts)


def show_row(output: Output, row: AgentRunLog) -> None:
    """Print one row of a log."""
    if output.structured:
        output.document(row.to_dict())
    else:
        output.line(log_line(row))


def log_line(row: AgentRunLog) -> str:
    """Return a log row as one line: when, what kind, which tool, what was thought or seen."""
    said = row.thought or _text(row.observation) or _text(row.tool_output)
    parts = ((row.created_at or "")[:19], row.message_type or "", row.tool_name or "", said)
    return "  ".join(one_line(part, _WIDEST) for part in parts if part)


def _text(value: object) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    return msgspec.json.encode(value).decode()
