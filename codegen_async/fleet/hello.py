"""What members tell one another about runs. Pure.

There is one kind of message: a hello. It goes out each second, and at once with what cannot wait. Any may be lost:
wishes are said again until they have arrived, resumes for a minute, and who has missed snapshots says anew what it
wants and knows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated

import msgspec
from msgspec import Meta

from codegen_async.models import RunId

FORMAT = 1
"""Of hellos; those of another one are not read."""


Age = Annotated[float, Meta(ge=0.0)]
"""Seconds since; nothing is of the future, or of no time."""


class Want(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Say what a member wants of a run.

    Attributes:
        run_id: the run.
        latency: seconds within which it wants a look; None: none any more.
        seen: seconds since what it knows was asked for; None if it never saw the run.
        phase: where the run stands, as far as it knows.
    """

    run_id: RunId
    latency: Age | None = None
    seen: Age | None = None
    phase: str | None = None


class Changes(msgspec.Struct, frozen=True, array_like=True):
    """Hold the wishes of a member that have changed.

    Attributes:
        base: what was wanted up to this number is over; each change has a number.
        after: the number of the last change that is not among these.
        upto: the number of the last one.
        wants: what is wanted now.
    """

    base: int
    after: int
    upto: int
    wants: Sequence[Want]


class Told(msgspec.Struct, frozen=True, array_like=True):
    """Hold a snapshot.

    Attributes:
        run_id: the run.
        phase: where it stands, as who tells it believes.
        age: seconds since it was asked for.
        content: the snapshot, in the form of its dialect.
        marks: the resumes of the run that were known when it was believed.
    """

    run_id: RunId
    phase: str
    age: Age
    content: bytes
    marks: Sequence[str] = ()


class Reopened(msgspec.Struct, frozen=True, array_like=True):
    """Say that a run was taken up again.

    Attributes:
        run_id: the run.
        mark: tells this resume from all others.
        age: seconds since.
        before: the end that the run had, as far as that is known.
    """

    run_id: RunId
    mark: str
    age: Age
    before: Told | None = None


class Shown(msgspec.Struct, frozen=True, array_like=True):
    """Say which runs an answer showed, and how many seconds ago it was asked for."""

    age: Age
    run_ids: Sequence[RunId]


class Notice(msgspec.Struct, frozen=True, array_like=True):
    """Say that something is known to have happened to a run; `asks`: who says it looks at the run."""

    run_id: RunId
    asks: bool


class Heard(msgspec.Struct, frozen=True, array_like=True):
    """Say what a member has of another one.

    Attributes:
        at: the `at` of the newest hello that came from there: so it can tell how old this one is at most.
        wishes: the number of the last change of wishes.
    """

    at: float
    wishes: int


class Hello(msgspec.Struct, frozen=True, omit_defaults=True):
    """Say that a member is there, what it is doing, and what is new.

    Attributes:
        name: of the member.
        at: when it was sent, by the member's own clock, which means nothing to others.
        heard: what it has of each other member.
        leads: whether it asks for all.
        able: whether it can, as far as it knows.
        gone: whether this is its last word.
        number: how many hellos with news it has sent, with this one.
        news: snapshots.
        shown: what answers showed besides.
        wishes: what it wants.
        reopened: runs that it took up again.
        notices: what happened to runs.
        refused: runs that a look could not have: others may ask for themselves.
        form: the format.
    """

    name: str
    at: float
    heard: Mapping[str, Heard] = {}
    leads: bool = False
    able: bool = True
    gone: bool = False
    number: int = 0
    news: Sequence[Told] = ()
    shown: Sequence[Shown] = ()
    wishes: Changes | None = None
    reopened: Sequence[Reopened] = ()
    notices: Sequence[Notice] = ()
    refused: Sequence[RunId] = ()
    form: int = FORMAT


class _Form(msgspec.Struct):
    form: int = FORMAT


_encode = msgspec.msgpack.Encoder().encode
_hello = msgspec.msgpack.Decoder(Hello).decode
_form = msgspec.msgpack.Decoder(_Form).decode


def write_hello(hello: Hello) -> bytes:
    """Return a hello as bytes."""
    return _encode(hello)


def read_hello(message: bytes) -> Hello | None:
    """Read a hello; None if it is one of another format.

    Raises:
        msgspec.MsgspecError: it is none.
    """
    return _hello(message) if _form(message).form == FORMAT else None
