"""A simulated Middesk account: its runs, what they ask and what becomes of them. No HTTP, no tasks, no timers.

What a run does is laid down when it is created; it takes the next step of its script when its time has come or its
questions are answered, and somebody looks.
"""

import random
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, NamedTuple, TypeAlias
from uuid import UUID

__all__ = ["AGENT_TYPES", "ListOrder", "MiddeskScript", "MiddeskWorld", "Moment", "Question", "ScriptedRun"]

Question = Mapping[str, Any]
"""What an interrupt asks: its `value`, such as `{"label": "Is this the right company?"}`."""

MiddeskScript = Sequence[tuple[float, str | Sequence[Question]]]
"""What a run does: it works for so many seconds, then asks questions, or ends with a status (`completed`, `error`).

When all its questions are answered, it takes the next entry. After the last it works for ever.
"""

ListOrder: TypeAlias = Literal["newest", "oldest", "random"]
"""Which runs a list shows first."""

AGENT_TYPES = ("cip_orchestrator", "web_presence")

_OLD_WORDS = {"running": "pending", "error": "failed"}


class Moment(NamedTuple):
    """How a run looks from `at` (clock seconds) on: its status, and the interrupts that await an answer."""

    at: float
    status: str
    pending: tuple[str, ...] = ()


@dataclass(slots=True, kw_only=True, eq=False)
class ScriptedRun:
    """A run: its script, and how far it has come."""

    id: str
    agent: str
    thread_id: str
    created: float
    script: MiddeskScript
    ids: random.Random
    on_change: Callable[["ScriptedRun", Moment], None]
    moments: list[Moment] = field(default_factory=list[Moment])
    questions: dict[str, Question] = field(default_factory=dict[str, Question])
    """All it has asked, by interrupt id."""
    answers: dict[str, Any] = field(default_factory=dict[str, Any])
    """What was answered, by interrupt id."""
    refused: list[str] = field(default_factory=list[str])
    """Interrupt ids of answers that were refused, as nothing (more) was asked under them."""
    _taken: int = 0

    @property
    def next_at(self) -> float | None:
        """When it takes its next step by itself; None if it never does."""
        if self.moments[-1].status != "running" or self._taken == len(self.script):
            return None
        return self.moments[-1].at + self.script[self._taken][0]

    @property
    def is_over(self) -> bool:
        """Whether it has ended."""
        return self.moments[-1].status not in {"running", "interrupted"}

    def advance(self, now: float) -> None:
        """Take the steps whose time has come."""
        while (at := self.next_at) is not None and at <= now:
            _, step = self.script[self._taken]
            self._taken += 1
            if isinstance(step, str):
                self.change(Moment(at, step))
                return
            asked = {new_id(self.ids): question for question in step}
            self.questions.update(asked)
            self.change(Moment(at, "interrupted", tuple(asked)))

    def answer(self, now: float, interrupt_id: str, value: object) -> bool:
        """Answer an interrupt; return whether it was waiting for that."""
        self.advance(now)
        pending = self.moments[-1].pending
        if interrupt_id not in pending:
            self.refused.append(interrupt_id)
            return False
        self.answers[interrupt_id] = value
        left = tuple(one for one in pending if one != interrupt_id)
        self.change(Moment(now, "interrupted" if left else "running", left))
        return True

    def change(self, moment: Moment) -> None:
        """Look like that from now on."""
        self.moments.append(moment)
        self.on_change(self, moment)

    def at(self, time: float) -> int:
        """Return the number of the moment that holds at a clock time; the first before its creation."""
        return max(0, bisect_right(self.moments, time, key=lambda moment: moment.at) - 1)


