"""No server makes two runs of one prompt, however it lists runs: what was not found is only sent again with a proof."""

import asyncio
import contextlib
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from codegen_async import AgentRun, APIError, Batch, CodegenClient, CreateOutcomeUnknownError
from codegen_async.batch.items import State
from codegen_async.testing import Fault
from codegen_async.testing.life import Run
from tests.support.odd import Odd, Road, Row, batch_outcomes, client_on, run_batch, states

pytestmark = pytest.mark.asyncio(loop_factories=["virtual"])

Bend = Callable[[Odd, Road], object]
PROMPTS = 10
MOMENTS = {"the first": (1,), "one in the middle": (6,), "the last": (10,), "some": (2, 3, 9)}


def _key(row: Row) -> str:
    return str((row["metadata"] or {}).get("idempotency_key", ""))


def rows(change: Callable[[Row], Row | None]) -> Bend:
    """Change every row."""

    def bend(server: Odd, _: Road) -> None:
        server.row = lambda _, row: change(row)

    return bend


def lost_rows(change: Callable[[Row], Row | None]) -> Bend:
    """Change the rows of the runs whose answers were lost."""

    def bend(server: Odd, road: Road) -> None:
        server.row = lambda run, row: change(row) if run.prompt in road.lost else row

    return bend


def keyed_by(change: Callable[[str], object]) -> Callable[[Row], Row]:
    return lambda row: {**row, "metadata": {**(row["metadata"] or {}), "idempotency_key": change(_key(row))}}


def lagging(seconds: Callable[[Run], float]) -> Bend:
    """Show each run only so many seconds after it was made."""

    def bend(server: Odd, _: Road) -> None:
        server.row = lambda run, row: None if server.world.now() < run.created + seconds(run) else row

    return bend


def frozen(seconds: float, *, before: bool) -> Bend:
    """Show what was sent before the first lost one, or that one as well; what runs do goes on."""

    def bend(server: Odd, road: Road) -> None:
        until: list[float] = []
        kept: list[str] = []

        def freeze() -> None:
            if not until:
                until.append(server.world.now() + seconds)
                first = next(place for place, prompt in enumerate(road.sent) if prompt in road.lost)
                kept.extend(road.sent[: first + (not before)])

        road.on_loss = freeze
        server.row = lambda run, row: row if not until or server.world.now() > until[0] or run.prompt in kept else None

    return bend


def cached(seconds: float, skips: Callable[[int], bool] = lambda _: True) -> Bend:
    """Answer with the page of a while ago, whatever its size was."""

    def bend(server: Odd, _: Road) -> None:
        cache: dict[int, tuple[float, Row]] = {}

        def page(skip: int, fresh: Row) -> Row:
            at, kept = cache.get(skip, (-1e9, fresh))
            if not skips(skip) or server.world.now() - at > seconds:
                at, kept = cache[skip] = server.world.now(), fresh
            return kept

        server.page = page

    return bend


def paged(change: Callable[[list[Any]], list[Any]]) -> Bend:
    """Change the rows of each page."""

    def bend(server: Odd, _: Road) -> None:
        server.page = lambda _, page: {**page, "items": change(page["items"])}

    return bend


def with_neighbours(bend: Bend, count: int = 230) -> Bend:
    def both(server: Odd, road: Road) -> None:
        server.neighbours(count)
        bend(server, road)

    return both


def ordered(key: Callable[[Odd, Run], float]) -> Bend:
    def bend(server: Odd, _: Road) -> None:
        server.order = lambda run: key(server, run)

    return bend


def ids(choose: Callable[[random.Random, int], int]) -> Bend:
    """Number runs in another way, which the list follows."""

    def bend(server: Odd, _: Road) -> None:
        rng = random.Random(7)
        create = server.world.create

        def created(*arguments: Any, **options: Any) -> Run:
            server.world._next_id = choose(rng, server.world._next_id)
            return create(*arguments, **options)

        server.world.create = created  # type: ignore[method-assign]

    return bend


