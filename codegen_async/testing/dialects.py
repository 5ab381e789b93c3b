"""Check a dialect against recorded answers, without a server."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, cast

import msgspec

from codegen_async.errors import CodegenAsyncError, InvalidArgumentError
from codegen_async.hosted.calls import reader
from codegen_async.hosted.dialect import Call, Dialect, Shown, check_dialect_class, phase_table
from codegen_async.hosted.run import Cost, HostedRun, moment_of
from codegen_async.http.answers import Refusal, Request, Response, Twice
from codegen_async.http.transport import AbsentError, ForeignAnswerError
from codegen_async.models import Phase
from codegen_async.reading import UNREADABLE
from codegen_async.secret import Secret
from codegen_async.testing.delivery import Answer

__all__ = ["check_dialect"]

_TOKEN = "to-ken/1"  # noqa: S105 - opens nothing
_KEYS = ("k" * 32, "other-key-0000000000000000000000")
_PART = "plain"
_ODD = ("a/b", "..", "a b", "a?b=c", "a%2Fb", "a#b", "ü", "a\\b", "a{b}")
_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
_GARBAGE = (b"", b"null", b"[]", b"{}", b'"text"', b"<html>", b'{"error": null}', b"\xff", b'[{"id": 1}]')


class _Kind(NamedTuple):
    """A call of a dialect by its name, whether it may read as None, and whether it shows several runs."""

    name: str
    make: Callable[[str], Call[Any] | None]
    optional: bool = True
    several: bool = False


def check_dialect(
    dialect: Dialect[Any],
    answers: Mapping[str, Sequence[object]],
    *,
    fields: Mapping[str, Any] | None = None,
    run: Any = None,
) -> None:
    """Check a dialect: what it says of itself, the calls it writes, and how it reads recorded answers.

    Checked are: that ids with slashes and the like lead nowhere else, that calls spend limits that there are and depend
    on nothing but their arguments, that a key goes along where the API is said to know it; that each answer reads as a
    run with an id, a known word and a known time; and that answers of another shape, or by a gateway, make no run.

    Args:
        dialect: the dialect.
        answers: recorded answers by the name of the call (`get`, `create`, `find`, `full`, `reply`, `many`, `changed`,
            `page`) or `refused`. Each is the JSON of a 200, or an `Answer` with its status.
        fields: what a create takes. Default: nothing.
        run: a run to make the call `full` from. Default: a `HostedRun` whose id has the dialect's form, of `plain`.

    Raises:
        AssertionError: something is wrong; names all of it.
    """
    problems = list(_of_itself(dialect)) or list(_of_the_rest(dialect, answers, fields or {}, run))
    if problems:
        raise AssertionError("\n".join([f"{type(dialect).__name__}:", *(f"- {problem}" for problem in problems)]))


def _of_the_rest(
    dialect: Dialect[Any], answers: Mapping[str, Sequence[object]], fields: Mapping[str, Any], run: Any
) -> Iterator[str]:
    example = HostedRun(id=_plain(dialect), phase=Phase.SUCCEEDED) if run is None else run
    kinds = _kinds(dialect, fields, example)
    unmade = [problem for kind in kinds for problem in _of_ids(dialect, kind)]
    if unmade:
        yield from unmade
        return
    for kind in kinds:
        yield from _of_calls(dialect, kind)
    yield from _of_keys(dialect, fields)
    yield from _of_answers(dialect, kinds, answers)
    yield from _of_refusals(dialect, answers.get("refused", ()))


def _plain(dialect: Dialect[Any]) -> str:
    return "/".join(_PART for _ in dialect.id_parts)


def _odd(dialect: Dialect[Any]) -> Iterator[str]:
    """Return ids in which one part is odd."""
    for odd in _ODD:
        for place in range(len(dialect.id_parts)):
            yield "/".join(odd if place == number else _PART for number in range(len(dialect.id_parts)))


def _kinds(dialect: Dialect[Any], fields: Mapping[str, Any], run: Any) -> list[_Kind]:
    def full(run_id: str) -> Call[Any] | None:
        return dialect.full(msgspec.structs.replace(run, id=run_id) if isinstance(run, HostedRun) else run)

    def create(_: str) -> Call[Any]:
        return dialect.create(_KEYS[0], fields)

    def find(_: str) -> Call[Any] | None:
        return dialect.find(_KEYS[0], 60.0)

    def reply(run_id: str) -> Call[Any] | None:
        return dialect.reply(run_id, "go on")

    def many(run_id: str) -> Call[Any] | None:
        return dialect.many([run_id])

    def changed(_: str) -> Call[Any] | None:
        return dialect.changed(1_700_000_000.0, None)

    def page(_: str) -> Call[Any] | None:
        return dialect.page(None)

    return [
        _Kind("get", dialect.get),
        _Kind("create", create, optional=False),
        _Kind("find", find),
        _Kind("full", full),
        _Kind("cancel", dialect.cancel),
        _Kind("reply", reply),
        _Kind("many", many, several=True),
        _Kind("changed", changed, several=True),
        _Kind("page", page, several=True),
    ]


def _of_itself(dialect: Dialect[Any]) -> Iterator[str]:
    try:
        check_dialect_class(dialect)
        Secret(_TOKEN, auth=dialect.auth)
    except CodegenAsyncError as error:
        yield str(error)
        return
    if not any(dialect.auth(_TOKEN).values()):
        yield "auth: expected headers that carry the token, got none"
    if dialect.many([_plain(dialect)]) is not None and dialect.many_at_most < 2:  # noqa: PLR2004 - two are many
        yield f"many_at_most: expected how many ids a call takes, got {dialect.many_at_most}"
    if not any(phase.is_terminal for phase in dialect.phases.values()):
        yield "phases: expected a word for an end, or no wait would end"


def _of_ids(dialect: Dialect[Any], kind: _Kind) -> Iterator[str]:
    for run_id in (_plain(dialect), *_odd(dialect)):
        try:
            kind.make(run_id)
        except InvalidArgumentError:  # of `Dialect.parts`
            continue
        except Exception as error:  # noqa: BLE001 - it would end a program
            raised = f"raise {type(error).__name__}: {error}"
            if kind.optional:
                yield f"{kind.name}: the id {run_id!r} makes it {raised}; see `parts`"
            else:  # no id goes into it
                yield f"{kind.name}: the fields make it {raised}; are `fields` those of a run?"
            return


def _of_calls(dialect: Dialect[Any], kind: _Kind) -> Iterator[str]:
    call = kind.make(_plain(dialect))
    if call is None:
        return
    if call.limit not in dialect.rates:
        yield f"{kind.name}: spends the limit {call.limit!r}, and rates has {sorted(dialect.rates)}"
    if call.method not in _METHODS:
        yield f"{kind.name}: expected one of {', '.join(_METHODS)}, got {call.method!r}"
    try:
        plain = call.request(dialect.headers)
        again = cast("Call[Any]", kind.make(_plain(dialect))).request(dialect.headers)
    except (KeyError, TypeError, ValueError, msgspec.MsgspecError) as error:
        yield f"{kind.name}: the call cannot be written: {type(error).__name__}: {error}"
        return
    if plain != again:
        yield f"{kind.name}: two calls with the same arguments differ; a dialect must be pure"
    if not plain.path.startswith("/"):
        yield f"{kind.name}: expected a path that begins with a slash, got {plain.path!r}"
    for odd in _odd(dialect):
        try:
            led = cast("Call[Any]", kind.make(odd)).request(dialect.headers)
        except InvalidArgumentError:  # of `Dialect.parts`: it leads nowhere
            continue
        if led.path.count("/") != plain.path.count("/") or set(led.path) & set("?# \\{") or not led.path.isascii():
            yield f"{kind.name}: the id {odd!r} leads elsewhere ({led.path}); put it in `values`, which are quoted"
            break


def _of_keys(dialect: Dialect[Any], fields: Mapping[str, Any]) -> Iterator[str]:
    first, second = (dialect.create(key, fields) for key in _KEYS)
    differ = _sent(first.request(dialect.headers)) != _sent(second.request(dialect.headers))
    known = first.twice in (Twice.SAME, Twice.REFUSED) or dialect.find(_KEYS[0], None) is not None
    if known and not differ:
        yield "create: the key goes nowhere, although the API is said to know, refuse or show it"
    if first.method == "GET":
        yield "create: expected a method that may change something, got 'GET'"
    if first.twice is Twice.REFUSED and dialect.find(_KEYS[0], None) is None:
        yield "create: where a name is refused twice, `find` must find the run of that name"


def _sent(request: Request) -> tuple[object, ...]:
    return request.path, request.query, request.body, request.headers


def _of_answers(
    dialect: Dialect[Any], kinds: Sequence[_Kind], answers: Mapping[str, Sequence[object]]
) -> Iterator[str]:
    unknown = answers.keys() - {kind.name for kind in kinds} - {"refused"}
    if unknown:
        yield f"answers: expected names of calls, got {sorted(unknown)}"
    for kind in kinds:
        call = kind.make(_plain(dialect))
        if call is None:
            continue
        for number, answer in enumerate(answers.get(kind.name, ()), 1):
            for problem in _of_answer(dialect, call, _response(answer), kind):
                yield f"{kind.name}, answer {number}: {problem}"
        if kind.name in ("get", "create") or kind.several:
            yield from _of_garbage(call, kind)


def _of_answer(dialect: Dialect[Any], call: Call[Any], answer: Response, kind: _Kind) -> Iterator[str]:
    try:
        read: object = reader(call.read)(answer)
    except (*UNREADABLE, AbsentError, ForeignAnswerError) as error:
        yield f"cannot be read: {error}"
        return
    if not kind.several:
        yield from _of_run(dialect, read, optional=kind.optional)
    elif not _is_shown(read):
        yield f"expected what is Shown, got {read!r}"
    else:
        for run in _runs(read):
            yield from _of_run(dialect, run, optional=True)


def _of_run(dialect: Dialect[Any], run: Any, *, optional: bool) -> Iterator[str]:
    if run is None or isinstance(run, Call):  # which looks further
        if not optional:
            yield f"reads as {run!r}, where there is a run"
        return
    if not hasattr(run, "id") or not hasattr(run, "status"):
        yield f"expected a run, got {run!r}"
        return
    if not isinstance(run.id, str) or not run.id:
        yield f"id: expected a text, got {run.id!r}"
    elif len(dialect.id_parts) > 1 and run.id.count("/") != len(dialect.id_parts) - 1:
        yield f"id: expected the form {'/'.join(dialect.id_parts)}, got {run.id!r}"
    if run.status is not None and not phase_table(dialect).knows(run.status):
        yield f"status: the word {run.status!r} is not in phases, and reads as running"
    created = getattr(run, "created", None)
    if created is not None and moment_of(created) is None:
        yield f"created: expected RFC 3339 or Unix time, got {created!r}"
    for name in ("text", "error", "web_url"):
        if not isinstance(value := getattr(run, name, None), str | None):
            yield f"{name}: expected a text or None, got {value!r}"
    yield from _of_results(run)


def _of_results(run: Any) -> Iterator[str]:
    urls: Any = getattr(run, "urls", ())
    if not isinstance(urls, tuple | list):
        yield f"urls: expected a tuple, got {urls!r}"
        urls = ()
    if not isinstance(cost := getattr(run, "cost", None), Cost | None):
        yield f"cost: expected a Cost or None, got {cost!r}"
    links: list[Any] = [getattr(run, "web_url", None), *urls]
    if odd := [url for url in links if url is not None and not str(url).startswith(("https://", "http://"))]:
        yield f"urls: expected http or https, got {odd[0]!r}"


def _is_shown(read: object) -> bool:
    return isinstance(read, Shown)


def _runs(read: object) -> Sequence[Any]:
    runs: Sequence[Any] = getattr(read, "runs", (read,))  # of what is Shown, or else a run itself
    return runs


def _of_garbage(call: Call[Any], kind: _Kind) -> Iterator[str]:
    for body in _GARBAGE:
        try:
            read = reader(call.read)(Response(status=200, body=body))
        except (*UNREADABLE, AbsentError, ForeignAnswerError):
            continue
        except Exception as error:  # noqa: BLE001 - it would end a program
            yield f"{kind.name}: {body!r} makes it raise {type(error).__name__}: {error}"
        else:
            if any(run is not None for run in _runs(read)) or not kind.optional:
                yield f"{kind.name}: {body!r} reads as {read!r}; expected an error, or no run from get or a look"


def _of_refusals(dialect: Dialect[Any], answers: Sequence[object]) -> Iterator[str]:
    recorded = [_response(answer) for answer in answers]
    garbage = [Response(status=status, body=body) for status in (400, 429, 502) for body in _GARBAGE]
    for answer in (*recorded, *garbage):
        try:
            meaning: object = dialect.refused(answer)
        except Exception as error:  # noqa: BLE001 - the same
            if answer in garbage:
                continue
            yield f"refused: {answer.status} with {answer.body!r} makes it raise {type(error).__name__}: {error}"
            return
        if not isinstance(meaning, Refusal | None):  # pyright: ignore[reportUnnecessaryIsInstance] - the same
            yield f"refused: expected a Refusal or None, got {meaning!r}"
    for answer in recorded:
        if answer.status < 400:  # noqa: PLR2004 - what HTTP calls an error
            yield f"refused: expected answers of 400 and above, got {answer.status}"


def _response(answer: object) -> Response:
    if isinstance(answer, Answer):
        headers = {name.lower(): value for name, value in answer.headers.items()}  # as a reader gets to see them
        return Response(status=answer.status, headers=headers, body=answer.body)
    return Response(status=200, body=json.dumps(answer).encode())
