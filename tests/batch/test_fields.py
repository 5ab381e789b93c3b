"""What a file of prompts says to a dialect, which tells its fields by nothing but its calls."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from codegen_async import Call, ConfigurationError, Dialect, HostedRun, InvalidArgumentError, Phase, Rate
from codegen_async.batch.fields import DialectColumns
from codegen_async.batch.inputs import Prompts, parse_prompts
from codegen_async.hosted.dialect import check_dialect_class


class Picky(Dialect[HostedRun]):
    """Take a task, and what goes with it; `n` bounds something, and is 3 by default."""

    name = "picky"
    base_url = "https://api.picky.example"
    token_variable = "PICKY_TOKEN"
    prompt_field: str | None = "task"
    rates: Mapping[str, Any] = {"create": [Rate(10, 1.0), Rate(100, 60.0)]}
    phases: Mapping[str, Phase] = {}

    def get(self, run_id: str) -> Call[HostedRun | None]:
        raise NotImplementedError

    def create(self, key: str, fields: Mapping[str, Any]) -> Call[HostedRun]:
        body: dict[str, Any] = {"text": fields["task"], "n": fields.get("n", 3)}
        if fields.get("draft"):
            body["draft"] = True
        if fields.get("size") == "huge":
            raise RuntimeError("too large")
        if "size" in fields:
            body["size"] = {"large": 9}[fields["size"]]
        return Call(
            limit="create",
            method="POST",
            path="/{where}/runs",
            values={"where": fields.get("where", "eu")},
            query={"dry": fields.get("dry")},
            headers={"X-Key": key},
            json=body,
            read=_unread,
        )


class Open(Picky):
    """Send whatever it is given."""

    prompt_field = None

    def create(self, key: str, fields: Mapping[str, Any]) -> Call[HostedRun]:
        return Call(limit="create", method="POST", path="/runs", json={**fields, "ref": key}, read=_unread)


class Whole(Open):
    """Send all of its fields as one."""

    def create(self, key: str, fields: Mapping[str, Any]) -> Call[HostedRun]:  # noqa: ARG002 - an interface
        return Call(limit="create", method="POST", path="/runs", json={"input": fields}, read=_unread)


def _unread(_: object) -> HostedRun:
    raise NotImplementedError


def read(content: str, kind: str | None = None, dialect: Callable[[], Dialect[Any]] = Picky) -> Prompts:
    return parse_prompts(content.encode(), "in", Path("/"), kind=kind, columns=DialectColumns(dialect()))


def said(prompts: Prompts) -> list[tuple[str | None, Any, Any]]:
    assert not prompts.problems
    return [(line.key, line.task.fields, line.task.extra) for line in prompts.lines]


def wrong(prompts: Prompts) -> list[str]:
    return list(map(str, prompts.problems))


def test_fields_of_objects_are_those_of_the_create() -> None:
    content = '{"task": "a", "key": "k", "n": 3, "_owner": "me"}\n"b"\n{"task": "c", "draft": false, "where": "us"}'
    assert said(read(content)) == [
        ("k", {"task": "a", "n": 3}, {"_owner": "me"}),
        (None, {"task": "b"}, None),
        (None, {"task": "c", "draft": False, "where": "us"}, None),
    ]


def test_cells_are_text_or_json_where_the_column_says_so() -> None:
    content = 'Key;task;n:;_owner;dry:\nk; a;4;me;\n;"b";"[1]";;true\n'
    assert said(read(content)) == [
        ("k", {"task": " a", "n": 4}, {"_owner": "me"}),
        (None, {"task": "b", "n": [1], "dry": True}, None),
    ]


def test_a_line_of_text_is_the_field_that_the_dialect_names() -> None:
    assert said(read("one\n\n two \n", "txt")) == [(None, {"task": "one"}, None), (None, {"task": "two"}, None)]
    [problem] = wrong(read("one\ntwo\n", "txt", Open))
    assert problem.startswith("in, line 1, line: expected a file of objects (.jsonl, .json) or a table (.csv, .tsv)")
    assert not wrong(read("\n", "txt", Open))
    assert wrong(read('"a"', "jsonl", Open)) == ["in, line 1, line: expected a JSON object, got '\"a\"'"]


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ('{"taks": "a"}', "in, line 2, task: expected a value, as Picky.create makes no run without it: is it 'taks'?"),
        ('{"Task": "a"}', "in, line 2, task: expected a value, as Picky.create makes no run without it: is it 'Task'?"),
        ('{"task": "a", "m": 3}', "in, line 2, m: expected a field that Picky.create sends, such as task, n, draft, "),
        (
            '{"task": "a", "whre": 3}',
            "in, line 2, whre: expected a field that Picky.create sends: did you mean 'wh",
        ),
        ('{"task": "a", "size": "small"}', "in, line 2, fields: expected what Picky.create takes (KeyError: 'small')"),
        (
            '{"task": "a", "size": "huge", "n": 4}',
            "in, line 2, fields: expected what Picky.create takes (RuntimeError: ",
        ),
        ('{"task": "a", "where": "a/b"}', ""),
        ('{"task": "a", "where": []}', "in, line 2, "),
        ('{"task": "a", "key": ""}', "in, line 2, key: expected "),
        ("{}", "in, line 2, task: expected a value"),
        ("3", "in, line 2, line: expected a JSON object, got '3'"),
    ],
)
def test_what_is_wrong_is_told_with_line_and_field(line: str, complaint: str) -> None:
    found = wrong(read('{"task": "a", "n": 3, "draft": true}\n' + line))
    assert [each.startswith(complaint) for each in found] == [True] * bool(complaint), found


def test_a_field_whose_value_is_the_default_is_sent() -> None:
    assert not wrong(read('{"task": "a", "n": 3}\n{"task": "a", "draft": false}\n{"task": "a", "dry": null}'))


def test_a_dialect_that_sends_all_that_it_is_given_takes_any_field() -> None:
    for dialect in (Open, Whole):
        assert not wrong(read('{"task": "a", "anything": [1, {"b": null}]}', dialect=dialect))
        assert not wrong(read("anything,else\n1,2\n", "csv", dialect))


def test_a_table_is_known_by_a_key_or_the_field_of_prompts() -> None:
    assert said(read("where,task\nus,a\n")) == [(None, {"where": "us", "task": "a"}, None)]
    assert said(read("KEY\tx\nk\ta\n", dialect=Open)) == [("k", {"x": "a"}, None)]
    with pytest.raises(InvalidArgumentError, match=r"a file whose name ends with \.jsonl"):
        read("x,y\n1,2\n", dialect=Open)


def test_columns_of_one_field_are_refused() -> None:
    assert wrong(read("task,n,n:\na,1,1\n")) == ["in, line 1, header: expected each field once, got 'n:'"]
    assert wrong(read("task,n,n\na,1,1\n")) == ["in, line 1, header: expected each column once, got 'n'"]
    assert wrong(read("task,n:\na,x\n"))[0].startswith("in, line 2, n:: expected JSON (")


def test_the_rates_are_those_of_the_create() -> None:
    prompts = read('{"task": "a"}')
    assert [*prompts.columns.rates] == [Rate(10, 1.0), Rate(100, 60.0)]
    assert not DialectColumns(Picky()).rates


@pytest.mark.parametrize("given", ["", 3, ["task"]])
def test_a_field_of_prompts_that_can_be_none_is_refused_with_its_dialect(given: Any) -> None:
    dialect = Picky()
    dialect.prompt_field = given
    with pytest.raises(ConfigurationError, match=r"Picky\.prompt_field: expected a text, or None, got "):
        check_dialect_class(dialect)
