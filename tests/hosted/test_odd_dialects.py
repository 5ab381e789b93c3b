"""Dialects that are not as they should be, and what their users give them: each is told what is wrong."""

import asyncio
import uuid
from collections import deque
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from traceback import TracebackException
from typing import Any, cast

import pytest
from msgspec import structs

from codegen_async.batch.batch import Batch
from codegen_async.errors import (
    APIError,
    ConfigurationError,
    CreateOutcomeUnknownError,
    DecodeError,
    InvalidArgumentError,
)
from codegen_async.hosted.dialect import Call, Shown
from codegen_async.hosted.run import Cost, HostedRun
from codegen_async.hosted.runs import HostedRuns
from codegen_async.http.answers import Response
from codegen_async.middesk.dialect import MiddeskDialect
from codegen_async.models import Phase
from tests.hosted.api import Api, Keyed, Named, Paged, Plain, Settling, Tagged
from tests.support.canary import CANARY

pytestmark = pytest.mark.asyncio(loop_factories=["virtual"])


class Wanting(Plain):
    """Wants a task, and a UUID for a key."""

    def create(self, key: str, fields: Mapping[str, Any]) -> Call[HostedRun]:
        return super().create(str(uuid.UUID(key)), {"task": fields["task"], "hint": fields.get("hint")})


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({}, "^task: expected a value, as Wanting.create makes no run without it, got None$"),
        ({"Task": "a"}, "^task: expected a value, .* without it: is it 'Task'\\?, got None$"),
        ({"task": object()}, r"^fields: expected what Wanting.create takes \(TypeError: .*\), got \['task'\]$"),
        ({"task": "a", "idempotency_key": "k"}, r"^idempotency_key: expected what Wanting.create takes \(ValueError: "),
    ],
)
async def test_what_cannot_make_a_run_is_refused_by_its_name(fields: dict[str, Any], complaint: str) -> None:
    api = Api()
    async with HostedRuns(Wanting(), CANARY, sender=api) as runs:
        with pytest.raises(InvalidArgumentError, match=complaint):
            await runs.create_run(**fields)
    assert not api.requests


@pytest.mark.parametrize(("fields", "missing"), [({}, "type"), ({"type": "x"}, "business_id")])
async def test_a_middesk_run_without_what_it_is_about_is_refused_by_its_name(
    fields: dict[str, Any], missing: str
) -> None:
    api = Api()
    async with HostedRuns(MiddeskDialect(), CANARY, sender=api) as runs:
        with pytest.raises(InvalidArgumentError, match=f"^{missing}: expected a value, as MiddeskDialect.create makes"):
            await runs.create_run(**fields)
    assert not api.requests


async def test_no_value_of_a_field_is_in_a_complaint() -> None:
    class Stumbling(Plain):
        def create(self, key: str, fields: Mapping[str, Any]) -> Call[HostedRun]:  # noqa: ARG002 - unused
            raise TypeError("no such thing")

    async with HostedRuns(Stumbling(), CANARY, sender=Api()) as runs:
        with pytest.raises(InvalidArgumentError, match="no such thing") as caught:
            await runs.create_run(task="a", password="hunter2")
    assert "hunter2" not in f"{caught.value!r} {vars(caught.value)}"


