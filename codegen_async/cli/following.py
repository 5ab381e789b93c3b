"""Follow runs until they rest, and show where they stand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from codegen_async.cli.errors import Exit
from codegen_async.cli.live import budget, duration, shown
from codegen_async.cli.options import PATIENT, Waits
from codegen_async.cli.output import Linked, make_table
from codegen_async.cli.render import plain, show_row, show_run, status_of, summary_of
from codegen_async.codegen.models import AgentRun, AgentRunLog
from codegen_async.models import Phase, RunId, RunLike

if TYPE_CHECKING:
    from rich.console import RenderableType

    from codegen_async.cli.session import Session
    from codegen_async.codegen.client import CodegenClient
    from codegen_async.hosted.client import RunClient

R = TypeVar("R", bound=RunLike)
Id = TypeVar("Id", bound=RunId)

_COLUMNS = ("RUN", "STATUS", "SINCE", "AGE", "SUMMARY")


def verdict(runs: Iterable[RunLike]) -> Exit:
    """Return what a command ends with that has waited for these runs."""
    phases = {run.phase for run in runs}
    if phases & {Phase.FAILED, Phase.CANCELLED}:
        return Exit.ENDED_BADLY
    return Exit.ATTENTION if Phase.BLOCKED in phases else Exit.OK


async def changes(
    session: Session[RunClient[R, Id]],
    runs: Iterable[Id | R],
    waits: Waits = PATIENT,
) -> AsyncGenerator[R]:
    """Yield each run as it is, and again whenever its phase changes; show it meanwhile."""
    board = _Board[R](session)
    watched = session.client.watch(runs, timeout=waits.timeout, latency=waits.latency)
    async with shown(session, board.picture), aclosing(watched):
        async for run in watched:
            board.note(run)
            yield run


async def until_rest(
    session: Session[RunClient[R, Id]],
    runs: Iterable[Id | R],
    waits: Waits = PATIENT,
) -> AsyncGenerator[R]:
    """Yield each run once, when it has ended or waits for a person."""
    wanted = list(runs)
    waiting = {run if isinstance(run, int | str) else run.id for run in wanted}
    async with aclosing(changes(session, wanted, waits)) as stream:
        async for run in stream:
            session.output.change(f"run {run.id} {status_of(run)}")
            if run.phase.is_still and run.id in waiting:
                waiting.discard(run.id)
                yield run
            if not waiting:
                return


async def until_it_rests(
    session: Session[RunClient[R, Id]],
    run: Id | R,
    waits: Waits = PATIENT,
) -> R:
    """Return a run when it has ended or waits for a person."""
    async with aclosing(until_rest(session, [run], waits)) as rests:
        return await anext(rests)


async def follow_until_rest(
    session: Session[CodegenClient],
    run: int | AgentRun,
    waits: Waits = PATIENT,
) -> AgentRun:
    """Show the rows of a run's log as they come, and return the run when it has ended or waits for a person."""
    log = _Log(session, run if isinstance(run, int) else run.id)
    rows = asyncio.create_task(log.follow(waits.latency))
    rest = asyncio.create_task(until_it_rests(session, run, waits))
    try:
        await asyncio.wait((rows, rest), return_when=asyncio.FIRST_COMPLETED)
        if rows.done():
            rows.result()
        final = await rest
        if final.phase.is_terminal:
            await rows
        else:
            rows.cancel()
            await asyncio.gather(rows, return_exceptions=True)
            await log.catch_up()
        return final
    finally:
        for task in (rows, rest):
            task.cancel()
        await asyncio.gather(rows, rest, return_exceptions=True)


class _Log:
    """The log of a run, shown row by row."""

    def __init__(self, session: Session[CodegenClient], run_id: int) -> None:
        self._session = session
        self._run_id = run_id
        self._shown = 0

    async def follow(self, latency: float | None) -> None:
        async with aclosing(self._session.client.follow_logs(self._run_id, latency=latency)) as rows:
            async for row in rows:
                self._show(row)

    async def catch_up(self) -> None:
        shown = self._shown
        async with aclosing(self._session.client.run_logs(self._run_id)) as rows:
            place = 0
            async for row in rows:
                place += 1
                if place > shown:
                    self._show(row)

    def _show(self, row: AgentRunLog) -> None:
        show_row(self._session.output, row)
        self._shown += 1


async def show_rests(
    session: Session[RunClient[R, Id]],
    runs: Iterable[Id],
    remark: Callable[[R], None],
    waits: Waits,
) -> Exit:
    """Show each run when it has ended or waits for a person, with a remark; return what the command ends with."""
    ended: list[R] = []
    async for run in until_rest(session, runs, waits):
        ended.append(run)
        if not session.output.json:
            show_run(session.output, run)
        remark(run)
    if session.output.json:
        session.output.document([plain(run) for run in ended])
    return verdict(ended)


async def show_changes(
    session: Session[RunClient[R, Id]],
    runs: Iterable[Id | R],
    waits: Waits,
) -> Exit:
    """Show each run at every change of its phase, where no picture does that."""
    output = session.output
    async for run in changes(session, runs, waits):
        if output.jsonl:
            output.document(plain(run))
        elif not output.pictured:
            output.row(("RUN", "STATUS"), (str(run.id), status_of(run)))
    return Exit.OK


class _Board(Generic[R]):
    """What is known of the runs that are followed."""

    def __init__(self, session: Session[RunClient[R, Any]]) -> None:
        self._client: RunClient[R, Any] = session.client
        self._clock = session.target.clock
        self._started = asyncio.get_running_loop().time()
        self._seen: dict[int | str, tuple[R, float]] = {}
        self._widths: dict[str, int] = {}

    def note(self, run: R) -> None:
        self._seen[run.id] = (run, asyncio.get_running_loop().time())

    async def picture(self) -> RenderableType:
        from rich.console import Group
        from rich.text import Text

        now = asyncio.get_running_loop().time()
        # Those that move come first, as a low terminal cuts off the end.
        known = sorted(self._seen.values(), key=lambda pair: pair[0].phase.is_still)
        rows = [
            (Linked(run.id, run.web_url), status_of(run), duration(now - since), self._age(run), summary_of(run))
            for run, since in known
        ]
        table = make_table(_COLUMNS, rows, stretched=True, widths=self._widths)
        return Group(table, Text(f"for {duration(now - self._started)}"), *budget(self._client))

    def _age(self, run: R) -> str:
        """Return how long ago a run was created, as far as it goes on."""
        created = run.created_time
        return "" if created is None or run.phase.is_still else duration(max(0.0, self._clock() - created.timestamp()))