def poisoned(server: Odd, _: Road) -> None:
    """Name in some answers a run that is not there, with the right key."""
    response = server.world.response
    count = iter(range(10**6))
    server.world.response = lambda run: {**response(run), **({"id": 2**53} if next(count) in (1, 4, 8) else {})}  # type: ignore[method-assign]


def poisoned_start(server: Odd, _: Road) -> None:
    """Show at first a page with ids that are too high."""
    server.neighbours(120)
    count = iter(range(10**6))

    def page(_: int, fresh: Row) -> Row:
        shift = 10**9 if next(count) < 2 else 0
        return {**fresh, "items": [{**row, "id": row["id"] + shift} for row in fresh["items"]]}

    server.page = page


def clamped(most: int, *, skipping: bool = True) -> Bend:
    """Show few rows on a page, or the first page always."""

    def bend(server: Odd, _: Road) -> None:
        first: dict[int, Row] = {}

        def page(skip: int, fresh: Row) -> Row:
            first[skip and 1] = fresh
            return fresh if skipping else first[0]

        server.most, server.page = most, page

    return bend


def failing(first: float, times: int | None) -> Bend:
    """Fail to list from some seconds after each loss on."""

    def bend(server: Odd, road: Road) -> None:
        def fail() -> None:
            server.faults.add(Fault.ERROR_BEFORE, endpoint="list", status=503, times=times)

        road.on_loss = lambda: asyncio.get_running_loop().call_later(first, fail)

    return bend


def _last_seen(server: Odd, run: Run) -> float:
    """When a run was last touched, by chance."""
    age = server.world.now() - run.created
    return run.created + random.Random(f"{run.id}:{int(age / 20)}").uniform(0.0, age + 0.001)


SERVERS: dict[str, Bend] = {
    "shows no metadata": rows(lambda row: {**row, "metadata": None}),
    "cuts keys": rows(keyed_by(lambda key: key[:16])),
    "cuts keys with a mark": rows(keyed_by(lambda key: key and f"{key[:10]}...")),
    "cuts keys at their beginning": rows(keyed_by(lambda key: key[6:])),
    "shows keys in capitals": rows(keyed_by(str.upper)),
    "masks keys": rows(keyed_by(lambda key: key and "****")),
    "shows keys as numbers": rows(keyed_by(len)),
    "drops the metadata of some rows": lost_rows(lambda row: {**row, "metadata": None}),
    "drops the keys of some rows": lost_rows(lambda row: {**row, "metadata": {"a": 1}}),
    "cuts the keys of some rows": lost_rows(keyed_by(lambda key: key[:12])),
    "masks the keys of some rows": lost_rows(keyed_by(lambda _: "***")),
    "shows metadata of some rows as text": lost_rows(lambda row: {**row, "metadata": "{...}"}),
    "drops metadata and source": lost_rows(lambda row: {**row, "metadata": None, "source_type": None}),
    "drops the metadata of every third row": rows(
        lambda row: {**row, "metadata": row["metadata"] if row["id"] % 3 else None}
    ),
    "has rows that cannot be read": lost_rows(lambda row: {**row, "id": "?"}),
    "has null rows": paged(lambda items: [row if row["id"] % 3 else None for row in items]),
    "shows rows twice": paged(lambda items: [row for row in items for _ in range(2)]),
    "shows a row twice for the one it leaves out": paged(
        lambda items: [
            items[place + 1 if row["id"] % 3 == 0 and place + 1 < len(items) else place]
            for place, row in enumerate(items)
        ]
    ),
    "lags 20 s": lagging(lambda _: 20.0),
    "lags 59 s": lagging(lambda _: 59.0),
    "lags 90 s": lagging(lambda _: 90.0),
    "lags 400 s": lagging(lambda _: 400.0),
    "never shows a run": lagging(lambda _: 1e9),
    "lags by chance": lagging(lambda run: random.Random(run.id).uniform(0.0, 150.0)),
    "shows runs once they begin, one after the other": lagging(lambda run: 15.0 * int(run.prompt[3:] or 0) + 15.0),
    "is frozen for 90 s": frozen(90.0, before=True),
    "is frozen for good": frozen(1e9, before=True),
    "is frozen with the lost one": frozen(1e9, before=False),
    "caches pages for 30 s": cached(30.0),
    "caches pages for 90 s": cached(90.0),
    "caches pages for good": cached(1e9),
    "caches the first page only": with_neighbours(cached(1e9, lambda skip: skip == 0)),
    "caches further pages only": with_neighbours(cached(1e9, lambda skip: skip > 0)),
    "lists the oldest first": ordered(lambda _, run: -run.id),
    "lists by what changed last": ordered(_last_seen),
    "lists in no order": ordered(lambda _, run: random.Random(run.id).random()),
    "lists in another order each time": ordered(lambda _, __: random.random()),
    "lists the oldest first among others": with_neighbours(ordered(lambda _, run: -run.id)),
    "lists in no order among others": with_neighbours(ordered(lambda _, run: random.Random(run.id).random())),
    "numbers runs in no order": ids(lambda rng, _: rng.randint(1, 2**50)),
    "numbers runs downwards": ids(lambda _, number: 2**40 - 7 * (number % 2**39)),
    "numbers runs with leaps": ids(lambda rng, number: number + rng.randint(0, 10**9)),
    "names a run that is not there": poisoned,
    "shows ids at first that are too high": poisoned_start,
    "has pages of five": clamped(5),
    "has pages of one": clamped(1),
    "leaves out nothing": with_neighbours(clamped(100, skipping=False)),
    "fails at the last look": failing(45.0, 6),
    "fails to list from then on for long": failing(1.0, 200),
}


