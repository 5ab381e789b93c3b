import random
import re
from collections import Counter
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from statistics import median
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codegen_async.testing.world import FINAL_STATUSES, Life, Run, Stage, World

EPOCH = datetime(2025, 6, 21, 11, 20, 4, 338398, tzinfo=UTC)


class Clock:
    def __init__(self) -> None:
        self.time = 1000.0

    def __call__(self) -> float:
        return self.time


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def world(clock: Clock) -> World:
    return World(clock, epoch=EPOCH)


def history(seed: int, *, runs: int = 30) -> list[Any]:
    """Return all that a world with this seed shows in the course of an hour."""
    clock = Clock()
    world = World(clock, seed=seed, epoch=EPOCH)
    shown: list[Any] = []
    for _ in range(runs):
        run = world.create("do it")
        clock.time += 120
        shown += [world.response(run) for run in world.runs.values()] + world.logs(run)
    return shown


# The life of a run.


def test_a_run_follows_its_script(world: World, clock: Clock) -> None:
    run = world.create("do it", script=[(0.0, "ACTIVE"), (20.0, "EVALUATION"), (30.0, "COMPLETE")])
    seen = []
    for time in (1000.0, 1019.0, 1020.0, 1029.0, 1030.0, 9000.0):
        clock.time = time
        seen.append(world.response(run)["status"])
    assert seen == ["ACTIVE", "ACTIVE", "EVALUATION", "EVALUATION", "COMPLETE", "COMPLETE"]


def test_the_truth_can_be_read_in_advance(world: World) -> None:
    run = world.create("do it", script=[(0.0, "ACTIVE"), (30.0, "ERROR")])
    assert run.finished_at == 1030
    assert [run.status_at(time) for time in (999, 1000, 1029.9, 1030)] == [None, "ACTIVE", "ACTIVE", "ERROR"]


@pytest.mark.parametrize("script", [[(0.0, "ACTIVE")], [(0.0, "ACTIVE"), (5.0, "PAUSED")], [(0.0, None)], []])
def test_a_run_whose_script_has_no_end_is_never_finished(world: World, script: list[tuple[float, str | None]]) -> None:
    assert world.create("do it", script=script).finished_at is None


def test_a_run_has_no_status_before_the_first_stage(world: World, clock: Clock) -> None:
    run = world.create("do it", script=[(5.0, "ACTIVE")])
    assert world.response(run)["status"] is None
    clock.time += 5
    assert world.response(run)["status"] == "ACTIVE"


def test_the_script_of_the_world_is_for_runs_without_their_own(world: World) -> None:
    world.script = [(0.0, "ACTIVE"), (7.0, "COMPLETE")]
    assert world.create("do it").finished_at == 1007
    assert world.create("do it", script=[(1.0, "ERROR")]).finished_at == 1001
    world.script = None
    assert world.create("do it").finished_at not in {None, 1001, 1007}


def test_end_cuts_a_life_short(world: World, clock: Clock) -> None:
    run = world.create("do it", script=[(0.0, "ACTIVE"), (30.0, "COMPLETE")])
    clock.time += 10
    world.end(run.id, "CANCELLED")
    assert run.finished_at == 1010
    clock.time += 100
    assert world.response(run)["status"] == "CANCELLED"
    assert run.status_at(1005) == "ACTIVE"


def test_a_paused_run_waits_until_it_is_resumed(world: World, clock: Clock) -> None:
    run = world.create("do it", script=[(0.0, "ACTIVE"), (30.0, "COMPLETE")])
    clock.time += 10
    world.pause(run.id)
    clock.time += 10_000
    assert world.response(run)["status"] == "PAUSED"
    assert run.finished_at is None
    world.resume(run.id, "go on", script=[(0.0, "ACTIVE"), (5.0, "COMPLETE")])
    assert world.response(run)["status"] == "ACTIVE"
    assert run.finished_at == clock.time + 5


def test_resume_reopens_a_finished_run(world: World, clock: Clock) -> None:
    run = world.create("do it", script=[(0.0, "ACTIVE"), (30.0, "ERROR")])
    clock.time += 60
    before = world.response(run)
    assert world.resume(run.id, "once more") is run
    after = world.response(run)
    assert (before["status"], after["status"]) == ("ERROR", "ACTIVE")
    assert before["summary"] is not None
    assert after["summary"] is None
    assert run.finished_at is not None
    assert run.finished_at > clock.time
    assert run.status_at(1059) == "ERROR"


def test_a_resumed_run_may_show_its_old_end_for_a_while(world: World, clock: Clock) -> None:
    run = world.create("do it", script=[(0.0, "COMPLETE")])
    clock.time += 10
    world.resume(run.id, "once more", script=[(2.0, "ACTIVE"), (9.0, "COMPLETE")])
    assert [run.status_at(clock.time + after) for after in (0, 1.9, 2, 9)] == [
        "COMPLETE",
        "COMPLETE",
        "ACTIVE",
        "COMPLETE",
    ]


