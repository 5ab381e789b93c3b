"""What the Codegen API sends, field by field as its pages say.

Required on the wire are only ids. Every other field may be missing or null, unknown fields are ignored, and words
(`status`, `source_type`, `message_type`, `tool_name`) are open sets that stay as sent.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, ClassVar

import msgspec

from codegen_async.errors import InvalidArgumentError, RunFailedError
from codegen_async.models import Phase, PhaseTable, parse_time
from codegen_async.record import Model

Id = Annotated[int, msgspec.Meta(ge=1, le=2**63 - 1)]

WORDS = {
    # Live answers are upper case, whatever the vendor's examples say. Words in the second and later columns were
    # never seen live; they are what clients and tools of the vendor expect, and cost nothing.
    **dict.fromkeys(("PENDING", "QUEUED"), Phase.PENDING),
    **dict.fromkeys(("ACTIVE", "EVALUATION", "RUNNING", "IN_PROGRESS"), Phase.RUNNING),
    **dict.fromkeys(("PAUSED", "WAITING", "BLOCKED", "INPUT_REQUIRED"), Phase.BLOCKED),
    **dict.fromkeys(("COMPLETE", "COMPLETED", "SUCCESS", "DONE"), Phase.SUCCEEDED),
    **dict.fromkeys(
        ("ERROR", "FAILED", "FAILURE", "TIMEOUT", "TIMED_OUT", "MAX_ITERATIONS_REACHED", "OUT_OF_TOKENS"),
        Phase.FAILED,
    ),
    **dict.fromkeys(("CANCELLED", "CANCELED", "STOPPED"), Phase.CANCELLED),
}

PHASES = PhaseTable("codegen", WORDS)


class SourceType(enum.StrEnum):
    """Name what can start a run ("List Agent Runs"); the server may know more."""

    LOCAL = "LOCAL"
    SLACK = "SLACK"
    GITHUB = "GITHUB"
    GITHUB_CHECK_SUITE = "GITHUB_CHECK_SUITE"
    GITHUB_PR_REVIEW = "GITHUB_PR_REVIEW"
    LINEAR = "LINEAR"
    API = "API"
    CHAT = "CHAT"
    JIRA = "JIRA"
    CLICKUP = "CLICKUP"
    MONDAY = "MONDAY"
    SETUP_COMMANDS = "SETUP_COMMANDS"


class AgentType(enum.StrEnum):
    """Name the agents a run can be given to ("Create Agent Run")."""

    CODEGEN = "codegen"
    CLAUDE_CODE = "claude_code"


class PullRequest(Model, frozen=True, kw_only=True):
    """Describe a pull request that a run opened."""

    id: int | None = None
    title: str | None = None
    url: str | None = None
    created_at: str | None = None
    head_branch_name: str | None = None


class _Run(Model, frozen=True, kw_only=True):
    """What the run itself and its logs answer have in common."""

    _brief: ClassVar[tuple[str, ...]] = ("id", "status", "phase", "created_at", "web_url", "result")

    id: Id
    organization_id: Id
    status: str | None = None
    created_at: str | None = None
    web_url: str | None = None
    result: str | None = None
    metadata: dict[str, Any] | None = None

    taught: ClassVar[Phase | None] = None
    """The phase that the client was taught for the status word; of an instance, where it was."""

    @property
    def phase(self) -> Phase:
        """Where the run stands; an unknown status word reads as running."""
        return self.taught or PHASES.phase(self.status)

    @property
    def created_time(self) -> datetime | None:
        """When the run was created; None if the server did not say in a form that is known."""
        return parse_time(self.created_at)

    @property
    def started(self) -> datetime | None:
        """When the run began: when it was created, as this API tells nothing else."""
        return self.created_time

    @property
    def ended(self) -> datetime | None:
        """When the run ended: this API does not tell."""
        return None

    @property
    def duration(self) -> float | None:
        """Seconds from its beginning to its end: this API does not tell."""
        return None


class AgentRun(_Run, frozen=True, kw_only=True):
    """Hold a run as the server showed it ("Get Agent Run").

    Attributes:
        id: the run.
        organization_id: whose it is.
        status: the server's word, as sent; see `phase`.
        created_at: as sent; see `created_time`.
        web_url: where a person can look at it. Never sent to the API.
        result: what the agent says it did; can be empty even on success.
        summary: a short form of it.
        source_type: what started the run; see `SourceType`.
        github_pull_requests: what it opened; empty while there is none.
        metadata: what `create_run` was given.
    """

    summary: str | None = None
    source_type: str | None = None
    github_pull_requests: tuple[PullRequest, ...] | None = None

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> AgentRun:
        """Return a run again from what `to_dict` made of it, or from the JSON of `to_json`: what a queue has kept, say.

        Its `phase` is the one that it had, also where that was taught to the client that saw it.

        Raises:
            InvalidArgumentError: it was made of something else.
        """
        try:
            run = cls._take(values)
            phase = Phase(values.get("phase", run.phase))
        except (ValueError, AttributeError) as error:
            raise InvalidArgumentError("values", values, f"what AgentRun.to_dict returns ({error})") from None
        if phase is not run.phase:
            vars(run)["taught"] = phase
        return run

    def raise_for_status(self) -> AgentRun:
        """Return the run itself, unless it ended in failure or was stopped.

        Raises:
            RunFailedError: it did.
        """
        if self.phase in (Phase.FAILED, Phase.CANCELLED):
            raise RunFailedError(f"run {self.id} ended with status {self.status}", run_id=self.id, run=self)
        return self


class RunRow(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Hold as much of a run on a page as waiting needs: reading a run whole takes twice as long."""

    id: Id
    organization_id: Id
    status: str | None = None
    created_at: str | None = None
    web_url: str | None = None
    source_type: str | None = None

    @property
    def phase(self) -> Phase:
        """Where the run stands; see `AgentRun`."""
        return PHASES.phase(self.status)

    @property
    def created_time(self) -> datetime | None:
        """When the run was created; see `AgentRun`."""
        return parse_time(self.created_at)


