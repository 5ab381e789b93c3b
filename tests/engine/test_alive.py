"""Who is dead is judged by counters that stand still while one looks."""

import pytest

from codegen_async import ConfigurationError
from codegen_async.engine.alive import Watch
from codegen_async.engine.database import open_database
from codegen_async.engine.ledger import round_named, round_of


def test_who_stands_still_for_a_lease_is_dead_and_who_moves_is_not() -> None:
    watch = Watch(lease=10.0, every=1.0)
    for second in range(10):
        assert watch.dead({"moves": second, "still": 7}, float(second)) == set()
    assert watch.dead({"moves": 10, "still": 7}, 10.0) == {"still"}
    assert watch.dead({"moves": 11, "still": 8}, 11.0) == set()


def test_time_in_which_nobody_looked_is_no_proof() -> None:
    """The whole machine may have slept."""
    watch = Watch(lease=10.0, every=1.0)
    watch.dead({"other": 1}, 0.0)
    assert watch.dead({"other": 1}, 3600.0) == set()
    for second in range(1, 8):
        assert watch.dead({"other": 1}, 3600.0 + second) == set()
    assert watch.dead({"other": 1}, 3608.0) == {"other"}


def test_who_comes_back_under_its_name_begins_anew() -> None:
    watch = Watch(lease=2.0, every=1.0)
    assert watch.dead({"a": 5}, 0.0) == set()
    assert watch.dead({}, 1.0) == set()
    assert watch.dead({"a": 5}, 2.0) == set()
    assert watch.dead({"a": 5}, 3.0) == set()
    assert watch.dead({"a": 5}, 4.0) == {"a"}


def test_workflows_of_one_key_are_counted() -> None:
    names = [round_named("b-1234-1", number) for number in (1, 2, 3)]
    assert names == ["b-1234-1", "b-1234-1~2", "b-1234-1~3"]
    assert list(map(round_of, names)) == [1, 2, 3]


@pytest.mark.parametrize("url", ["", "sqlite:", "mysql://u:hunter2@h/d", "postgresql://u:hunter2@h", "hunter2", 7])
def test_what_is_no_database_is_refused_without_being_shown(url: str) -> None:
    with pytest.raises(ConfigurationError, match="database: expected sqlite:/path or postgresql://") as caught:
        open_database(url)
    assert "hunter2" not in str(caught.value)


def test_a_password_is_shown_by_nothing() -> None:
    database = open_database("postgresql://user:hunter2@127.0.0.1:1/tasks")
    assert "hunter2" not in f"{database!r}{database}{database.name}"
    assert database.name == "127.0.0.1:1/tasks"


@pytest.mark.parametrize("url", ["sqlite:/tmp/a.db", "sqlite:///tmp/a.db"])
def test_both_ways_to_write_a_file_are_read(url: str) -> None:
    assert open_database(url).name == "/tmp/a.db"  # noqa: S108 - nothing is opened