@pytest.mark.sampled(5)
@pytest.mark.parametrize("lost", MOMENTS.values(), ids=MOMENTS)
@pytest.mark.parametrize("bend", SERVERS.values(), ids=SERVERS)
async def test_a_batch_makes_no_prompt_twice(tmp_path: Path, bend: Bend, lost: tuple[int, ...]) -> None:
    async with Odd() as server:
        client, road = client_on(server, *lost)
        bend(server, road)
        outcomes = await run_batch(client, tmp_path / "batch.db", PROMPTS)
        assert server.doubled() == []
        assert len(road.lost) == len(lost)
        for outcome in outcomes:
            assert outcome.state in (State.ENDED, State.UNKNOWN, State.CREATED)


SHOWN_LATE = {"lags 59 s", "lags by chance"}  # if it is done late as well, that is later than `settle` in sum


@pytest.mark.sampled(5)
@pytest.mark.parametrize("lost", [(2,), (3, 5)], ids=["one", "two"])
@pytest.mark.parametrize(
    ("bend", "late"),
    [
        pytest.param(bend, late, id=f"{name}-{late}")
        for name, bend in SERVERS.items()
        for late in (None, 25.0)
        if late is None or name not in SHOWN_LATE
    ],
)
async def test_single_creates_that_may_be_repeated_make_no_second_run(
    bend: Bend, lost: tuple[int, ...], late: float | None
) -> None:
    async with Odd() as server:
        client, road = client_on(server, *lost)
        road.late = late
        bend(server, road)
        async with client:
            for _ in range(2):  # the second time, what is in doubt is looked for again
                creates = [_create(client, n) for n in range(6)]
                results = [await create for create in creates[:3]] + await asyncio.gather(*creates[3:])
                assert all(isinstance(result, AgentRun | APIError) for result in results)
        assert server.doubled() == []


async def _create(client: CodegenClient, n: int) -> AgentRun | APIError:
    try:
        return await client.create_run(f"do {n}", idempotency_key=f"key-{n}", on_unknown="retry")
    except APIError as error:
        return error