async def test_a_variable_that_is_called_as_the_dialect_leads_a_script_to_another_server(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PLAIN_BASE_URL", "http://127.0.0.1:9")
    assert HostedRuns(Plain(), CANARY).base_url == "http://127.0.0.1:9"
    assert HostedRuns(Plain(), CANARY, base_url="http://127.0.0.1:8").base_url == "http://127.0.0.1:8"
    monkeypatch.setenv("PLAIN_BASE_URL", "")
    assert HostedRuns(Plain(), CANARY).base_url == Plain.base_url


def with_call(name: str, call: Any) -> Plain:
    """Return a dialect that makes this call of whatever it is given."""

    def make(*_: object) -> Any:
        return call

    dialect: Plain = type("Odd", (Plain,), {name: make})()
    return dialect


@pytest.mark.parametrize(
    ("call", "complaint"),
    [
        ({"limit": "read", "path": "/runs"}, "expected a Call, got {"),
        (Call(limit="reads", path="/runs", read=str), "expected a limit of create, read, got 'reads'"),
        (Call(limit="read", path="/runs/{run}", read=str), "cannot be written: KeyError: 'run'"),
        (Call(limit="read", path="/{run}", values=cast("Any", {"run": 7}), read=str), "cannot be written: TypeError"),
        (Call(limit="read", path="runs", read=str), "expected a path that begins with a slash"),
        (Call(limit="read", path="/runs", method="FETCH", read=str), "expected a method of GET, .*, got 'FETCH'"),
        (Call(limit="read", path="/runs", json=object(), read=str), "cannot be written: TypeError"),
        (Call(limit="read", path="/runs", headers={"X": "a\r\nY: b"}, read=str), "expected headers of visible ASCII"),
    ],
)
async def test_a_call_that_cannot_be_sent_is_told_before_anything_is(call: Any, complaint: str) -> None:
    api = Api()
    async with HostedRuns(with_call("cancel", call), CANARY, sender=api) as runs:
        with pytest.raises(ConfigurationError, match=complaint):
            await runs.cancel_run("run/0")
    assert not api.requests


@pytest.mark.parametrize("look", ["get", "page", "changed", "many"])
@pytest.mark.parametrize("call", [{}, Call(limit="reads", path="/runs", read=str)])
async def test_a_look_that_is_none_or_spends_what_there_is_not_is_told_at_once(look: str, call: Any) -> None:
    with pytest.raises(ConfigurationError, match=f"Odd.{look}: expected a "):
        HostedRuns(with_call(look, call), CANARY, sender=Api())


async def test_a_look_that_cannot_be_made_is_told_at_once_with_what_it_raised() -> None:
    class Odd(Plain):
        def get(self, run_id: str) -> Call[HostedRun | None]:
            raise RuntimeError(run_id)

    with pytest.raises(ConfigurationError, match=r"^Odd\.get: expected a Call, got RuntimeError: 0$") as caught:
        HostedRuns(Odd(), CANARY, sender=Api())
    assert isinstance(caught.value.__cause__, RuntimeError)


def fails(_: Response) -> Any:
    raise AssertionError("ok")


def finds_nothing(_: Response) -> Any:
    return next(iter(()))


def reads_as(run: Any) -> Callable[[Response], Any]:
    return lambda _: run


NO_RUNS: list[Any] = [None, {"id": "a"}, HostedRun(id=cast("Any", None)), HostedRun(id="")]


@pytest.mark.parametrize("read", [fails, finds_nothing, *map(reads_as, NO_RUNS)])
@pytest.mark.parametrize("base", [Plain, Tagged, Named, Keyed])
async def test_a_create_whose_answer_makes_no_run_was_carried_out_for_all_that_is_known(
    base: type[Plain], read: Callable[[Response], Any]
) -> None:
    class Odd(base):  # type: ignore[valid-type, misc]
        def create(self, key: str, fields: Mapping[str, Any]) -> Call[HostedRun]:
            call: Call[HostedRun] = super().create(key, fields)
            return call.reading(read)

    api = Api(keyed=base is Keyed)
    dialect: Plain = Odd()
    async with HostedRuns(dialect, CANARY, sender=api, settle=2) as runs:
        if dialect.find("k", None) is None:
            with pytest.raises(CreateOutcomeUnknownError):
                await runs.create_run(task="a")
        else:
            assert (await runs.create_run(task="a")).id in api.runs
    assert len(api.runs) == 1


@pytest.mark.parametrize("run", [{}, HostedRun(id=""), "text", HostedRun(id="a", status=cast("Any", 3))])
async def test_a_page_of_what_is_no_run_is_a_decode_error(run: Any) -> None:
    class Odd(Plain):
        def page(self, place: str | None) -> Call[Shown[HostedRun]]:  # noqa: ARG002 - unused
            return Call(limit="read", path="/runs", read=lambda _: Shown(runs=[run]))

    async with HostedRuns(Odd(), CANARY, sender=Api()) as runs:
        with pytest.raises(DecodeError, match="not as promised: TypeError: expected a"):
            _ = [each async for each in runs.list_runs()]


AUTHS: list[Callable[[str], Any]] = [
    lambda _: None,
    lambda token: token,
    lambda token: [("X-Key", token)],
    lambda token: {"X-Key": token.encode()},
    lambda token: {f"Bearer {token}": "Authorization"},
    lambda token: {"X-Key": f"{token}\n"},
    lambda token: dict[str, str]()[token],
    int,
]


@pytest.mark.parametrize("auth", AUTHS)
async def test_headers_that_cannot_carry_a_token_are_told_without_it(auth: Callable[[str], Any]) -> None:
    dialect: Plain = type("Odd", (Plain,), {"auth": staticmethod(auth)})()
    with pytest.raises(ConfigurationError, match=r"^auth: expected headers") as caught:
        HostedRuns(dialect, CANARY, sender=Api())
    shown = "".join(TracebackException.from_exception(caught.value, capture_locals=True).format())
    assert CANARY not in shown
    assert "HostedRuns(Odd" in shown


@pytest.mark.parametrize("token", [7, b"a-token", ["a-token"], True])
async def test_a_token_that_is_no_text_is_refused(token: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"^token: expected a text \(what was given is not shown\)$"):
        HostedRuns(Plain(), token, sender=Api())


class Deaf(Paged):
    """Its pages come as whatever a test wants them to be."""

    sure = True

    def __init__(self, change: Callable[[Shown[HostedRun]], Any]) -> None:
        self.change = change

    def shown(self, answer: Response) -> Shown[HostedRun]:
        changed: Shown[HostedRun] = self.change(super().shown(answer))
        return changed


@pytest.mark.parametrize("box", [iter, reversed, lambda runs: (run for run in runs), list, deque])
async def test_runs_of_a_page_may_come_in_any_box(box: Callable[[Any], Any]) -> None:
    api = Api(page_size=25)
    dialect = Deaf(lambda shown: structs.replace(shown, runs=box(shown.runs)))
    async with HostedRuns(dialect, CANARY, sender=api) as runs:
        made = [await runs.create_run(life=100.0) for _ in range(30)]
        assert len([run async for run in runs.list_runs()]) == 30
        api.requests.clear()
        final = await runs.wait_for_runs(made)
    assert {run.phase for run in final} == {Phase.SUCCEEDED}
    assert sum(request.path.startswith("/runs/") for request in api.requests) < 300  # of 600


@pytest.mark.parametrize("nowhere", ["", None])
async def test_a_page_behind_which_nothing_follows_is_the_last(nowhere: str | None) -> None:
    api = Api()
    dialect = Deaf(lambda shown: structs.replace(shown, following=nowhere))
    async with HostedRuns(dialect, CANARY, sender=api) as runs:
        await runs.create_run()
        assert len([run async for run in runs.list_runs()]) == 1
    assert len(api.requests) == 2


@pytest.mark.parametrize("place", [{"cursor": 1}, ["a"], True, 1.5])
async def test_a_place_that_is_none_is_a_decode_error(place: Any) -> None:
    dialect = Deaf(lambda shown: structs.replace(shown, following=place))
    async with HostedRuns(dialect, CANARY, sender=Api()) as runs:
        with pytest.raises(DecodeError, match="expected a text or None for what follows, got"):
            _ = [run async for run in runs.list_runs()]


@pytest.mark.parametrize("call", ["get", "full"])
async def test_an_answer_about_another_run_ends_no_wait_and_is_told(call: str) -> None:
    class Odd(Settling):
        settles: Mapping[str, float] = {}

        def get(self, run_id: str) -> Call[HostedRun | None]:
            return self.odd(super().get(run_id), "get")

        def full(self, run: HostedRun) -> Call[HostedRun | None]:
            return self.odd(super().full(run), "full")

        def odd(self, asked: Call[HostedRun | None], name: str) -> Call[HostedRun | None]:
            def read(answer: Response) -> HostedRun | None:
                run = asked.read(answer)
                return structs.replace(run, id="another") if run and name == call else run

            return asked.reading(read)

    async with HostedRuns(Odd(), CANARY, sender=Api(), latency=1.0) as runs:
        run = await runs.create_run()
        with pytest.raises(DecodeError, match="the answer is about run another, not run/0"):
            await runs.wait_for_run(run, timeout=600)


async def test_ids_may_be_numbers_and_lead_to_the_run_however_they_are_written() -> None:
    class Odd(Plain):
        def get(self, run_id: str) -> Call[HostedRun | None]:
            return numbered(super().get(run_id))

        def create(self, key: str, fields: Mapping[str, Any]) -> Call[HostedRun]:
            return numbered(super().create(key, {**fields, "name": "17"}))

    def numbered(call: Call[Any]) -> Call[Any]:
        return call.reading(lambda answer: structs.replace(call.read(answer), id=cast("Any", 17)))

    async with HostedRuns(Odd(), CANARY, sender=Api()) as runs:
        run = await runs.create_run()
        assert run.id == "17"
        assert (await runs.wait_for_run("17", timeout=60)).phase is Phase.SUCCEEDED


ODD_FIELDS: list[tuple[str, Any]] = [
    ("created", {"seconds": 1}),
    ("created", [1]),
    ("created", True),
    ("created", datetime.fromtimestamp(0, UTC)),
    ("text", {"answer": 42}),
    ("text", "half \ud83d"),
    ("web_url", {"href": "https://example.com"}),
    ("error", {"message": "it broke"}),
    ("error", ["it broke"]),
    ("urls", None),
    ("urls", "https://example.com"),
    ("urls", [{"url": "https://example.com"}]),
    ("cost", 0.25),
    ("cost", Cost(cast("Any", "0.25"), "USD")),
    ("cost", Cost(float("nan"), "USD")),
    ("raw", object()),
    ("raw", {"text": "half \ud83d"}),
    ("raw", {(1, 2): 3}),
    ("phase", None),
]


@pytest.mark.parametrize(("field", "value"), ODD_FIELDS)
async def test_a_field_of_another_shape_costs_no_run_and_no_result(field: str, value: Any, tmp_path: Path) -> None:
    class Odd(Tagged):
        def get(self, run_id: str) -> Call[HostedRun | None]:
            return altered(super().get(run_id))

        def create(self, key: str, fields: Mapping[str, Any]) -> Call[HostedRun]:
            return altered(super().create(key, fields))

    def altered(call: Call[Any]) -> Call[Any]:
        return call.reading(lambda answer: structs.replace(call.read(answer), **{field: value}))

    api = Api()
    async with HostedRuns(Odd(), CANARY, sender=api) as runs, Batch(runs, tmp_path / "b.db") as batch:
        run = await runs.wait_for_run(await runs.create_run())
        assert run.to_dict()["phase"] == "succeeded"
        assert run.to_json()
        batch.add(key="a")
        states = [outcome.state async for outcome in batch.run()]
        await batch.export(tmp_path / "b.csv")
        await batch.export(tmp_path / "b.jsonl")
    assert states == ["ended"]
    assert len(api.runs) == 2


def stumbles(*_: object) -> Any:
    raise KeyError("code")


ODD_MEANINGS: list[Mapping[str, Any]] = [
    {"is_own": stumbles},
    {"refused": stumbles},
    {"refused": lambda *_: "still"},
    {"refused": lambda *_: True},
]


@pytest.mark.parametrize("odd", ODD_MEANINGS)
@pytest.mark.parametrize("status", [400, 404, 409, 500])
async def test_a_refusal_that_a_dialect_stumbles_over_is_an_error_as_any_other(
    odd: Mapping[str, Any], status: int
) -> None:
    dialect: Plain = type("Odd", (Plain,), dict(odd))()
    api = Api()
    api.refusal = (status, {"detail": "no"})
    async with HostedRuns(dialect, CANARY, sender=api) as runs:
        with pytest.raises(APIError, match="no"):
            await runs.create_run()
        with pytest.raises(APIError, match="no"):
            await runs.cancel_run("run/0")


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"refusals": {404: "still"}}, "expected refusals to be of Refusal, got 'still'"),
        ({"twice": "same"}, "expected what comes of it twice to be of Twice, got 'same'"),
    ],
)
async def test_a_call_that_says_of_itself_what_nobody_knows_is_not_sent(
    change: Mapping[str, Any], complaint: str
) -> None:
    api = Api()
    dialect = with_call("cancel", structs.replace(Plain().cancel("run/0"), **change))
    async with HostedRuns(dialect, CANARY, sender=api) as runs:
        with pytest.raises(ConfigurationError, match=complaint):
            await runs.cancel_run("run/0")
    assert not api.requests


