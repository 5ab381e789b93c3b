"""The tree of commands, and what happens around each of them. A group is imported when it is used."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from cyclopts import App, CycloptsError, Parameter, UnusedCliTokensError

from codegen_async.cleaning import clean, clean_lines
from codegen_async.cli.choosing import check_offered, choose, lift, put_back
from codegen_async.cli.errors import MEANINGS, PROGRAM, Exit, UsageError, command, explain
from codegen_async.cli.output import prepare_streams
from codegen_async.cli.selecting import FORMS, did_you_mean, expand, with_port
from codegen_async.cli.streams import complain, write
from codegen_async.version import __version__

_EPILOGUE = f"""\
Try it without a token and without network:
  {PROGRAM} demo

Settings come from flags, the environment (CODEGEN_API_TOKEN, CODEGEN_ORG_ID),
codegen-async.toml in this directory, and the user's config file; which from
where: {PROGRAM} config view

Exit codes:
{chr(10).join(f"  {code.value:3}  {meaning}" for code, meaning in MEANINGS.items())}"""

_EPILOGUE_FOR_DIALECTS = f"""\
The dialect is a class (or an object) that describes an API of hosted runs:
  {PROGRAM} --dialect acme:Acme run create --field task='Fix it'

It comes from --dialect, CODEGEN_DIALECT or the user's config file, and never
from a project's file, as its module is imported. Its module is looked for
where Python looks; for --dialect also in this directory.

