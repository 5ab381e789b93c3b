"""Text from a server is one line in messages and logs, and shows no token, however it is written there."""

import base64
import json
import logging
import sys
from urllib.parse import quote

import pytest

from codegen_async.cleaning import _LINE_END, _UNSAFE, clean, clean_lines
from codegen_async.codegen.client import CodegenClient
from codegen_async.codegen.models import AgentRun
from codegen_async.errors import RunError, RunFailedError
from codegen_async.hiding import hide, hide_from_now_on
from codegen_async.limits import Rate
from codegen_async.secret import Secret
from tests.support.canary import CANARY, failure_of, shown_by
from tests.support.clients import ORG
from tests.support.sender import FakeSender, reply

virtual = pytest.mark.asyncio(loop_factories=["virtual"])

TOKEN = "sk-Qz7/Lm+4Xv9Kp2Rt8Wy5"


def escaped(text: str) -> str:
    return "".join(f"\\u{ord(character):04x}" for character in text)


def percent(text: str) -> str:
    return "".join(f"%{ord(character):02X}" for character in text)


def in_base64(before: str, after: str = "") -> str:
    return base64.b64encode(f"{before}{TOKEN}{after}".encode()).decode()


FORMS = {
    "as it is": TOKEN,
    "in capitals": TOKEN.upper(),
    "in small letters": TOKEN.lower(),
    "the first half": TOKEN[:12],
    "the second half": TOKEN[12:],
    "cut short": TOKEN[:-5],
    "JSON": escaped(TOKEN),
    "a letter in JSON": TOKEN.replace("L", "\\u004c"),
    "JSON with a slash": TOKEN.replace("/", "\\/"),
    "a literal of Python": TOKEN.replace("L", "\\x4c"),
    "a URL": quote(TOKEN, safe=""),
    "a URL, all of it": percent(TOKEN),
    "a URL in a URL": quote(percent(TOKEN)),
    "a URL in JSON": TOKEN.replace("L", "\\u00254c"),
    "HTML": TOKEN.replace("+", "&#43;").replace("/", "&#x2F;"),
    "base64": in_base64(""),
    "base64 of a user": in_base64("user:"),
    "base64 of more": in_base64("ab", " and more"),
    "base64 for URLs": in_base64("abc").replace("+", "-").replace("/", "_"),
    "hex": TOKEN.encode().hex(),
    "eight digits": "".join(f"\\U{ord(letter):08x}" for letter in TOKEN),
    "braces": "".join(f"\\u{{{ord(letter):x}}}" for letter in TOKEN),
    "octal": "".join(f"\\{ord(letter):03o}" for letter in TOKEN),
    "a mail": "".join(f"={ord(letter):02X}" for letter in TOKEN),
    "wide letters": "".join(chr(ord(letter) + 0xFEE0) for letter in TOKEN),
    "letters with nothing between them": "\u200b".join(TOKEN),
    "letters with marks": "\u0301".join(TOKEN),
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS.keys())
def test_a_token_is_hidden_however_it_is_written(form: str) -> None:
    traces = hide_from_now_on(TOKEN)
    hidden = hide(f"got: {form} ")
    assert hidden.startswith("got: ")
    assert "***" in hidden
    assert form[8:20] not in hidden
    assert hidden == traces.hide(f"got: {form} ") == Secret(TOKEN).scrub(f"got: {form} ")
    assert form[8:20] not in hide(f"{form}, {form}")


@pytest.mark.parametrize(
    "innocent", ["", "run 17", "100 %", "a\\b", "&amp; sk-", "Qz7", "x" * 100_000, percent("run 17")]
)
def test_other_text_stays_as_it_is(innocent: str) -> None:
    traces = hide_from_now_on(TOKEN)
    assert traces.hide(innocent) == hide(innocent) == innocent


def test_a_token_of_repeated_letters_is_found_at_every_place() -> None:
    traces = hide_from_now_on("aaabaaabaaac")
    for before in range(9):
        assert traces.hide("a" * before + "aaabaaabaaac") in ("***", f"{'a' * before}***")


def test_a_token_is_hidden_as_long_as_it_is_in_use() -> None:
    traces = hide_from_now_on("sk-another-one")
    assert hide("sk-another-one") == "***"
    del traces
    assert hide("sk-another-one") == "sk-another-one"


def test_a_token_too_short_to_be_one_hides_no_words() -> None:
    traces = hide_from_now_on("run")
    assert hide("no such run") == "no such run"
    assert traces.hide("no such run") == "no such ***"