@pytest.mark.parametrize("act", ["end", "pause", "delete"])
def test_a_run_that_is_not_there_cannot_be_changed(world: World, act: str) -> None:
    with pytest.raises(KeyError):
        getattr(world, act)(1)


def test_a_run_that_is_not_there_cannot_be_resumed(world: World) -> None:
    with pytest.raises(KeyError):
        world.resume(1, "go on")


# Lives from the seed.


def test_a_seed_always_gives_the_same_world() -> None:
    assert history(7) == history(7)
    assert history(7) != history(8)


def test_what_happens_to_a_run_does_not_depend_on_the_others(clock: Clock) -> None:
    busy, quiet = World(clock, seed=3, epoch=EPOCH), World(clock, seed=3, epoch=EPOCH)
    first = busy.create("do it")
    for _ in range(5):
        busy.logs(busy.create("something else"))
    busy.resume(first.id, "go on")
    alone = quiet.create("do it")
    quiet.resume(alone.id, "go on")
    assert first.stages == alone.stages


def duration(run: Run) -> float:
    assert run.finished_at is not None
    return run.finished_at - run.created


def test_a_resumed_run_takes_another_time(world: World) -> None:
    run = world.create("do it")
    first = run.finished_at
    world.resume(run.id, "go on")
    assert run.finished_at not in {None, first}


def test_durations_are_lognormal_by_default(world: World) -> None:
    durations = sorted(duration(world.create("do it")) for _ in range(4000))
    assert median(durations) == pytest.approx(360, rel=0.1)
    # One sigma to each side, 16 % and 84 %: a factor of e.
    assert durations[640] == pytest.approx(360 / 2.718, rel=0.15)
    assert durations[3360] == pytest.approx(360 * 2.718, rel=0.15)


def test_most_runs_complete_and_every_outcome_occurs(world: World) -> None:
    runs = [world.create("do it") for _ in range(2000)]
    outcomes = Counter(run.stages[-1].status for run in runs)
    assert set(outcomes) == set(Life().outcomes) <= FINAL_STATUSES
    assert 0.85 < outcomes["COMPLETE"] / 2000 < 0.91


def test_some_runs_evaluate_their_work_before_the_end(world: World) -> None:
    runs = [world.create("do it") for _ in range(1000)]
    evaluated = [run for run in runs if any(stage.status == "EVALUATION" for stage in run.stages)]
    assert 0.25 < len(evaluated) / 1000 < 0.35
    for run in evaluated:
        assert run.status_at(run.created + 0.89 * duration(run)) == "ACTIVE"
        assert run.status_at(run.created + 0.91 * duration(run)) == "EVALUATION"


def test_lives_can_be_chosen(clock: Clock) -> None:
    life = Life(median=60, sigma=0, evaluation=0, outcomes={"TIMEOUT": 1})
    run = World(clock, life=life).create("do it")
    assert run.stages == [Stage(1000, None, "do it"), Stage(1000, "ACTIVE"), Stage(1060, "TIMEOUT")]


def test_a_life_is_a_function_of_its_randomness() -> None:
    assert Life().script(random.Random(5)) == Life().script(random.Random(5))


def test_ids_grow_with_gaps_from_the_first(clock: Clock) -> None:
    world = World(clock, seed=1, first_id=500)
    ids = [world.create("do it").id for _ in range(200)]
    gaps = Counter(later - earlier for earlier, later in pairwise(ids))
    assert ids[0] == 500
    assert set(gaps) == {1, 2, 3, 4, 5}
    assert World(clock).create("do it").id == 40_000


# What a run looks like.


def test_an_unfinished_run_has_every_field_of_the_page(world: World) -> None:
    run = world.create("do it", metadata={"ticket": [1, {"a": None}]})
    assert world.response(run) == {
        "id": 40_000,
        "organization_id": 323,
        "status": "ACTIVE",
        "created_at": "2025-06-21 11:20:04.338398",
        "web_url": "https://codegen.sh/agent/trace/40000",
        "result": None,
        "summary": None,
        "source_type": "API",
        "github_pull_requests": [],
        "metadata": {"ticket": [1, {"a": None}]},
    }


