"""What a batch is made of: tasks to create runs for, and where each of them stands."""

from __future__ import annotations

import enum
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, cast

import msgspec

from codegen_async.arguments import check_json_object, check_text
from codegen_async.codegen.creating import check_fields
from codegen_async.codegen.images import check_images, locate_images
from codegen_async.codegen.models import AgentRun
from codegen_async.errors import InvalidArgumentError
from codegen_async.hosted.run import HostedRun
from codegen_async.models import Phase, RunId

if TYPE_CHECKING:  # whoever names no kind of runs means Codegen's; before Python 3.13 only type checkers know defaults
    from typing_extensions import TypeVar

    R = TypeVar("R", bound=AgentRun | HostedRun, default=AgentRun)
    Id = TypeVar("Id", bound=RunId, default=int)
else:
    from typing import TypeVar

    R = TypeVar("R")
    Id = TypeVar("Id")

_LONGEST_NAME = 200

TAKEN = "another key, as the batch has an item of this one with other content"
TAKEN_AND_SENT = f"{TAKEN}, which was sent"
"""What a prompt needs whose key stands for something else."""


class State(enum.StrEnum):
    """Say where an item of a batch stands."""

    PLANNED = "planned"
    """To be created."""
    SENDING = "sending"
    """Sent, or about to be; whether there is a run is not known yet."""
    CREATED = "created"
    """It has a run."""
    ENDED = "ended"
    """Its run has ended, well or not."""
    REJECTED = "rejected"
    """The server, or a check before it, refused to create a run."""
    UNKNOWN = "unknown"
    """It was sent and no run was found, and it would not be safe to send it again: a person has to decide."""


