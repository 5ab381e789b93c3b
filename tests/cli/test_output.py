"""What leaves for the terminal: errors as two lines, JSON that is whole and harmless."""

import json
from typing import TypeVar

import pytest

from codegen_async.batch.labels import LABELS
from codegen_async.cli import tally
from codegen_async.cli.errors import CommandError, Exit, explain
from codegen_async.cli.live import duration
from codegen_async.cli.options import Server
from codegen_async.cli.output import encode
from codegen_async.cli.streams import complain
from codegen_async.errors import (
    APIError,
    CodegenAsyncError,
    CreateOutcomeUnknownError,
    JournalError,
    OutcomeUnknownError,
    QuotaExceededError,
    RunBlockedError,
    ServerError,
    WaitTimeoutError,
)

A = TypeVar("A", bound=APIError)


def api(kind: type[A]) -> A:
    return kind("text", method="POST", path="/run")


def test_an_error_is_two_lines_whatever_a_server_says(capsys: pytest.CaptureFixture[str]) -> None:
    code = complain(CommandError("one\nhint: run rm -rf\x1b[2J", "two\r\nthree", Exit.LIMIT))
    assert code == 5
    assert capsys.readouterr().err == "error: one hint: run rm -rf?[2J\nhint: two three\n"


@pytest.mark.parametrize(
    "character", ["\x1b", "\x7f", "\x9b", "\u202e", "\u2066", "\u061c", '"', "\n", "ü", "\U0001f600"]
)
def test_json_is_whole_and_harmless(character: str) -> None:
    text = encode({"a": character})
    assert json.loads(text) == {"a": character}
    assert text.isprintable()


@pytest.mark.parametrize(
    ("error", "code", "hint"),
    [
        (api(QuotaExceededError), 5, "runs that exist go on"),
        (api(ServerError), 1, "try again later"),
        (api(OutcomeUnknownError), 7, "look at the run"),
        (
            CreateOutcomeUnknownError.of(api(OutcomeUnknownError), "k1", searched=True),
            7,
            "codegen-async run get --key k1",
        ),
        (RunBlockedError("paused", run_id=5, run=None), 7, "codegen-async run resume 5 ..."),
        (WaitTimeoutError("late", run_id="r1", run=None), 6, "codegen-async middesk wait r1"),
        (JournalError("b.db", "is damaged"), 1, ""),
        (KeyError("x"), 1, "please report it"),
    ],
)
def test_each_error_has_a_code_and_says_what_to_do(error: Exception, code: int, hint: str) -> None:
    told = explain(error)
    assert told.code == code
    assert hint in told.hint
    assert str(told)


@pytest.mark.parametrize(
    ("error", "command"),
    [
        (CreateOutcomeUnknownError.of(api(OutcomeUnknownError), "k1", searched=True), "run get --key k1"),
        (RunBlockedError("paused", run_id=5, run=None), "run resume 5"),
        (WaitTimeoutError("late", run_id=5, run=None), "run wait 5"),
    ],
)
def test_a_hint_leads_to_the_server_that_was_asked(error: Exception, command: str) -> None:
    told = explain(error, Server(org_id=7, base_url="http://localhost:1").words())
    assert f"codegen-async {command} --org-id 7 --base-url http://localhost:1" in told.hint


def test_no_error_of_the_package_is_taken_for_a_defect() -> None:
    for kind in _all_below(CodegenAsyncError):
        error = kind.__new__(kind, "text")
        error.__dict__.update(run_id=5, key="k", field="prompt", value="", expected="a text", run=None)
        assert "should not have happened" not in str(explain(error)), kind


def _all_below(kind: type[CodegenAsyncError]) -> list[type[CodegenAsyncError]]:
    return [kind, *(one for below in kind.__subclasses__() for one in _all_below(below))]


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (59.6, "1 min 00 s"), (61, "1 min 01 s"), (3700, "1 h 1 min")]
)
def test_a_duration_is_readable(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("name", "code"),
    [("succeeded", 0), ("planned", 0), ("failed", 3), ("cancelled", 3), ("rejected", 3), ("unknown", 7), ("paused", 7)],
)
def test_a_batch_ends_with_the_worst_of_its_prompts(name: str, code: int) -> None:
    counts = dict.fromkeys(LABELS, 0) | {"succeeded": 3, name: 1}
    assert tally.verdict(counts) == code