@pytest.mark.sampled(4)
@pytest.mark.parametrize("bend", SERVERS.values(), ids=SERVERS)
async def test_a_batch_that_is_taken_up_again_makes_no_prompt_twice(tmp_path: Path, bend: Bend) -> None:
    async with Odd() as server:
        for life in range(3):
            client, road = client_on(server, 2, 4)
            if not life:
                bend(server, road)
                road.lost.update(f"do {n}" for n in range(1, 30, 2))
            loop = asyncio.get_running_loop()
            async with client, Batch(client, tmp_path / "batch.db", clock=loop.time) as batch:
                for n in range(6 * life + 6):
                    batch.add(f"do {n}", key=str(n))
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(30.0 if life < 2 else 1800.0):
                        await batch_outcomes(batch, [])
        assert server.doubled() == []


@pytest.mark.parametrize(
    "bend",
    [
        rows(lambda row: {**row, "metadata": None}),
        rows(keyed_by(lambda key: key[:5])),
        rows(keyed_by(lambda key: key and f"{key[:5]}...")),
        rows(keyed_by(str.upper)),
    ],
    ids=["none", "cut", "marked", "capitals"],
)
@pytest.mark.parametrize("creates", [1, 3])
async def test_another_program_makes_no_second_run_of_a_key_that_the_list_does_not_show(
    bend: Bend, creates: int
) -> None:
    async with Odd() as server:
        for _ in range(2):
            client, road = client_on(server)
            bend(server, road)
            async with client:
                for n in range(creates):
                    assert isinstance(await _create(client, n), AgentRun | CreateOutcomeUnknownError)
        assert server.doubled() == []


async def test_a_key_that_another_one_begins_with_is_no_hindrance() -> None:
    async with Odd() as server:
        for key in ("nightly-1", "nightly-10", "nightly-100"):
            client, _ = client_on(server)
            async with client:
                await client.create_run("neighbour", idempotency_key=key)
        assert len(server.world.runs) == 3


# -- where there is a proof, it is used

FINE: dict[str, Bend] = {
    "is as it should be": lambda *_: None,
    "has many others": lambda server, _: server.neighbours(230),
    "lags 20 s": lagging(lambda _: 20.0),
    "lags 50 s": lagging(lambda _: 50.0),
    "has pages of five": clamped(5),
    "leaps with its ids": ids(lambda rng, number: number + rng.randint(0, 10**9)),
    "lets people begin runs meanwhile": lambda server, _: _visit(server),
}


def _visit(server: Odd) -> None:
    create = server.world.create

    def both(*arguments: Any, **options: Any) -> Run:
        asyncio.get_running_loop().call_soon(lambda: create("neighbour", source_type="SLACK"))
        return create(*arguments, **options)

    server.world.create = both  # type: ignore[method-assign]


@pytest.mark.sampled(5)
@pytest.mark.parametrize("prompts", [10, 25])
@pytest.mark.parametrize("times", [1, 3, 9])
@pytest.mark.parametrize("bend", FINE.values(), ids=FINE)
async def test_what_did_nothing_is_sent_again_where_a_later_run_is_shown(
    tmp_path: Path, bend: Bend, times: int, prompts: int
) -> None:
    async with Odd() as server:
        client, road = client_on(server)
        bend(server, road)
        server.faults.add(Fault.RESET_BEFORE, endpoint="create", times=times)
        outcomes = await run_batch(client, tmp_path / "batch.db", prompts)
        assert states(outcomes) == {State.ENDED: prompts}
        assert server.doubled() == []


async def test_the_last_create_of_a_batch_is_decided_by_the_runs_of_its_next_prompts(tmp_path: Path) -> None:
    async with Odd() as server:
        client, road = client_on(server, 4)
        road.late = 1e9
        outcomes = await run_batch(client, tmp_path / "batch.db", 4)
        assert states(outcomes) == {State.ENDED: 3, State.UNKNOWN: 1}
        client, _ = client_on(server)
        outcomes = await run_batch(client, tmp_path / "batch.db", 6)
        assert states(outcomes) == {State.ENDED: 3}
        assert len(server.world.runs) == 6