Exit codes:
{chr(10).join(f"  {code.value:3}  {meaning}" for code, meaning in MEANINGS.items())}"""

_GROUPS = {
    "run": ("run:app", "Start, look at, follow and resume single runs."),
    "batch": ("batch:app", "Run a file of prompts, durably: nothing lost, nothing created twice."),
    "dashboard": ("dashboard:app", "Show a batch as a page in the browser."),
    "org": ("account:org", "Look at the organizations that the token has access to."),
    "repo": ("account:repo", "Look at the repositories of the organization."),
    "watch": ("watch:app", "Watch runs as they change."),
    "middesk": ("middesk:app", "Look at and resume agent runs of Middesk, and run files of them."),
    "fake": ("fake:app", "Serve simulated APIs, for trying and testing."),
    "auth": ("auth:app", "Keep a token where only its owner can read it."),
    "demo": ("demo:app", "Show a batch of 40 simulated runs; no token, no network."),
    "doctor": ("doctor:app", "Check what the client needs: token, network, clock, files."),
    "config": ("config_view:app", "Show the settings and where each comes from."),
    "completion": ("completion:app", "Print the completion script of a shell."),
}

_SAME = ("dashboard", "middesk", "fake", "demo", "config", "completion")  # whatever the dialect
_GROUPS_FOR_DIALECTS = {
    "run": ("hosted:run", "Start, list, look at, stop and answer single runs."),
    "batch": ("hosted_batch:app", _GROUPS["batch"][1]),
    "watch": ("hosted:watch", "Watch runs as they change."),
    "doctor": ("hosted_doctor:app", "Check what the client needs: dialect, token, network, clock, limits."),
    **{name: _GROUPS[name] for name in _SAME},
}


def make_app() -> App:
    """Return the tree of commands for Codegen."""
    about = "Start agent runs, wait for them, and run files of prompts, within the API's rate limits."
    return _make_app(about, _EPILOGUE, _GROUPS)


def make_app_for_dialects() -> App:
    """Return the tree of commands for any other dialect."""
    about = "Start hosted runs at an API that a dialect describes, and wait for them, within its rate limits."
    return _make_app(about, _EPILOGUE_FOR_DIALECTS, _GROUPS_FOR_DIALECTS)


def _make_app(about: str, epilogue: str, groups: Mapping[str, tuple[str, str]]) -> App:
    app = App(
        name=PROGRAM,
        help=about,
        help_epilogue=epilogue,
        version=f"{PROGRAM} {__version__}",
        help_format="plaintext",
        help_formatter="plain",
        version_format="plaintext",
        default_parameter=Parameter(negative=(), show_default=False),
        result_action="return_value",
        exit_on_error=False,
        print_error=False,
        suppress_keyboard_interrupt=False,
    )
    for name, (place, text) in groups.items():
        app.command(f"codegen_async.cli.{place}", name=name, help=text)
    return app


def run(words: Sequence[str]) -> int:
    """Run a command and return its exit code. No traceback leaves it, unless it is asked for."""
    prepare_streams(json=any(word.startswith(("--json", "--jq")) for word in words))
    try:
        return _run(words)
    except BrokenPipeError:
        raise  # whoever reads the output has left, and is told nothing
    except Exception as error:  # noqa: BLE001 - a user is told in words, whatever it is
        if "--debug" in words:
            _show_traceback(error)
        return complain(explain(error))


def _run(given: Sequence[str]) -> int:
    words, flag = lift(given)
    same = bool(words[:1]) and words[0] in _SAME
    choice = None if same else choose(flag)
    another = choice is not None and not choice.is_built_in
    if choice is not None and another:
        check_offered(words, choice)
    app = make_app_for_dialects() if another else make_app()
    flag = None if same and words[0] != "config" else flag
    try:
        result: Any = _called(app, words, flag, another=another)
    except CycloptsError as error:
        wrong, advice = _wrong(error, app, words)
        raise UsageError(wrong, f"{advice}see {command(*put_back(_help_words(app, words), flag))}") from None
    return result if isinstance(result, int) else Exit.OK


def _called(app: App, words: Sequence[str], flag: str | None, *, another: bool) -> Any:
    """Call what the words ask for."""
    expanded = put_back(with_port(expand(words, another=another)), flag)
    try:
        return app(expanded)
    except UnusedCliTokensError as error:
        joined = _joined(words, error.unused_tokens or [])
        if joined == words:
            raise
        return _called(app, joined, flag, another=another)


def _joined(words: Sequence[str], unused: Sequence[str]) -> Sequence[str]:
    """Return the words with one that is too many joined to the `--json` before it: what else can it be than a field."""
    for place in range(1, len(words)):
        if words[place - 1] in FORMS and unused == [words[place]]:
            return [*words[: place - 1], f"{words[place - 1]}={words[place]}", *words[place + 1 :]]
    return words


def _wrong(error: CycloptsError, app: App, words: Sequence[str]) -> tuple[str, str]:
    """Return what is wrong with the words of a command, and as the beginning of a hint what is likely to be meant."""
    if not isinstance(error, UnusedCliTokensError):
        return str(error), ""
    known = _options(app, words)
    for word in words[: words.index("--") if "--" in words else None]:
        name = word.partition("=")[0]
        if name.startswith("--") and name not in known:  # it was taken for a text or a file, which may begin so
            meant = did_you_mean(name, known)
            return f"Unknown option: {clean(name, 60)}", f"{meant} " if meant else ""
    unused = error.unused_tokens or ()
    return f"too many words: {' '.join(unused)}", "a text with blanks needs quotes; " if len(unused) > 1 else ""


def _options(app: App, words: Sequence[str]) -> Sequence[str]:
    """Return the options of the command that is meant."""
    _, apps, _ = app.parse_commands(words)
    arguments = apps[-1].assemble_argument_collection(default_parameter=app.default_parameter)
    return [name for argument in arguments for name in argument.names if name.startswith("--")]


def _help_words(app: App, words: Sequence[str]) -> list[str]:
    """Return the words that explain the command that was meant."""
    chain, _, _ = app.parse_commands(words)
    return [*(word for word in chain if not word.startswith("-")), "--help"]


def _show_traceback(error: Exception) -> None:
    import traceback

    # Without the values of variables, so without the token.
    write(sys.stderr, clean_lines("".join(traceback.format_exception(error))))