class Halting(Paged):
    """Stumbles over one run."""

    def __init__(self, name: str) -> None:
        self.name_of_it = name

    def full(self, run: HostedRun) -> Call[HostedRun | None] | None:
        return cast("Any", stumbles(run)) if self.name_of_it == "full" and run.id == "run/0" else None

    def get(self, run_id: str) -> Call[HostedRun | None]:
        return cast("Any", stumbles(run_id)) if self.name_of_it == "get" and run_id == "run/0" else super().get(run_id)


@pytest.mark.parametrize("sure", [True, False])
@pytest.mark.parametrize("name", ["get", "full"])
async def test_a_run_that_a_dialect_stumbles_over_ends_no_wait_for_others(name: str, sure: bool) -> None:
    dialect = Halting(name)
    dialect.sure = sure
    async with HostedRuns(dialect, CANARY, sender=Api(), latency=1.0) as runs:
        made = [await runs.create_run(life=300.0) for _ in range(5)]
        ends = (runs.wait_for_run(run, timeout=3600) for run in made)
        odd, *others = await asyncio.gather(*ends, return_exceptions=True)
    assert [run.phase for run in others if isinstance(run, HostedRun)] == [Phase.SUCCEEDED] * 4
    assert isinstance(odd, DecodeError if name == "full" else InvalidArgumentError)
    assert f"Halting.{name}: expected a Call, got KeyError: 'code'" in str(odd)


