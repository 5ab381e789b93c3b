"""What `doctor` looks at of a dialect. Each check says what it found; none of them raises."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from codegen_async.batch.fields import DialectColumns
from codegen_async.cleaning import clean
from codegen_async.cli.checks import Finding, Verdict, failed, found
from codegen_async.cli.choosing import choose
from codegen_async.cli.config import Setting
from codegen_async.cli.errors import Hints
from codegen_async.cli.hosted_target import Place, Runs, token_of
from codegen_async.cli.options import HostedConnection
from codegen_async.cli.render import status_of
from codegen_async.hosted.asking import ANY_KEY
from codegen_async.hosted.dialect import Dialect
from codegen_async.hosted.remote import look_of
from codegen_async.http.answers import Twice
from codegen_async.limits import ASSUMED, LimiterState, Rate
from codegen_async.polling import ChangedSince, CursorListing, ManyById
from codegen_async.secret import Secret
from codegen_async.settings import check_base_url as checked


def check_dialect(dialect: Dialect[Any], connection: HostedConnection) -> Finding:
    """Say which dialect is spoken."""
    choice = choose(connection.dialect)
    text = f"{clean(dialect.name)}, which is {clean(choice.dialect)} (from {choice.source})"
    return Finding("dialect", Verdict.OK, text)


def check_base_url(place: Place) -> Finding:
    """Look whether a token may be sent there."""
    try:
        checked(place.base_url, paths_begin="")
    except ValueError as error:
        return failed("base_url", error)
    return Finding("base_url", Verdict.OK, f"{clean(place.base_url)} (from {place.source})")


def check_token(dialect: Dialect[Any]) -> Finding:
    """Look whether there is a token."""
    try:
        token = Secret(token_of(dialect), f"token (from environment {dialect.token_variable})", auth=dialect.auth)
    except Exception as error:  # noqa: BLE001 - told as a finding
        return failed("token", error)
    return found(Setting("token", token, f"environment {dialect.token_variable}"))


def check_limits(dialect: Dialect[Any], states: Mapping[str, LimiterState]) -> Iterator[Finding]:
    """Say what is known of the limits, and how.

    Args:
        dialect: states them, or not.
        states: what a client has learned of them; empty where nothing was sent.
    """
    for name, given in dialect.rates.items():
        yield _limit(name, (given,) if isinstance(given, Rate) else given, states.get(name))
    if dialect.concurrency is None:
        yield Finding("runs at once", Verdict.OK, "assumed: no cap; it is learned where the server refuses for one")
    else:
        yield Finding("runs at once", Verdict.OK, f"stated: {dialect.concurrency}")


def _limit(name: str, rates: Sequence[Rate], state: LimiterState | None) -> Finding:
    check = f"limit {clean(name)}"
    if rates:
        return Finding(check, Verdict.OK, f"stated: {_written(rates)}")
    if state is not None and state.source == "learned":
        return Finding(check, Verdict.OK, f"learned: {_written([each.rate for each in state.windows])}")
    text = f"assumed: {_written([ASSUMED])}; it is learned from the headers of answers and from refusals"
    return Finding(check, Verdict.OK, text)


def _written(rates: Sequence[Rate]) -> str:
    return " and ".join(f"{rate.limit} in {rate.period:g} s" for rate in rates)


def check_looks(dialect: Dialect[Any]) -> Finding:
    """Say how runs are looked at that are waited for."""
    match look_of(dialect)[0]:
        case ManyById():
            text = f"many runs by their ids, {dialect.many_at_most} at once, and gets"
        case ChangedSince():
            text = "what has changed since the look before, and gets"
        case CursorListing():
            text = "pages of the list, and gets"
        case _:
            text = "a get for each run: the more are waited for, the later each is seen to end"
    return Finding("looks", Verdict.OK, text)


def check_prompts(dialect: Dialect[Any]) -> Finding:
    """Say what a line of text is in a file of prompts."""
    if dialect.prompt_field is None:
        text = "files of prompts are objects or tables; it names no prompt_field, so a line of text is nothing"
    else:
        text = f"a line of text in a file of prompts is the field {clean(dialect.prompt_field)}"
    return Finding("prompts", Verdict.OK, text)


def check_create(dialect: Dialect[Any], fields: Mapping[str, Any]) -> Finding:
    """Say by what a run is created once, although the answer to its create may be lost."""
    try:
        DialectColumns(dialect).check(fields)
        twice, parent = dialect.create(ANY_KEY, fields).twice, dialect.parent(fields)
    except Exception as error:  # noqa: BLE001 - a dialect may want fields; told as a finding
        return Finding("create once", Verdict.SKIP, f"it takes fields to tell ({clean(str(error))}); give --field")
    if twice is Twice.SAME:
        return Finding("create once", Verdict.OK, "the server knows the key: a lost create is sent again")
    if twice is Twice.REFUSED:
        return Finding("create once", Verdict.OK, "a name is refused that is taken: a lost create is sent again")
    if dialect.find(ANY_KEY, None) is not None and parent is not None:
        return Finding(
            "create once", Verdict.OK, "what a run belongs to is made first: a lost create is looked for there"
        )
    if dialect.find(ANY_KEY, None) is not None:
        return Finding("create once", Verdict.OK, "the server shows keys: a lost create is looked for")
    text = "the API offers nothing for it: of a lost create the outcome is unknown, and a person decides"
    return Finding("create once", Verdict.WARN, text)


async def check_access(client: Runs, run_id: str, hints: Hints) -> Finding:
    """Look at a run with the token."""
    try:
        run = await client.get_run(run_id)
    except Exception as error:  # noqa: BLE001 - told as a finding
        return failed("access", error, hints)
    return Finding("access", Verdict.OK, f"the token may see run {clean(str(run.id))}: {status_of(run)}")