class RunRows(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Hold as much of a page of runs as waiting needs."""

    items: tuple[RunRow, ...]
    total: int = 0


class AgentRunPage(Model, frozen=True, kw_only=True):
    """Hold one page of runs, newest first ("List Agent Runs").

    Attributes:
        items: the runs that could be read.
        total: runs that the filters let through, on all pages.
        page: number of this page, counted from 1.
        size: runs on a full page.
        pages: number of pages.
        unreadable: runs of this page that could not be read; 0 unless the server sends something undocumented.
    """

    _brief: ClassVar[tuple[str, ...]] = ("items", "total", "page", "pages")

    items: tuple[AgentRun, ...]
    total: int = 0
    page: int = 0
    size: int = 0
    pages: int = 0
    unreadable: int = 0


class AgentRunLog(Model, frozen=True, kw_only=True):
    """Hold one step of a run ("Get Agent Run Logs"; ALPHA, may change).

    Attributes:
        agent_run_id: the run.
        created_at: as sent; see `created_time`.
        tool_name: the tool used, with `ACTION`.
        message_type: such as `ACTION`, `PLAN_EVALUATION`, `FINAL_ANSWER`, `ERROR`, `USER_MESSAGE`; an open set.
        thought: what the agent thought.
        observation: what it saw: an object or text.
        tool_input: what the tool was given: an object.
        tool_output: what it gave back: an object; some tools give text.
    """

    agent_run_id: Id
    created_at: str | None = None
    tool_name: str | None = None
    message_type: str | None = None
    thought: str | None = None
    observation: Any = None
    tool_input: Any = None
    tool_output: Any = None

    @property
    def created_time(self) -> datetime | None:
        """When the row was written; None if the server did not say in a form that is known."""
        return parse_time(self.created_at)


class AgentRunLogs(_Run, frozen=True, kw_only=True):
    """Hold a run with one page of its log ("Get Agent Run Logs"; ALPHA, may change).

    It lacks the run's summary, source and pull requests.

    Attributes:
        logs: the rows that could be read, oldest first unless asked in reverse.
        total_logs: rows on all pages.
        page: number of this page, counted from 1.
        size: rows on a full page.
        pages: number of pages.
        unreadable: rows of this page that could not be read; 0 unless the server sends something undocumented.
    """

    _brief: ClassVar[tuple[str, ...]] = ("id", "status", "phase", "logs", "total_logs", "page", "pages")

    logs: tuple[AgentRunLog, ...]
    total_logs: int | None = None
    page: int | None = None
    size: int | None = None
    pages: int | None = None
    unreadable: int = 0