@pytest.mark.parametrize("name", ["get", "cancel", "reply"])
async def test_an_id_that_a_dialect_stumbles_over_is_told(name: str) -> None:
    dialect: Plain = type(
        "Odd", (Plain,), {name: lambda _, run_id, *__: int(run_id) if run_id != "0" else Plain().get("0")}
    )()
    api = Api()
    async with HostedRuns(dialect, CANARY, sender=api) as runs:
        with pytest.raises((InvalidArgumentError, ConfigurationError), match="got ValueError: invalid literal"):
            await (runs.reply("run/0", "go on") if name == "reply" else runs.cancel_run("run/0"))
        if name == "get":
            with pytest.raises(InvalidArgumentError, match=r"^run: expected an id of the API"):
                await runs.wait_for_run("run/0")
    assert not api.requests


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("headers", None),
        ("headers", {"X-Version": 3}),
        ("headers", [("X-Version", "3")]),
        ("id_parts", "id"),
        ("id_parts", ()),
        ("id_parts", ("agent", "")),
        ("concurrency", 0),
        ("concurrency", "10"),
        ("many_at_most", None),
        ("many_at_most", 1.5),
        ("unseen_for", "60"),
        ("unseen_for", float("nan")),
        ("settles", None),
        ("settles", {"done": None}),
        ("settles", {1: 1.0}),
    ],
)
async def test_what_a_dialect_says_of_its_api_is_checked_at_once(name: str, value: Any) -> None:
    dialect: Plain = type("Odd", (Plain,), {name: value})()
    with pytest.raises(ConfigurationError, match=rf"^Odd\.{name}: expected .*, got "):
        HostedRuns(dialect, CANARY, sender=Api())
