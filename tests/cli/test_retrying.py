"""Which items of a batch are sent again, and what is named to go on."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from codegen_async import AgentRun
from codegen_async.batch.items import Outcome, State
from codegen_async.cli import retrying
from codegen_async.cli.errors import UsageError
from codegen_async.cli.options import Display
from codegen_async.cli.output import Output
from codegen_async.cli.retrying import Retry, choose, left

JOURNAL = Path("b.db")


@pytest.fixture(autouse=True)
def _an_item_in_each_state(monkeypatch: pytest.MonkeyPatch) -> None:
    items = [Outcome(key=state.value, index=index, state=state) for index, state in enumerate(State)]
    well = AgentRun(id=1, organization_id=1, status="COMPLETE")
    items.append(Outcome(key="well", index=len(items), state=State.ENDED, run=well))
    monkeypatch.setattr(retrying, "read_outcomes", lambda _: iter(items))


@pytest.mark.parametrize(
    ("keys", "chosen"),
    [
        ((), ["rejected"]),
        (("unknown",), ["unknown"]),
        (("rejected", "unknown", "rejected"), ["rejected", "unknown"]),
        (("planned", "sending", "created"), []),
        (("created", "rejected"), ["rejected"]),
        (("ended", "created"), ["ended"]),
    ],
)
def test_what_came_to_nothing_is_sent_again_and_what_is_under_way_goes_on(
    keys: Sequence[str], chosen: Sequence[str]
) -> None:
    assert choose(JOURNAL, keys) == chosen


def test_all_that_failed_is_sent_again_if_asked_for() -> None:
    assert choose(JOURNAL, (), failed=True) == ["ended"]
    with pytest.raises(UsageError, match="keys or --failed, not both"):
        choose(JOURNAL, ("rejected",), failed=True)


def test_it_is_said_where_nothing_is_sent_again(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def said(keys: Sequence[str] = (), *, failed: bool = False) -> str:
        Retry(JOURNAL, keys, ("batch",), failed=failed).tell(Output(Display()))
        return capsys.readouterr().err

    assert said() == said(failed=True) == ""
    items = [Outcome(key="a", index=0, state=State.ENDED, run=AgentRun(id=1, organization_id=1, status="ERROR"))]
    monkeypatch.setattr(retrying, "read_outcomes", lambda _: iter(items))
    assert said() == "nothing is sent again, as no prompt was rejected; 1 failed, which --failed means\n"
    items[:] = [Outcome(key="a", index=0, state=State.CREATED)]
    assert said() == "nothing is sent again, as no prompt was rejected\n"
    assert said(failed=True) == "nothing is sent again, as no run has failed\n"
    assert said(["a"]) == ""


@pytest.mark.parametrize(
    ("key", "error", "hint"),
    [
        ("well", "the item 'well' has ended (succeeded)", "with a new key"),
        ("nope", "the batch has no item with the key 'nope'", "codegen-async batch export b.db items.csv"),
    ],
)
def test_what_cannot_be_sent_again_is_told(key: str, error: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        choose(JOURNAL, ("rejected", key))
    assert str(caught.value) == error
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    ("keys", "named"),
    [
        ((), ["planned"]),
        (("created", "ended"), ["created"]),
        (("ended",), ["planned"]),
        (("unknown", "planned"), ["planned"]),
    ],
)
def test_nothing_but_what_is_under_way_is_named_to_go_on(keys: Sequence[str], named: Sequence[str]) -> None:
    assert left(JOURNAL, keys) == named


@pytest.mark.parametrize(
    ("keys", "failed", "words"),
    [
        ((), False, "batch retry --quiet b.db"),
        ((), True, "batch retry --quiet b.db planned"),
        (("rejected",), False, "batch retry --quiet b.db planned"),
        (("created", "ended"), False, "batch retry --quiet b.db created"),
    ],
)
def test_to_go_on_sends_nothing_that_was_not_meant(keys: Sequence[str], words: str, *, failed: bool) -> None:
    retry = Retry(JOURNAL, keys, ("batch",), failed=failed)
    assert retry.again(["--quiet"]) == f"codegen-async {words}"


def test_where_all_that_failed_is_meant_and_nothing_has_the_rejected_are_left_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    items = [Outcome(key=state.value, index=0, state=state) for state in (State.REJECTED, State.PLANNED)]
    monkeypatch.setattr(retrying, "read_outcomes", lambda _: iter(items))
    assert Retry(JOURNAL, (), ("batch",), failed=True).again([]) == "codegen-async batch retry b.db planned"


def test_nothing_is_named_where_nothing_is_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrying, "read_outcomes", lambda _: iter([Outcome(key="a", index=0, state=State.UNKNOWN)]))
    assert left(JOURNAL, ("a",)) == []