class Task(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Hold what a run is to be created with; see `CodegenClient.create_run`.

    Attributes:
        fields: what a dialect's `create` takes; all else is Codegen's, and empty then.
        folder: where images with relative paths are; None for the working directory.
        extra: what else the line of its file said. It comes out with the results and is not sent.
    """

    prompt: str
    fields: dict[str, Any] | None = None
    images: tuple[str, ...] = ()
    metadata: dict[str, Any] | None = None
    repo_id: int | None = None
    model: str | None = None
    agent_type: str | None = None
    folder: str | None = None
    extra: dict[str, Any] | None = None

    @classmethod
    def checked(
        cls,
        prompt: str,
        *,
        images: Iterable[str | os.PathLike[str] | bytes] = (),
        metadata: Mapping[str, Any] | None = None,
        repo_id: int | None = None,
        model: str | None = None,
        agent_type: str | None = None,
        folder: str | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> Task:
        """Return a task if its fields can be right.

        Raises:
            InvalidArgumentError: one of them cannot.
        """
        fields = check_fields(prompt, metadata=metadata, repo_id=repo_id, model=model, agent_type=agent_type)
        plain = None if extra is None else check_json_object("extra", extra)
        return cls(images=check_images(images), folder=folder, extra=plain, **fields)

    def arguments(self, repo_id: int | None = None) -> dict[str, Any]:
        """Return the arguments of the create.

        Args:
            repo_id: the repository to work on where the task names none.
        """
        fields = msgspec.structs.asdict(self)
        del fields["extra"], fields["fields"]
        fields["repo_id"] = repo_id if self.repo_id is None else self.repo_id
        return fields | {"images": locate_images(self.images, fields.pop("folder"))}

    def encode(self) -> bytes:
        """Return it as JSON, equal tasks as equal bytes."""
        return msgspec.json.encode(self, order="sorted")

    def content(self) -> bytes:
        """Return what decides whether two tasks are the same, as JSON: what is sent, however its lines end."""
        told = {"prompt": with_plain_ends(self.prompt), "fields": with_plain_ends(self.fields)}
        return msgspec.structs.replace(self, folder=None, extra=None, metadata=self.metadata or None, **told).encode()


def with_plain_ends(value: Any) -> Any:
    """Return text, or JSON with texts in it, whose lines end as on this system: editors and git exchange that."""
    if isinstance(value, dict):
        return {name: with_plain_ends(item) for name, item in cast("dict[str, Any]", value).items()}
    if isinstance(value, list):
        return [with_plain_ends(item) for item in cast("list[object]", value)]
    return value.replace("\r\n", "\n") if isinstance(value, str) else value


decode_task: Callable[[bytes | str], Task] = msgspec.json.Decoder(Task).decode


class Added(msgspec.Struct, frozen=True, kw_only=True):
    """Say what came of adding prompts to a batch.

    Attributes:
        new: keys of those that the batch did not have.
        corrected: keys of those that had come to nothing and are sent in their new form.
        withdrawn: keys of those that were not sent and that the file does not have any more; they are left out.
        known: how many the batch has already.
        equal: how many have no key and the content of an earlier line; each is a prompt of its own.
    """

    new: Sequence[str] = ()
    corrected: Sequence[str] = ()
    withdrawn: Sequence[str] = ()
    known: int = 0
    equal: int = 0


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """Hold what driving an item takes.

    Attributes:
        seq: its number in the journal, from 1.
        name: the caller's key, or what stands for it.
        identity: what its idempotency keys are made of; see `idempotency_key`.
        key: the idempotency key of its present attempt.
        parent: what was made for the run of that attempt to belong to; its id is the key then.
        attempt: which one that is, from 1.
        floor: the id of a run that existed before that attempt was first sent.
        likely_done: whether the server reported success in an answer that could not be read.
        run_id: its run, if it has one.
    """

    seq: int
    name: str
    identity: str
    key: str
    parent: str | None
    attempt: int
    floor: int | None
    likely_done: bool
    run_id: RunId | None


class Fact(NamedTuple):
    """What an audit needs to know of an item."""

    name: str
    identity: str
    key: str
    parent: str | None
    state: State
    attempt: int
    run_id: RunId | None


class Outcome(msgspec.Struct, Generic[R, Id], frozen=True, kw_only=True):
    """Tell what became of an item.

    Attributes:
        key: the key it was added with; for one without, `#0`, `#1`, ... or `#<file>:<line>`.
        index: its place in the batch, from 0.
        state: `ended`; `rejected`; `unknown`; or `created` if its run does not move by itself (paused, say). The last
            two are taken up again when the batch is run again.
        run: the last snapshot of its run, if there is one.
        run_id: the run.
        error: why there is no run, or what is wrong with it.
        attempts: runs that were tried for, in all.
        seconds: from its creation until its end was seen.
        created_at: when its run was created, in seconds since 1970.
        ended_at: when the end was seen, in the same.
        prompt: what the agent was to do.
        metadata: what was to be stored with the run.
        extra: what else the line of its file said.
        fields: what its run was to be created with, where a dialect creates it; then there is no prompt.
    """

    key: str
    index: int
    state: State
    run: R | None = None
    run_id: Id | None = None
    error: str | None = None
    attempts: int = 1
    seconds: float | None = None
    created_at: float | None = None
    ended_at: float | None = None
    prompt: str = ""
    metadata: Mapping[str, Any] | None = None
    extra: Mapping[str, Any] | None = None
    fields: Mapping[str, Any] | None = None

    @property
    def succeeded(self) -> bool:
        """Whether it has a run, and that run ended well."""
        return self.state is State.ENDED and self.run is not None and self.run.phase is Phase.SUCCEEDED


def idempotency_key(batch_id: str, identity: str, attempt: int) -> str:
    """Return the key of an attempt: the same whenever and from whatever copy of the journal, and no other item's.

    Args:
        batch_id: the batch's.
        identity: the key that the item was given, else what stands for its content: a name that only says where its
            line was may be that of another item in another copy.
        attempt: from 1.
    """
    return f"{batch_id}-{sha256(identity.encode()).hexdigest()[:16]}-{attempt}"


def check_name(name: object) -> str:
    """Return a caller's key if it can be one.

    Raises:
        InvalidArgumentError: it is blank, too long, has a null character, which not every database can hold, or looks
            like what stands for keys that are not given.
    """
    text = check_text("key", name)
    if "\0" in text:
        raise InvalidArgumentError("key", name, "a text without null characters")
    if len(text) > _LONGEST_NAME or text.startswith("#"):
        raise InvalidArgumentError("key", name, f"at most {_LONGEST_NAME} characters, the first of them no '#'")
    return text
