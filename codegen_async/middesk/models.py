"""What the Middesk API sends, field by field as its pages say.

Required on the wire are only ids, which stay text (the vendor's own examples are not all UUIDs). Every other field may
be missing, unknown fields are ignored, and words (`status`, `type`, `resolution`) are open sets that stay as sent.
Interrupts, outputs and artifacts are free objects, see `free`.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, Any, ClassVar

import msgspec

from codegen_async.cleaning import clean
from codegen_async.errors import RunFailedError
from codegen_async.middesk.free import Artifacts, Interrupts, Output, dec_hook
from codegen_async.models import Phase, PhaseTable, parse_time
from codegen_async.record import Model

Id = Annotated[str, msgspec.Meta(min_length=1)]

WORDS = {
    # The second word of a line is that of an older generation of the vendor's pages.
    **dict.fromkeys(("RUNNING", "PENDING"), Phase.RUNNING),
    "INTERRUPTED": Phase.BLOCKED,
    "COMPLETED": Phase.SUCCEEDED,
    **dict.fromkeys(("ERROR", "FAILED"), Phase.FAILED),
}

PHASES = PhaseTable("middesk", WORDS)


class _Sent(Model, frozen=True, kw_only=True):
    """What all models of this API have in common."""

    @classmethod
    def _read_hook(cls, kind: type, value: object) -> Any:
        return dec_hook(kind, value)


class Requester(_Sent, frozen=True, kw_only=True):
    """Name who started a run: a user, or the account whose API key was used (then without `email`)."""

    id: str = ""
    name: str | None = None
    email: str | None = None


class Step(_Sent, frozen=True, kw_only=True):
    """Hold one step of a run, with the steps within it.

    Attributes:
        id: the step.
        run_id: the run.
        type: such as `activity`, `output`, `interrupt`, `error`.
        name: what it is called.
        label: the same for people.
        status: such as `running`, `completed`, `error`.
        agent: the type of the agent that takes it.
        parent_step_id: the step it belongs to.
        started_at: as sent.
        completed_at: as sent.
        result: what came of it; see `resolution`.
        artifacts: what was found in it.
        steps: the steps within it.
    """

    id: str = ""
    run_id: str | None = None
    type: str | None = None
    name: str | None = None
    label: str | None = None
    status: str | None = None
    agent: str | None = None
    parent_step_id: str | None = None
    started_at: str | None = None
    completed_at: str | None = None
    result: dict[str, Any] | None = None
    artifacts: Artifacts = Artifacts()
    steps: tuple[Step, ...] | None = None

    @property
    def resolution(self) -> str | None:
        """How an interrupt was settled without a person (`auto_approve`, `skip`); None after an answer."""
        return None if self.result is None else self.result.get("resolution")


class _Timed(_Sent, frozen=True, kw_only=True):
    """What runs, threads and agents have in common."""

    id: Id
    object: str | None = None
    created_at: str | None = None
    updated_at: str | None = None

    @property
    def created_time(self) -> datetime | None:
        """When it was created; None if the server did not say in a form that is known."""
        return parse_time(self.created_at)


class MiddeskRun(_Timed, frozen=True, kw_only=True):
    """Hold a run as the server showed it ("Retrieve an agent run").

    Attributes:
        id: the run.
        object: `run`.
        created_at, updated_at: as sent; see `created_time`.
        status: the server's word, as sent; see `phase`.
        thread_id: the thread it belongs to.
        agent: the type of its agent, such as `cip_orchestrator`.
        requester: who started it; None for the system.
        started_at, ended_at: as sent.
        output: what it produced; None unless it has completed.
        interrupts: what it asks; empty unless it is interrupted.
        steps: what it did, if it was asked for with `include_steps`; else `msgspec.UNSET`, which is not the same as a
            run without steps.
    """

    _brief: ClassVar[tuple[str, ...]] = ("id", "status", "phase", "agent", "created_at", "interrupts")

    status: str | None = None
    thread_id: str | None = None
    agent: str | None = None
    requester: Requester | None = None
    started_at: str | None = None
    ended_at: str | None = None
    output: Output | None = None
    interrupts: Interrupts = Interrupts()
    steps: tuple[Step, ...] | msgspec.UnsetType | None = msgspec.UNSET

    taught: ClassVar[Phase | None] = None
    """The phase that the client was taught for the status word; of an instance, where it was."""

    @property
    def phase(self) -> Phase:
        """Where the run stands; an unknown status word reads as running."""
        return self.taught or PHASES.phase(self.status)

    @property
    def web_url(self) -> None:
        """Nothing: this API does not tell where a person can look at a run."""
        return

    @property
    def started(self) -> datetime | None:
        """When the run began; None if the server did not say in a form that is known."""
        return parse_time(self.started_at)

    @property
    def ended(self) -> datetime | None:
        """When the run ended; None while it goes on, or if the server did not say in a form that is known."""
        return parse_time(self.ended_at)

    @property
    def duration(self) -> float | None:
        """Seconds from its beginning to its end; None where one of them is not known."""
        return (self.ended - self.started).total_seconds() if self.started and self.ended else None

    @property
    def source_type(self) -> None:
        """Nothing: this API does not tell what started a run in a word."""
        return

    @property
    def error_steps(self) -> tuple[Step, ...]:
        """The steps of type `error`, at any depth: all that a failed run says of why. Needs the steps."""
        return tuple(step for step in _walk(self.steps or ()) if step.type == "error")

    def raise_for_status(self) -> MiddeskRun:
        """Return the run itself, unless it ended in failure.

        Raises:
            RunFailedError: it did; tells why if the run has its steps.
        """
        if self.phase is Phase.FAILED:
            why = "; ".join(step.label or step.name or step.id for step in self.error_steps)
            reason = f": {clean(why)}" if why else ""
            raise RunFailedError(f"run {self.id} ended with status {self.status}{reason}", run_id=self.id, run=self)
        return self


def _walk(steps: tuple[Step, ...]) -> Iterator[Step]:
    ahead = list(reversed(steps))
    while ahead:
        step = ahead.pop()
        yield step
        ahead.extend(reversed(step.steps or ()))


class MiddeskRunPage(_Sent, frozen=True, kw_only=True):
    """Hold one page of runs; no order is documented.

    Attributes:
        data: the runs that could be read.
        has_more: whether there are more pages.
        total_count: runs on all pages.
        unreadable: runs of this page that could not be read; 0 unless the server sends something undocumented.
    """

    _brief: ClassVar[tuple[str, ...]] = ("data", "has_more", "total_count")

    data: tuple[MiddeskRun, ...]
    has_more: bool = False
    total_count: int | None = None
    unreadable: int = 0


class MiddeskThread(_Timed, frozen=True, kw_only=True):
    """Hold a thread: the runs about one business, or another context.

    Attributes:
        id: the thread.
        object: what it is called on the wire.
        created_at, updated_at: as sent; see `created_time`.
        status: the server's word, from the same set as a run's.
        metadata: as sent.
        requester: as sent.
        steps: what was done in it.
    """

    status: str | None = None
    metadata: dict[str, Any] | None = None
    requester: dict[str, Any] | None = None
    steps: tuple[Step, ...] | msgspec.UnsetType | None = msgspec.UNSET


class MiddeskThreadPage(_Sent, frozen=True, kw_only=True):
    """Hold one page of threads; no order is documented.

    Attributes:
        data: the threads that could be read.
        has_more: whether there are more pages.
        total_count: threads on all pages.
        unreadable: threads of this page that could not be read; 0 unless the server sends something undocumented.
    """

    data: tuple[MiddeskThread, ...] = ()
    has_more: bool = False
    total_count: int | None = None
    unreadable: int = 0


class MiddeskAgent(_Timed, frozen=True, kw_only=True):
    """Hold an agent that the account may use.

    Attributes:
        id: the agent.
        object: what it is called on the wire.
        created_at, updated_at: as sent; see `created_time`.
        type: what `create_run` is given.
        name: what it is called.
        description: what it does.
    """

    type: str | None = None
    name: str | None = None
    description: str | None = None


class Rating(enum.StrEnum):
    """Say what a person thinks of an artifact."""

    POSITIVE = "POSITIVE"
    NEGATIVE = "NEGATIVE"


class Reviewer(_Sent, frozen=True, kw_only=True):
    """Name who gave feedback: a `User` or an `Account`."""

    type: str | None = None
    id: str | None = None


class RunFeedback(_Sent, frozen=True, kw_only=True):
    """Hold feedback that was stored.

    Attributes:
        id: the feedback.
        object: what it is called on the wire.
        run_id: the run.
        artifact_id: the artifact it is about.
        rating: see `Rating`.
        comment: what was said.
        reviewer: who said it.
        superseded_prior: whether it replaced an earlier one.
        created_at: as sent.
    """

    id: Id
    object: str | None = None
    run_id: str | None = None
    artifact_id: str | None = None
    rating: str | None = None
    comment: str | None = None
    reviewer: Reviewer | None = None
    superseded_prior: Any = None
    created_at: str | None = None


class Snapshot(_Sent, frozen=True, kw_only=True):
    """Hold the state of a run that an event of its stream shows."""

    steps: tuple[Step, ...] | None = None
    artifacts: Artifacts = Artifacts()


class StreamEvent(_Sent, frozen=True, kw_only=True):
    """Hold an event of a run's stream.

    Attributes:
        type: such as `RUN_STARTED`, `STATE_SNAPSHOT`, `RUN_FINISHED`; an open set. None of them tells how a run ended.
        run_id: the run.
        snapshot: the run's state; None if the event shows none that can be read.
        data: all of the event as sent: JSON, or text that is none.
    """

    type: str
    run_id: str | None = None
    snapshot: Snapshot | None = None
    data: Any = None


class WebhookEvent(_Sent, frozen=True, kw_only=True):
    """Hold an event of a webhook.

    Attributes:
        id: the event; a delivery that is repeated has the same.
        type: such as `run.created`, `run.interrupted`, `run.completed` (which is sent for failures too).
        created_at: as sent.
        account_id: whose it is; older events only.
        data: what it is about, as sent.
        run: the run it is about; None for other events. What it shows may be overtaken when it is read.
    """

    id: Id
    type: str
    created_at: str | None = None
    account_id: str | None = None
    data: dict[str, Any] = msgspec.field(default_factory=dict[str, Any])
    run: MiddeskRun | None = None