class MiddeskWorld:
    """The runs, threads and feedback of one account.

    Args:
        clock: returns the time in seconds; nothing else moves the world.
        seed: decides ids, and what runs do that are given no script.
        lag: least and most that a read lags behind, in seconds: it may show an interrupt that was answered.
        list_lag: seconds after its creation from which a list shows a run.
        old_words: use the status words of an older generation of the API (`pending`, `failed`).
        nulls: share of the fields that may be null (who asked for a run, when it began and ended) that are, each by
            chance and at each look anew.
        epoch: the date at which the world begins. Default: the machine's date.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        *,
        seed: int = 0,
        lag: tuple[float, float] = (0.0, 0.0),
        list_lag: float = 0.0,
        old_words: bool = False,
        nulls: float = 0.0,
        epoch: datetime | None = None,
    ) -> None:
        self.now = clock
        self.script: MiddeskScript | None = None
        """If not None, what every run does that is created from now on."""
        self.runs: dict[str, ScriptedRun] = {}
        """All runs by id, oldest first."""
        self.threads: dict[str, dict[str, Any]] = {}
        """All threads by id, as they look."""
        self.feedback: list[dict[str, Any]] = []
        """All feedback, oldest first, as it looks."""
        self.lag = lag
        self.list_lag = list_lag
        self.on_change: Callable[[ScriptedRun, Moment], None] = lambda _run, _moment: None
        """Told of every change of the runs created from now on, when the world comes to know of it."""
        self._businesses: dict[str, str | None] = {}  # by thread
        self._old_words = old_words
        self._seed = seed
        self._nulls = nulls
        self._chance = random.Random(f"{seed}:nulls")
        self._random = random.Random(f"{seed}:middesk")
        self._lags = random.Random(f"{seed}:lag")
        self._orders = random.Random(f"{seed}:orders")
        self._began = clock()
        self._epoch = epoch or datetime.now(UTC)

    # What happens

    def create(
        self,
        agent: str = AGENT_TYPES[0],
        *,
        thread_id: str | None = None,
        business_id: str | None = None,
        script: MiddeskScript | None = None,
    ) -> ScriptedRun:
        """Create a run that lives by `script`, else by the world's script, else by the seed."""
        now = self.now()
        run_id = new_id(self._random)
        ids = random.Random(f"{self._seed}:{run_id}")
        script = self.script if script is None else script
        run = ScriptedRun(
            id=run_id,
            agent=agent,
            thread_id=thread_id or self.create_thread(business_id=business_id)["id"],
            created=now,
            script=_some_script(ids) if script is None else script,
            ids=ids,
            on_change=self.on_change,
        )
        self.runs[run_id] = run
        run.change(Moment(now, "running"))
        return run

    def create_thread(self, *, business_id: str | None = None) -> dict[str, Any]:
        """Create a thread, perhaps about a business, and return how it looks."""
        thread: dict[str, Any] = {
            "object": "thread",
            "id": new_id(self._random),
            "created_at": self.date(self.now()),
            "updated_at": self.date(self.now()),
            "status": "running",
            "metadata": None,
            "requester": _REQUESTER,
            "steps": [],
        }
        self.threads[thread["id"]] = thread
        self._businesses[thread["id"]] = business_id
        return thread

    def end(self, run_id: str, status: str = "completed") -> None:
        """End a run now, whatever it does.

        Raises:
            KeyError: there is no such run.
        """
        self.runs[run_id].change(Moment(self.now(), status))

    def answer(self, run_id: str, interrupt_id: str, value: object) -> bool:
        """Answer an interrupt; return whether the run was waiting for that.

        Raises:
            KeyError: there is no such run.
        """
        return self.runs[run_id].answer(self.now(), interrupt_id, value)

    def rate(self, run: ScriptedRun, artifact_id: str, rating: str, comment: str | None) -> dict[str, Any]:
        """Store feedback and return how it looks."""
        again = any(one["artifact_id"] == artifact_id for one in self.feedback)
        stored = {
            "object": "run_feedback",
            "id": new_id(self._random),
            "run_id": run.id,
            "rating": rating,
            "artifact_id": artifact_id,
            "comment": comment,
            "reviewer": {"type": "Account", "id": _REQUESTER["id"]},
            "superseded_prior": again,
            "created_at": self.date(self.now()),
        }
        self.feedback.append(stored)
        return stored

    # How it looks

    def listed(self, number: int, size: int, order: ListOrder = "newest") -> dict[str, Any]:
        """Return a page of the runs, counted from 0, as it looks ("List agent runs")."""
        runs = [run for run in self.runs.values() if run.created <= self.now() - self.list_lag]
        if order == "newest":
            runs.reverse()
        elif order == "random":
            self._orders.shuffle(runs)
        data = [self.seen(run) for run in runs[number * size : (number + 1) * size]]
        return _page(data, number, size, len(runs))

    def listed_threads(self, number: int, size: int, business_id: str | None = None) -> dict[str, Any]:
        """Return a page of the threads (about one business), counted from 0, as it looks ("List agent threads")."""
        threads = [
            thread
            for thread_id, thread in reversed(self.threads.items())
            if business_id is None or self._businesses[thread_id] == business_id
        ]
        return _page(threads[number * size : (number + 1) * size], number, size, len(threads))

    def agents(self) -> list[dict[str, Any]]:
        """Return how the agents look ("List agents")."""
        date = self.date(self._began)
        return [
            {"object": "agent", "id": new_id(random.Random(kind)), "type": kind, "name": kind.replace("_", " ").title()}
            | {"description": None, "created_at": date, "updated_at": date}
            for kind in AGENT_TYPES
        ]

    def seen(self, run: ScriptedRun, *, steps: bool = False) -> dict[str, Any]:
        """Return a run as a read shows it, which may lag behind."""
        return self.response(run, self.now() - self._lags.uniform(*self.lag), steps=steps)

    def response(self, run: ScriptedRun, time: float | None = None, *, steps: bool = False) -> dict[str, Any]:
        """Return a run as it looked at a clock time, by default as it looks now ("Retrieve an agent run")."""
        run.advance(self.now())
        number = run.at(self.now() if time is None else time)
        moment = run.moments[number]
        is_over = moment.status not in {"running", "interrupted"}
        shown = {
            "object": "run",
            "id": run.id,
            "created_at": self.date(run.created),
            "updated_at": self.date(moment.at),
            "status": _OLD_WORDS.get(moment.status, moment.status) if self._old_words else moment.status,
            "thread_id": run.thread_id,
            "agent": run.agent,
            "requester": _REQUESTER,
            "started_at": self.date(run.created),
            "ended_at": self.date(moment.at) if is_over else None,
            "output": {"artifacts": artifacts(run)} if moment.status == "completed" else None,
            "interrupts": [
                {"id": one, "agent": run.agent, "value": {"agent": run.agent, **run.questions[one]}}
                for one in moment.pending
            ],
        }
        if self._nulls:
            shown |= {name: None for name in _NULLABLE if self._chance.random() < self._nulls}
        return {**shown, "steps": self.steps(run, number)} if steps else shown

    def steps(self, run: ScriptedRun, number: int) -> list[dict[str, Any]]:
        """Return the steps of a run up to its moment of this number."""
        ends = [*run.moments[1 : number + 1], None]
        return [self._step(run, i, moment, ends[i]) for i, moment in enumerate(run.moments[: number + 1])]

    def date(self, time: float) -> str:
        """Write a clock time the way the service writes dates."""
        return self.datetime(time).replace(tzinfo=None).isoformat("T", "milliseconds") + "Z"

    def datetime(self, time: float) -> datetime:
        """Return the date of a clock time, in UTC."""
        return self._epoch + timedelta(seconds=time - self._began)

    def _step(self, run: ScriptedRun, number: int, moment: Moment, until: Moment | None) -> dict[str, Any]:
        kind = _STEP_TYPES.get(moment.status, "output")
        step: dict[str, Any] = {
            "id": new_id(random.Random(f"{run.id}:step {number}")),
            "run_id": run.id,
            "type": kind,
            "name": kind,
            "label": _STEP_LABELS[kind],
            "status": _step_status(kind, until),
            "agent": run.agent,
            "parent_step_id": None,
            "started_at": self.date(moment.at),
            "completed_at": None if until is None else self.date(until.at),
            "result": {},  # what came of an interrupt says something only where no person answered
            "artifacts": artifacts(run) if kind == "output" else [],
            "steps": [],
        }
        inner_id = new_id(random.Random(f"{run.id}:step {number} in detail"))
        inner = {**step, "id": inner_id, "parent_step_id": step["id"], "label": f"{step['label']}, in detail"}
        return {**step, "steps": [inner]}