def test_a_completed_run_has_a_result_a_summary_and_perhaps_pull_requests(world: World, clock: Clock) -> None:
    script = [(0.0, "ACTIVE"), (30.0, "COMPLETE")]
    runs = [world.create("do it", script=script) for _ in range(50)]
    clock.time += 30
    details = [world.response(run) for run in runs]
    assert all(details["result"].startswith("## ✅ Done") and details["summary"] for details in details)
    assert {len(details["github_pull_requests"]) for details in details} == {0, 1, 2}
    pull = next(pull for details in details for pull in details["github_pull_requests"])
    assert set(pull) == {"id", "title", "url", "created_at", "head_branch_name"}
    assert isinstance(pull["id"], int)
    assert pull["url"].endswith(f"/pull/{pull['id']}")
    assert pull["created_at"] == "2025-06-21 11:20:34.338398"


@pytest.mark.parametrize("status", sorted(FINAL_STATUSES - {"COMPLETE"}))
def test_a_failed_run_has_a_summary_only(world: World, status: str) -> None:
    details = world.response(world.create("do it", script=[(0.0, status)]))
    assert details["result"] is None
    assert details["summary"].startswith(f"The run ended with {status}: ")
    assert details["github_pull_requests"] == []


def test_the_result_stays_the_same(world: World, clock: Clock) -> None:
    run = world.create("do it", script=[(0.0, "COMPLETE")])
    first = world.response(run)
    clock.time += 1000
    assert world.response(run) == first


def test_a_second_end_leaves_another_result(world: World, clock: Clock) -> None:
    run = world.create("do it", script=[(0.0, "COMPLETE")])
    first = world.response(run)["result"]
    clock.time += 10
    world.resume(run.id, "again", script=[(0.0, "COMPLETE")])
    assert world.response(run)["result"] not in {None, first}


def test_dates_can_be_written_as_documented(clock: Clock) -> None:
    world = World(clock, epoch=EPOCH, rfc3339=True)
    clock.time += 60
    assert world.response(world.create("do it"))["created_at"] == "2025-06-21T11:21:04.338398Z"


def test_the_world_begins_today_unless_told_otherwise(clock: Clock) -> None:
    before = datetime.now(UTC)
    world = World(clock)
    assert before <= world.datetime(1000) <= datetime.now(UTC)
    assert world.datetime(1060) - world.datetime(1000) == timedelta(seconds=60)


def test_a_run_keeps_what_it_was_asked_for(world: World) -> None:
    asked: dict[str, Any] = {
        "images": ["data:image/png;base64,AA=="],
        "metadata": {"a": 1},
        "repo_id": 9,
        "model": "some-model",
        "agent_type": "claude_code",
        "source_type": "SLACK",
        "user_id": 5,
    }
    run = world.create("do it", **asked)
    assert {name: getattr(run, name) for name in asked} == asked
    assert run.prompt == "do it"
    assert {*asked, "prompt"} < {field.name for field in fields(Run)}


# Pages.


def test_a_page_is_newest_first(world: World) -> None:
    ids = [world.create("do it").id for _ in range(5)]
    runs, total = world.page(skip=1, limit=3)
    assert [run.id for run in runs] == ids[::-1][1:4]
    assert total == 5


def test_a_page_beyond_the_end_is_empty(world: World) -> None:
    world.create("do it")
    assert world.page(skip=1) == ([], 1)
    assert World(world.now).page() == ([], 0)


def test_pages_can_be_filtered_by_user_and_source(world: World) -> None:
    own = world.create("do it")
    slack = world.create("do it", source_type="SLACK", user_id=7)
    linear = world.create("do it", source_type="LINEAR", user_id=7)
    assert world.page(user_id=1) == ([own], 1)
    assert world.page(user_id=7) == ([linear, slack], 2)
    assert world.page(source_type="SLACK") == ([slack], 1)
    assert world.page(user_id=1, source_type="SLACK") == ([], 0)
    assert world.page(user_id=7, limit=1) == ([linear], 2)


def test_a_deleted_run_leaves_the_pages(world: World) -> None:
    runs = [world.create("do it") for _ in range(3)]
    world.delete(runs[1].id)
    assert world.page() == ([runs[2], runs[0]], 2)
    assert runs[1].id not in world.runs


# Logs.

LOG_FIELDS = {
    "agent_run_id",
    "created_at",
    "tool_name",
    "message_type",
    "thought",
    "observation",
    "tool_input",
    "tool_output",
}


def test_a_log_begins_with_the_prompt_and_ends_with_the_answer(world: World, clock: Clock) -> None:
    run = world.create("do it", script=[(0.0, "ACTIVE"), (300.0, "COMPLETE")])
    clock.time += 1000
    first, *between, last = world.logs(run)
    assert (first["message_type"], first["tool_name"], first["observation"]) == (
        "USER_MESSAGE",
        "user_input",
        "do it",
    )
    assert last["message_type"] == "FINAL_ANSWER"
    assert last["observation"] == world.response(run)["result"]
    assert last["created_at"] == world.date(1300)
    assert between
    assert all(set(row) == LOG_FIELDS and row["agent_run_id"] == run.id for row in (first, *between, last))


