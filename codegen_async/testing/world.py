"""A simulated organisation: its agent runs and what becomes of them. No HTTP, no tasks, no timers.

The life of a run is laid down when it is created or resumed, and what it looks like is computed from the
clock whenever somebody asks. Ten thousand runs cost nothing while they live, and a test can read the truth
in advance: `run.finished_at`, `run.status_at(time)`.
"""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from heapq import merge
from typing import Any

from codegen_async.testing import content
from codegen_async.testing.life import FINAL_STATUSES, Life, Run, Script, Stage

__all__ = ["FINAL_STATUSES", "Life", "Run", "Script", "Stage", "World"]

_Row = tuple[float, dict[str, Any]]


class World:
    """The runs of one organisation.

    Args:
        clock: returns the time in seconds; nothing else moves the world.
        seed: decides ids, durations, outcomes and texts. What happens to a run depends on the seed and on
            its id, not on what else happens.
        org_id: the organisation's id.
        user_id: who creates runs unless told otherwise.
        first_id: id of the first run; ids grow, with gaps.
        life: how runs live that are given no script.
        epoch: the date at which the world begins. Default: the machine's date, so that dates of runs can
            be compared with it; give one to have the same dates each time.
        rfc3339: write dates as the documentation has them. Default: as the live service wrote them, with a
            space and no zone, in UTC.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        *,
        seed: int = 0,
        org_id: int = 323,
        user_id: int = 1,
        first_id: int = 40_000,
        life: Life | None = None,
        epoch: datetime | None = None,
        rfc3339: bool = False,
    ) -> None:
        self.now = clock
        self.org_id = org_id
        self.user_id = user_id
        self.life: Life = life or Life()
        self.script: Script | None = None
        """If not None, the life of every run created or resumed from now on."""
        self.runs: dict[int, Run] = {}
        """All runs by id, oldest first."""
        self.banned: set[int] = set()
        """The runs whose pull requests were banned."""
        self._seed = seed
        self._ids = random.Random(f"{seed}:ids")
        self._next_id = first_id
        self._began = clock()
        self._epoch = epoch or datetime.now(UTC)
        self._rfc3339 = rfc3339

    def create(
        self,
        prompt: str,
        *,
        images: Sequence[str] = (),
        metadata: Mapping[str, Any] | None = None,
        repo_id: int | None = None,
        model: str | None = None,
        agent_type: str | None = None,
        source_type: str | None = "API",
        user_id: int | None = None,
        script: Script | None = None,
        webhooks: Sequence[Mapping[str, Any]] = (),
    ) -> Run:
        """Create a run that lives by `script`, else by the world's script, else by the seed."""
        run = Run(
            id=self._next_id,
            created=self.now(),
            prompt=prompt,
            images=images,
            metadata=metadata,
            repo_id=repo_id,
            model=model,
            agent_type=agent_type,
            source_type=source_type,
            user_id=self.user_id if user_id is None else user_id,
            stages=[],
            webhooks=webhooks,
        )
        self._live(run, prompt, script)
        self.runs[run.id] = run
        self._next_id += self._ids.randint(1, 5)
        return run

    def resume(
        self,
        run_id: int,
        prompt: str,
        *,
        script: Script | None = None,
        model: str | None = None,
        webhooks: Sequence[Mapping[str, Any]] | None = None,
    ) -> Run:
        """Give a run a new life from now on, whatever its status is; a model and webhooks replace those it has.

        Raises:
            KeyError: there is no such run.
        """
        run = self.runs[run_id]
        run.model = run.model if model is None else model
        run.webhooks = run.webhooks if webhooks is None else webhooks
        self._live(run, prompt, script)
        return run

    def end(self, run_id: int, status: str = "COMPLETE") -> None:
        """End a run now.

        Raises:
            KeyError: there is no such run.
        """
        now = self.now()
        self.runs[run_id].change(now, [Stage(now, status)])

    def pause(self, run_id: int) -> None:
        """Let a run wait for its user: it stays PAUSED until it is resumed or ended.

        Raises:
            KeyError: there is no such run.
        """
        self.end(run_id, "PAUSED")

    def stop(self, run_id: int) -> None:
        """Cancel a run if it has not ended, as a ban of its pull request does; the ban is remembered.

        Raises:
            KeyError: there is no such run.
        """
        if self.runs[run_id].status_at(self.now()) not in FINAL_STATUSES:
            self.end(run_id, "CANCELLED")
        self.banned.add(run_id)

    def delete(self, run_id: int) -> None:
        """Remove a run as if it had never been.

        Raises:
            KeyError: there is no such run.
        """
        del self.runs[run_id]

    def page(
        self, *, skip: int = 0, limit: int = 100, user_id: int | None = None, source_type: str | None = None
    ) -> tuple[list[Run], int]:
        """Return a page of the runs that match, newest first, and how many match in all."""
        runs = list(self.runs.values())
        if user_id is not None:
            runs = [run for run in runs if run.user_id == user_id]
        if source_type is not None:
            runs = [run for run in runs if run.source_type == source_type]
        runs.reverse()
        return runs[skip : skip + limit], len(runs)

    def response(self, run: Run) -> dict[str, Any]:
        """Return a run as it looks now: the fields of AgentRunResponse ("Get Agent Run")."""
        now = self.now()
        return {
            "id": run.id,
            "organization_id": self.org_id,
            "status": run.status_at(now),
            "created_at": self.date(run.created),
            "web_url": f"https://codegen.sh/agent/trace/{run.id}",
            "source_type": run.source_type,
            "metadata": run.metadata,
            **self._outcome(run, now),
        }

    def logs(self, run: Run) -> list[dict[str, Any]]:
        """Return the log rows written up to now, oldest first; time only appends to them."""
        now = self.now()
        rows = merge(self._milestones(run, now), self._work(run, now), key=lambda row: row[0])
        return [self._log_row(run, at, row) for at, row in rows]

    def date(self, time: float) -> str:
        """Write a clock time the way the service writes dates."""
        moment = self.datetime(time).replace(tzinfo=None)
        if self._rfc3339:
            return moment.isoformat("T", "microseconds") + "Z"
        return moment.isoformat(" ", "microseconds")

    def datetime(self, time: float) -> datetime:
        """Return the date of a clock time, in UTC."""
        return self._epoch + timedelta(seconds=time - self._began)

    def _live(self, run: Run, prompt: str, script: Script | None) -> None:
        now = self.now()
        script = self.script if script is None else script
        if script is None:
            script = self.life.script(random.Random(self._key(run, f"life {run.reached(now)}")))
        said = Stage(now, run.status_at(now), prompt)
        run.change(now, [said, *(Stage(now + after, status) for after, status in script)])

    def _key(self, run: Run, what: str) -> str:
        return f"{self._seed}:{run.id}:{what}"

    def _report(self, run: Run, number: int) -> content.Report:
        """Return what a run leaves behind at its stage of this number."""
        return content.report(self._key(run, f"report {number}"), str(run.stages[number].status))

    def _outcome(self, run: Run, now: float) -> dict[str, Any]:
        number = run.reached(now) - 1
        if run.status_at(now) not in FINAL_STATUSES:
            return {"result": None, "summary": None, "github_pull_requests": []}
        report = self._report(run, number)
        ended = self.date(run.stages[number].at)
        return {
            "result": report.result,
            "summary": report.summary,
            "github_pull_requests": [
                {
                    "id": pull.id,
                    "title": pull.title,
                    "url": f"https://github.com/example/repository/pull/{pull.id}",
                    "created_at": ended,
                    "head_branch_name": pull.branch,
                }
                for pull in report.pull_requests
            ],
        }

    def _milestones(self, run: Run, now: float) -> Iterator[_Row]:
        """Yield what was said by the user, and each end."""
        for number, stage in enumerate(run.stages[: run.reached(now)]):
            if stage.prompt is not None:
                yield stage.at, content.prompt_row(stage.prompt)
            elif stage.status in FINAL_STATUSES:
                yield stage.at, content.ending_row(stage.status, self._report(run, number))

    def _work(self, run: Run, now: float) -> Iterator[_Row]:
        """Yield what the run did while it worked."""
        last = now if run.finished_at is None else min(now, run.finished_at)  # after which there is nothing
        for at, rng in content.ticks(self._key(run, "log"), run.created, self.life.log_interval):
            if at > last:
                return
            row = content.work_row(run.status_at(at), rng)
            if row:
                yield at, row

    def _log_row(self, run: Run, at: float, row: dict[str, Any]) -> dict[str, Any]:
        return {
            "agent_run_id": run.id,
            "created_at": self.date(at),
            "tool_name": None,
            "thought": None,
            "observation": None,
            "tool_input": None,
            "tool_output": None,
            **row,
        }