@pytest.mark.parametrize(
    "end", ["\n", "\r", "\r\n", "\x0b", "\x0c", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029"]
)
def test_nothing_ends_a_line_of_a_message(end: str) -> None:
    assert clean(f"one{end}two") == "one two"
    assert len(clean(f"one{end}two").splitlines()) == 1
    assert clean_lines(f"one{end}two").splitlines() in (["one", "two"], ["one?two"], ["one?", "two"])


@pytest.mark.parametrize(
    "mark", ["\x1b", "\x9b", "\u202e", "\u2066", "\u061c", "\u200f", "\ud800", "\0", "\b", "\ufff9", "\U000e0041"]
)
def test_nothing_in_a_message_fools_a_terminal(mark: str) -> None:
    assert clean(f"one{mark}two") == clean_lines(f"one{mark}two") == "one?two"


def test_text_that_is_let_through_unseen_has_nothing_to_clean() -> None:
    odd = [sign for sign in map(chr, range(sys.maxunicode + 1)) if _UNSAFE.match(sign) or _LINE_END.match(sign)]
    assert len(odd) > 2000
    assert not any(map(str.isprintable, odd))


def test_a_message_is_cut_after_what_has_to_be_hidden() -> None:
    traces = hide_from_now_on(TOKEN)
    for before in range(120):
        assert traces.hide(TOKEN)[:4] == "***"
        assert "Qz7" not in clean(f"{'x' * before}{percent(TOKEN)} and more" * 3, 100)


def test_an_error_about_a_run_is_one_line() -> None:
    run = AgentRun(id=17, organization_id=ORG, status="\u2028FAILED\n\u2029\r")
    with pytest.raises(RunFailedError) as caught:
        run.raise_for_status()
    assert str(caught.value).isprintable()
    assert str(RunError("a\nb", run_id=1, run=None)) == "a b"


ECHOES = {
    "a word": CANARY,
    "a word in capitals": f"{CANARY.upper()}!",
    "a word at the end of a long one": "x" * 85 + CANARY,
    "a word in pieces": f"{CANARY[:10]} {CANARY[10:]}",
    "a word in base64": base64.b64encode(CANARY.encode()).decode(),
    "a word in a URL": percent(CANARY),
    "a word over lines": f"NEW\nWARNING: {CANARY}",
}


@virtual
@pytest.mark.parametrize("status", ECHOES.values(), ids=ECHOES.keys())
async def test_a_status_word_that_is_the_token_is_in_no_log(status: str, caplog: pytest.LogCaptureFixture) -> None:
    run = {"id": 17, "organization_id": ORG, "status": status, "metadata": {CANARY: 1}, "created_at": 7}
    page = {"items": [run, {CANARY: CANARY}], "total": 1}
    sender = FakeSender(then=reply(body=json.dumps(run).encode()))
    async with CodegenClient(org_id=ORG, sender=sender, rates={"get": Rate(1000, 1.0)}) as client:
        error = await failure_of(client.wait_for_run(17, timeout=1000))
        sender.replies.append(reply(body=json.dumps(page).encode()))
        await client.list_runs_page()
    assert "unknown run status" in caplog.text
    assert "is in state" in caplog.text
    assert "unknown shape" in caplog.text
    for text in (caplog.text, str(error)):
        assert not any(part in text for part in (CANARY[:8], CANARY[-8:], CANARY.upper()[:8], "Y2FuYXJ5LTdR"))
    assert all(record.getMessage().isprintable() for record in caplog.records)


@virtual
async def test_a_failure_that_tells_the_token_is_logged_without_its_frames(caplog: pytest.LogCaptureFixture) -> None:
    async with CodegenClient(org_id=ORG, sender=FakeSender()):
        try:
            raise ValueError(f"odd word {CANARY}")
        except ValueError:
            logging.getLogger("codegen_async").exception("the observer has failed")
    (record,) = caplog.records
    assert record.exc_info is None
    assert "ValueError: odd word ***" in caplog.text


def test_a_log_that_needs_no_change_keeps_its_parts(caplog: pytest.LogCaptureFixture) -> None:
    logging.getLogger("codegen_async").warning("run %s is in state %.100r", 17, "NEW\n")
    (record,) = caplog.records
    assert (record.msg, record.args) == ("run %s is in state %.100r", (17, "NEW\n"))


@virtual
async def test_an_error_shows_no_piece_of_the_token_that_a_server_sends_back() -> None:
    said = {"message": f"{percent(CANARY)} {CANARY[:10]}", "errors": [{"field": CANARY.upper(), "message": CANARY[9:]}]}
    answer = reply(422, body=json.dumps(said).encode(), x_request_id=percent(CANARY))
    async with CodegenClient(org_id=ORG, sender=FakeSender(then=answer)) as client:
        error = await failure_of(client.get_run(17))
    shown = f"{error}{vars(error)}"
    assert "***" in shown
    assert not any(part in shown for part in (CANARY[:8], CANARY[-8:], CANARY.upper()[:8], percent(CANARY)[:12]))
    assert CANARY not in shown_by(error)