def test_the_log_of_a_failed_run_ends_with_the_error(world: World, clock: Clock) -> None:
    run = world.create("do it", script=[(0.0, "ACTIVE"), (300.0, "OUT_OF_TOKENS")])
    clock.time += 1000
    last = world.logs(run)[-1]
    assert last["message_type"] == "ERROR"
    assert last["observation"] == {"status": "OUT_OF_TOKENS", "error": world.response(run)["summary"]}


def test_rows_are_written_over_the_life_every_twenty_seconds_on_average(world: World, clock: Clock) -> None:
    run = world.create("do it", script=[(0.0, "ACTIVE")])
    counts = []
    for _ in range(20):
        clock.time += 1000
        counts.append(len(world.logs(run)))
    steps = [later - earlier for earlier, later in pairwise(counts)]
    assert min(steps) > 0
    assert counts[-1] == pytest.approx(1000, rel=0.15)


def test_rows_are_in_order_of_time(world: World, clock: Clock) -> None:
    run = world.create("do it", script=[(0.0, "ACTIVE"), (600.0, "COMPLETE")])
    clock.time += 700
    dates = [row["created_at"] for row in world.logs(run)]
    assert dates == sorted(dates)
    assert all(re.fullmatch(r"2025-06-21 11:\d\d:\d\d\.\d{6}", date) for date in dates)


def test_all_message_types_occur_and_have_their_fields(world: World, clock: Clock) -> None:
    runs = [
        world.create("do it", script=[(0.0, "ACTIVE"), (9000.0, "EVALUATION"), (9200.0, status)])
        for status in ("COMPLETE", "ERROR")
    ]
    clock.time += 10_000
    rows = [row for run in runs for row in world.logs(run)]
    assert {row["message_type"] for row in rows} == {
        "ACTION",
        "PLAN_EVALUATION",
        "FINAL_ANSWER",
        "ERROR",
        "USER_MESSAGE",
        "USER_GITHUB_ISSUE_COMMENT",
        "INITIAL_PR_GENERATION",
        "DETECT_PR_ERRORS",
        "FIX_PR_ERRORS",
        "PR_CREATION_FAILED",
        "PR_EVALUATION",
        "COMMIT_EVALUATION",
        "AGENT_RUN_LINK",
    }
    for row in rows:
        is_action = row["message_type"] == "ACTION"
        assert isinstance(row["tool_input"], dict) == is_action
        assert isinstance(row["tool_output"], dict) == is_action
        assert (row["thought"] is not None) == (row["message_type"] in {"ACTION", "PLAN_EVALUATION"})


def test_a_paused_or_finished_run_writes_nothing(world: World, clock: Clock) -> None:
    paused = world.create("do it", script=[(0.0, "ACTIVE"), (300.0, "PAUSED")])
    finished = world.create("do it", script=[(0.0, "ACTIVE"), (300.0, "COMPLETE")])
    clock.time += 300
    before = world.logs(paused), world.logs(finished)
    clock.time += 10_000
    assert (world.logs(paused), world.logs(finished)) == before


def test_resume_goes_on_with_the_log(world: World, clock: Clock) -> None:
    run = world.create("do it", script=[(0.0, "ACTIVE"), (300.0, "COMPLETE")])
    clock.time += 1000
    before = world.logs(run)
    world.resume(run.id, "and now this", script=[(0.0, "ACTIVE"), (300.0, "ERROR")])
    assert world.logs(run)[:-1] == before
    assert world.logs(run)[-1]["observation"] == "and now this"
    clock.time += 1000
    after = world.logs(run)
    assert after[: len(before)] == before
    assert [row["message_type"] for row in after].count("USER_MESSAGE") == 2
    assert after[-1]["message_type"] == "ERROR"


acts = st.lists(
    st.tuples(st.sampled_from([0, 1, 50, 400]), st.sampled_from(["wait", "end", "pause", "resume"])),
    max_size=12,
)


@given(acts, st.integers(0, 5))
def test_whatever_happens_a_log_only_grows_and_the_past_stays(history: list[tuple[int, str]], seed: int) -> None:
    clock = Clock()
    world = World(clock, seed=seed, epoch=EPOCH)
    run = world.create("do it")
    rows, statuses = world.logs(run), dict[float, str | None]()
    for wait, act in history:
        clock.time += wait
        if act == "resume":
            world.resume(run.id, "go on")
        elif act != "wait":
            getattr(world, act)(run.id)
        grown = world.logs(run)
        assert grown[: len(rows)] == rows
        assert all(run.status_at(time) == status for time, status in statuses.items() if time < clock.time)
        rows = grown
        statuses[clock.time] = run.status_at(clock.time)
        assert world.response(run)["status"] == statuses[clock.time]
