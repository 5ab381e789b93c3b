"""Two orders of watched runs, against sorting them."""

import itertools
from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st

from codegen_async.polling.queues import Queue, Stalest
from codegen_async.polling.windows import Watch


def watch(run_id: int, due: float = 0.0, asked: float = 0.0) -> Watch:
    return Watch(run_id, 5.0, asked, asked, due)


def due_queue(numbers: Iterator[int]) -> Queue:
    return Queue("due", "entry", numbers)


changes = st.lists(st.tuples(st.integers(0, 9), st.sampled_from(["push", "later", "leave"]), st.floats(0, 100)))


@given(changes)
def test_the_head_is_always_the_run_that_is_due_first(steps: list[tuple[int, str, float]]) -> None:
    queue = due_queue(itertools.count())
    queued: dict[int, Watch] = {}
    runs = [watch(index) for index in range(10)]
    for index, kind, value in steps:
        run = runs[index]
        if kind == "push":
            run.due = value
            queue.push(run)
            queued[index] = run
        elif kind == "later":
            run.due += value
        else:
            run.entry = -1
            queued.pop(index, None)
        head = queue.head()
        assert (head.due if head else None) == min((run.due for run in queued.values()), default=None)
        assert head is None or head in queued.values()


def test_a_run_that_changes_queues_is_in_one_only() -> None:
    numbers = itertools.count()
    first, second = due_queue(numbers), due_queue(numbers)
    run = watch(1)
    first.push(run)
    second.push(run)
    assert first.head() is None
    assert second.head() is run


def test_void_entries_do_not_pile_up() -> None:
    queue = due_queue(itertools.count())
    runs = [watch(index) for index in range(100)]
    for step in range(10_000):
        run = runs[step % 100]
        run.due = float(-step)
        queue.push(run)
    assert len(queue._heap) < 500


@given(st.lists(st.tuples(st.integers(0, 9), st.sampled_from(["ask", "restore", "drop"]), st.integers(0, 50))))
def test_the_best_run_is_the_one_for_which_a_look_is_worth_most(steps: list[tuple[int, str, int]]) -> None:
    stalest = Stalest(itertools.count())
    runs = {index: watch(index) for index in range(10)}
    watched = dict(runs)
    for index, run in runs.items():
        run.patience = 600.0 * 4 ** (index % 3)
        stalest.put(run)
    for now, (index, kind, back) in enumerate(steps, start=100):
        run = runs[index]
        if kind == "drop":
            stalest.drop(run)
            watched.pop(index, None)
        elif index in watched:
            run.asked = float(now) if kind == "ask" else run.asked - back
            (stalest.put if kind == "ask" else stalest.restore)(run)
        assert len(stalest) == len(watched)
        if watched:
            assert stalest.best(now + 1.0).gain(now + 1.0) == max(run.gain(now + 1.0) for run in watched.values())


def test_a_run_may_change_its_level_and_leave() -> None:
    stalest = Stalest(itertools.count())
    run = watch(1)
    stalest.put(run)
    run.patience *= 10
    stalest.put(run)
    assert stalest.best(5.0) is run
    stalest.drop(run)
    stalest.drop(run)
    assert not stalest
