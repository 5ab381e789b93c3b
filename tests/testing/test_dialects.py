"""The check of a dialect finds what is wrong with one, and nothing where nothing is."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, cast

import pytest
from msgspec import structs

from codegen_async.hosted.dialect import Call, Dialect, Shown
from codegen_async.hosted.run import HostedRun
from codegen_async.http.answers import Refusal, Response, Twice
from codegen_async.limits import Rate
from codegen_async.models import Phase
from codegen_async.testing import Answer, check_dialect
from docs.examples.dialects.replicate import Replicate
from tests.hosted.api import one

PREDICTION = {"id": "p", "status": "starting", "created_at": "2026-01-02T03:04:05.123Z"}
RUN = {"id": "a", "status": "working", "created": 1_700_000_000, "cost": "1"}


class Good(Dialect[HostedRun]):
    name = "good"
    base_url = "https://good.example"
    token_variable = "GOOD_TOKEN"
    rates: Mapping[str, Rate] = {"all": Rate(10, 1.0)}
    phases: Mapping[str, Phase] = {"working": Phase.RUNNING, "done": Phase.SUCCEEDED}

    def get(self, run_id: str) -> Call[HostedRun | None]:
        return Call(limit="all", path="/runs/{run}", values={"run": run_id}, read=one)

    def create(self, key: str, fields: Mapping[str, Any]) -> Call[HostedRun]:  # noqa: ARG002 - an interface
        return Call(limit="all", method="POST", path="/runs", json=dict(fields), read=one)


def problems_of(dialect: Dialect[HostedRun], answers: Mapping[str, Any] | None = None) -> str:
    with pytest.raises(AssertionError) as failure:
        check_dialect(dialect, answers or {"get": [RUN]})
    return str(failure.value)


def test_a_dialect_without_a_fault_passes() -> None:
    check_dialect(Good(), {"get": [RUN, {**RUN, "status": "Done", "created": "2026-01-02T03:04:05Z"}], "create": [RUN]})
    check_dialect(
        Replicate(),
        {
            "get": [{**PREDICTION, "status": "succeeded", "output": ["a", "b"]}],
            "create": [Answer(201, PREDICTION)],
            "page": [
                {"next": None, "previous": None, "results": []},
                {
                    "next": "https://api.replicate.com/v1/predictions?cursor=cD0y",
                    "results": [{**PREDICTION, "error": ""}],
                },
            ],
            "refused": [Answer(402, {"detail": "insufficient credit"})],
        },
    )


def changed(**names: Any) -> Dialect[HostedRun]:
    return cast("Dialect[HostedRun]", type("Bad", (Good,), names)())


def calling(call: Call[Any]) -> Any:
    return lambda *_: call


ELSEWHERE = Call(limit="all", path="/runs", read=one)


@pytest.mark.parametrize(
    ("bad", "problem"),
    [
        (changed(name=""), "name: expected a text"),
        (changed(rates={"all": 5}), "rates: expected a Rate for"),
        (changed(phases={"done": "succeeded"}), "phases: expected a Phase for"),
        (changed(phases={"working": Phase.RUNNING}), "phases: expected a word for an end"),
        (changed(auth=lambda _, token: {"X Y": token}), "auth: expected headers"),
        (
            changed(get=lambda _, run: Call(limit="no", path="/{r}", values={"r": run}, read=one)),
            "spends the limit 'no'",
        ),
        (changed(get=lambda _, run: Call(limit="all", path=f"/runs/{run}", read=one)), "leads elsewhere"),
        (changed(get=calling(Call(limit="all", path="runs", read=one))), "begins with a slash"),
        (changed(get=calling(Call(limit="all", path="/{x}", read=one))), "cannot be written: KeyError"),
        (changed(get=calling(Call(limit="all", method="FETCH", path="/", read=one))), "expected one of GET"),
        (changed(create=calling(ELSEWHERE)), "may change something, got 'GET'"),
        (
            changed(create=calling(Call(limit="all", method="POST", path="/", read=one, twice=Twice.SAME))),
            "the key goes nowhere",
        ),
        (
            changed(create=calling(Call(limit="all", method="POST", path="/", read=one, twice=Twice.REFUSED))),
            "`find` must find the run",
        ),
        (changed(find=calling(ELSEWHERE)), "the key goes nowhere"),
        (changed(refused=lambda *_: "full"), "expected a Refusal or None, got 'full'"),
        (changed(get=calling(Call(limit="all", path="/", read=lambda _: HostedRun(id="x")))), "reads as HostedRun"),
        (changed(create=calling(Call(limit="all", method="POST", path="/", read=lambda _: None))), "reads as None"),
    ],
)
def test_what_is_wrong_with_a_dialect_is_told(bad: Dialect[HostedRun], problem: str) -> None:
    assert problem in problems_of(bad)


def test_a_dialect_that_depends_on_more_than_its_arguments_is_told() -> None:
    numbers = iter(range(10_000))
    bad = changed(get=lambda *_: Call(limit="all", path="/runs", query={"n": next(numbers)}, read=one))
    assert "a dialect must be pure" in problems_of(bad)


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        ({"id": "a"}, "cannot be read: not as promised: KeyError: 'status'"),
        ({**RUN, "id": 5}, "id: expected a text, got 5"),
        ({**RUN, "status": "melting"}, "the word 'melting' is not in phases"),
        ({**RUN, "created": "yesterday"}, "created: expected RFC 3339 or Unix time"),
        ({**RUN, "text": 5}, "text: expected a text or None, got 5"),
    ],
)
def test_an_answer_that_does_not_fit_is_told(answer: object, problem: str) -> None:
    assert problem in problems_of(Good(), {"get": [RUN, answer]})
    assert "get, answer 2" in problems_of(Good(), {"get": [RUN, answer]})


def test_a_header_of_a_recorded_answer_is_read_however_it_was_written() -> None:
    class Located(Good):
        def create(self, key: str, fields: Mapping[str, Any]) -> Call[HostedRun]:
            return super().create(key, fields).reading(lambda answer: HostedRun(id=answer.headers["location"]))

    check_dialect(Located(), {"create": [Answer(202, None, {"Location": "/runs/a"})]})


def test_what_is_no_run_is_told() -> None:
    assert "expected a run, got {'id': 'a'" in problems_of(
        changed(get=calling(Call(limit="all", path="/", read=lambda answer: answer.json())))
    )


@pytest.mark.parametrize(
    ("field", "value"), [("urls", None), ("urls", "https://example.com"), ("cost", 0.25), ("created", {"seconds": 1})]
)
def test_a_field_of_another_shape_is_told(field: str, value: Any) -> None:
    def read(answer: Response) -> HostedRun:
        return structs.replace(one(answer), **{field: value})

    assert f"{field}: expected " in problems_of(changed(get=calling(Call(limit="all", path="/", read=read))))


def test_a_link_that_is_none_is_told() -> None:
    def read(_: Response) -> HostedRun:
        return HostedRun(id="a", web_url="javascript:alert(1)")

    assert "expected http or https" in problems_of(changed(get=calling(Call(limit="all", path="/", read=read))))


class Looking(Good):
    """Runs of agents, in a list: both say which run it is."""

    id_parts = ("agent", "run")
    many_at_most = 10

    def get(self, run_id: str) -> Call[HostedRun | None]:
        return Call(limit="all", path="/agents/{agent}/runs/{run}", values=self.parts(run_id), read=of_agent)

    def create(self, key: str, fields: Mapping[str, Any]) -> Call[HostedRun]:  # noqa: ARG002 - an interface
        return Call(limit="all", method="POST", path="/agents", json=dict(fields), read=of_agent)

    def many(self, run_ids: Sequence[str]) -> Call[Shown[HostedRun]]:
        return Call(limit="all", path="/runs", query={"id": run_ids}, read=all_of_agents)

    def page(self, place: str | None) -> Call[Shown[HostedRun]]:
        return Call(limit="all", path="/runs", query={"cursor": place}, read=all_of_agents)


def of_agent(answer: Response) -> HostedRun:
    return structs.replace(one(answer), id=f"{answer.json()['agent']}/{answer.json()['id']}")


def all_of_agents(answer: Response) -> Shown[HostedRun]:
    runs = [row and of_agent(Response(status=200, body=json.dumps(row).encode())) for row in answer.json()]
    return Shown(runs=runs)


def test_looks_and_ids_of_parts_are_checked() -> None:
    row = {**RUN, "agent": "b"}
    check_dialect(Looking(), {"get": [row], "many": [[row, None]], "page": [[row], []]})
    problems = problems_of(
        Looking(), {"many": [[{**row, "agent": "b/c"}], [{**row, "status": "melting"}]], "page": [5]}
    )
    assert "many, answer 1: id: expected the form agent/run, got 'b/c/a'" in problems
    assert "many, answer 2: status: the word 'melting' is not in phases" in problems
    assert "page, answer 1: cannot be read: not as promised: TypeError" in problems


def test_a_look_that_is_none_is_told() -> None:
    assert "page, answer 1: expected what is Shown, got HostedRun" in problems_of(
        changed(page=calling(ELSEWHERE)), {"page": [RUN]}
    )
    assert "many_at_most: expected how many ids a call takes, got 0" in problems_of(changed(many=calling(ELSEWHERE)))


def test_an_id_that_is_taken_apart_by_hand_is_told() -> None:
    def get(_: object, run_id: str) -> Call[HostedRun | None]:
        agent, run = run_id.split("/")
        return Call(limit="all", path="/agents/{agent}/runs/{run}", values={"agent": agent, "run": run}, read=of_agent)

    assert "get: the id 'plain' makes it raise ValueError" in problems_of(changed(get=get))


def test_fields_that_make_no_run_are_told() -> None:
    def create(_: object, key: str, fields: Mapping[str, Any]) -> Call[HostedRun]:
        return Call(limit="all", method="POST", path="/runs", json={"task": fields["task"], "key": key}, read=one)

    problems = problems_of(changed(create=create))
    assert "create: the fields make it raise KeyError: 'task'; are `fields` those of a run?" in problems


def test_names_of_no_call_are_told() -> None:
    assert "expected names of calls, got ['gets']" in problems_of(Good(), {"gets": [RUN]})


def test_a_refusal_that_was_recorded_must_be_read_and_others_may_be_stumbled_over() -> None:
    hasty = changed(refused=lambda _, answer: {"full": Refusal.FULL}[json.loads(answer.body)["code"]])
    check_dialect(hasty, {"get": [RUN], "refused": [Answer(429, {"code": "full"})]})
    problems = problems_of(hasty, {"refused": [Answer(429, {"code": "other"})]})
    assert """refused: 429 with b'{"code":"other"}' makes it raise KeyError""" in problems


def test_meanings_are_what_they_are() -> None:
    good = changed(refused=lambda _, answer: Refusal.FULL if answer.status == 429 else None)
    check_dialect(good, {"get": [RUN], "refused": [Answer(429, {"error": "full"})]})
    assert "400 and above, got 200" in problems_of(good, {"refused": [Answer(200, {})]})
