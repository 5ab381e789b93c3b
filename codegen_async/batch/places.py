"""Where a journal belongs: the account whose runs it knows, and the file that it is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import msgspec

from codegen_async.settings import one_spelling

T = TypeVar("T")

CODEGEN_API = "codegen"
"""What the API is called whose runs have numbers."""

OVERTAKEN = 2
"""What `moved` is in a copy: what it says is planned may have been sent since."""
UNPLACED = 1
"""What `moved` is in a journal that does not say which file it is."""


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """Say where runs live: ids and keys mean nothing elsewhere."""

    base_url: str
    org_id: int = 0
    api: str = CODEGEN_API

    @classmethod
    def at(cls, base_url: str, org_id: int = 0, api: str = CODEGEN_API) -> Account:
        """Return an account, the same for all ways to write its address."""
        return cls(base_url=one_spelling(base_url), org_id=org_id, api=api)

    def __str__(self) -> str:
        whose = f"organization {self.org_id}" if self.api == CODEGEN_API else self.api
        return f"{whose} at {self.base_url}"


class Place(msgspec.Struct, frozen=True, array_like=True):
    """Tell one file from all others of this machine, also when it is renamed."""

    device: int
    inode: int
    path: str = ""

    @classmethod
    def of(cls, path: Path) -> Place:
        """Return the place of a file.

        Raises:
            OSError: there is none.
        """
        found = path.stat()
        return cls(found.st_dev, found.st_ino, str(path.resolve()))

    def is_file_of(self, other: Place) -> bool:
        """Whether both are the same file."""
        return (self.device, self.inode) == (other.device, other.inode)


def account_of(meta: Mapping[str, object]) -> Account | None:
    """Return the account that the notes of a journal name."""
    return from_text(meta.get("account"), Account)


def are_numbers(meta: Mapping[str, object]) -> bool:
    """Whether the ids of a journal's runs are numbers, as at Codegen; a journal that names no account is of there."""
    account = account_of(meta)
    return account is None or account.api == CODEGEN_API


def as_text(value: msgspec.Struct) -> str:
    """Return what `from_text` reads."""
    return msgspec.json.encode(value).decode()


def from_text(text: object, kind: type[T]) -> T | None:
    """Read a note; None for want of one that can be read."""
    try:
        return msgspec.json.decode(text, type=kind) if isinstance(text, str) else None
    except msgspec.MsgspecError:  # whoever wrote it, it tells nothing
        return None