_NULLABLE = ("requester", "started_at", "ended_at")
_REQUESTER = {"id": "u0a1b2c3-0000-4000-8000-000000000001", "name": "Example Account", "email": None}
_STEP_TYPES = {"running": "activity", "interrupted": "interrupt", "error": "error"}
_STEP_LABELS = {
    "activity": "Look the company up",
    "interrupt": "Ask a person",
    "error": "The registry did not answer",
    "output": "Report",
}


def artifacts(run: ScriptedRun) -> list[dict[str, Any]]:
    """Return what a run finds. The id is what the service sends without declaring it."""
    return [
        {
            "id": new_id(random.Random(f"{run.id}:artifact")),
            "title": "Registration",
            "type": "document",
            "confidence": "high",
            "summary": "The company is registered and active.",
            "sources": [
                {
                    "url": "https://registry.example/123",
                    "source_name": "Registry",
                    "source_tier": "primary",
                    "source_type": "government",
                }
            ],
        }
    ]


def _page(data: Sequence[Mapping[str, Any]], number: int, size: int, total: int) -> dict[str, Any]:
    return {"object": "list", "has_more": (number + 1) * size < total, "data": data, "total_count": total}


def new_id(rng: random.Random) -> str:
    """Return a random UUID."""
    return str(UUID(int=rng.getrandbits(128), version=4))


def _step_status(kind: str, until: Moment | None) -> str:
    if kind == "error":
        return "error"
    return "running" if until is None and kind != "output" else "completed"


def _some_script(rng: random.Random) -> MiddeskScript:
    """Draw a life: up to two rounds of questions, and an end that is mostly good."""
    rounds = [
        (rng.uniform(10.0, 60.0), [{"label": f"Approve proposal {n}?"} for n in range(rng.randint(1, 2))])
        for _ in range(rng.choice((0, 1, 1, 2)))
    ]
    return [*rounds, (rng.uniform(10.0, 60.0), "completed" if rng.random() < 0.9 else "error")]  # noqa: PLR2004 - a share
