"""Whose a journal is, and where it belongs.

A journal says what is run with somebody's token, so one that came with a folder must not be taken for one's own. Each
user has a secret outside of all folders; a journal bears a mark that only who has it can make. It also notes on which
server its runs are, and which file it is: a copy may have been overtaken by what it was copied from.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import secrets
import sqlite3
import stat
import tempfile
from collections.abc import Generator, Iterator, Mapping
from pathlib import Path

from codegen_async.batch.lease import is_driven
from codegen_async.batch.places import OVERTAKEN, UNPLACED, Account, Place, account_of, as_text, from_text
from codegen_async.errors import JournalError
from codegen_async.posix import fcntl
from codegen_async.private import open_private, state_folder, sync_folders

_SECRET = "journals.secret"  # noqa: S105 - the name of its file
_SECRET_LENGTH = 32


def take(connection: sqlite3.Connection, path: Path, account: Account | None, *, adopt: bool, older: bool) -> None:
    """Make sure that this user may drive a journal on this server, and note what was not known yet.

    Args:
        connection: to the journal, within a transaction.
        path: the journal.
        account: where runs are created; None: nothing is sent, so it does not matter whose it is.
        adopt: whether its user says that the journal is his, and that the server is the same as before.
        older: whether it is a copy from before, under the name of the one that was driven.

    Raises:
        JournalError: he may not; says why, and what to do.
    """
    meta = dict(connection.execute("SELECT name, value FROM meta"))
    if account and not adopt and connection.execute("SELECT 1 FROM items LIMIT 1").fetchone():
        _check_owner(meta, path)
    if _has_sent(connection) or (account and not _is_of_api(connection, meta, account)):
        _check_account(meta, path, account, adopt=adopt)
    here = Place.of(path)
    last = _last_places(meta)
    overtaken = next((place for place in reversed(last) if not place.is_file_of(here)), None)
    notes: dict[str, object] = {"place": as_text(here), "lives": int(str(meta.get("lives", 0))) + 1}
    if overtaken is not None:
        if _is_still_driven(overtaken):
            raise JournalError(str(path), f"is a copy of {overtaken.path}, which is being run; wait until that is over")
        note_driven(str(meta["batch"]), here)
        notes["overtook"] = as_text(overtaken)
    if overtaken is not None or older:
        notes["moved"] = UNPLACED if adopt else OVERTAKEN
    elif not last and "made" not in meta:  # before places were noted
        notes["moved"] = UNPLACED
    if account is not None:
        notes["account"] = as_text(account)
        if not _has_sent(connection) and account_of(meta) != account:  # nothing of it is anywhere yet
            connection.execute("DELETE FROM meta WHERE name = 'floor' OR name LIKE 'life %'")
            connection.execute("UPDATE items SET floor = NULL")
    if (own := next(_marks(meta["batch"], make=True), None)) is not None and not _is_ours(meta):
        notes["mark"] = own
    connection.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", notes.items())


# -- whose it is


def _check_owner(meta: Mapping[str, object], path: Path) -> None:
    # Before there were marks, a journal was private to its owner: what a repository brings never is.
    if "made" not in meta or _is_ours(meta):
        return
    raise JournalError(
        str(path),
        "was not made by this user here, and what it holds would be run with your token; look at it first, and if it "
        "is yours (carried here, or made with another home), adopt it: --adopt, Batch(adopt=True)",
    )


def _is_ours(meta: Mapping[str, object]) -> bool:
    mark = str(meta.get("mark", ""))
    return any(hmac.compare_digest(mark.encode(), own.encode()) for own in _marks(meta["batch"], make=False))


def _marks(batch: object, *, make: bool) -> Iterator[str]:
    """Yield the marks that this user gives to a batch, the one to write first."""
    for folder in _folders(make=make):
        with contextlib.suppress(OSError):
            secret = _secret(folder / _SECRET, make=make)
            if len(secret) == _SECRET_LENGTH and any(secret):
                yield hmac.new(secret, str(batch).encode(), hashlib.sha256).hexdigest()


def _folders(*, make: bool) -> Generator[Path]:
    """Yield the folders in which this user may keep something: that of the home, and a temporary one for want of it."""
    for find in (state_folder, _temporary_folder):
        with contextlib.suppress(OSError, RuntimeError):  # a user without an entry in the passwd file has no home
            folder = find()
            if make:
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            found = folder.lstat()
            private = not stat.S_IMODE(found.st_mode) & (stat.S_IWGRP | stat.S_IWOTH)
            if stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and private:
                yield folder


def _temporary_folder() -> Path:
    return Path(tempfile.gettempdir()) / f"codegen-async-{os.geteuid()}"


def _secret(path: Path, *, make: bool) -> bytes:
    with os.fdopen(open_private(path, create=make), "r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # who makes it makes it whole before another reads it
        secret = file.read()
        if make:
            if not any(secret):  # new, or all that a power cut has left of it
                secret = secrets.token_bytes(_SECRET_LENGTH)
                file.seek(0)
                file.write(secret)
                file.flush()
            os.fsync(file.fileno())  # it must not be gone when a journal bears its mark
            sync_folders(path)
        return secret


# -- where it belongs


def _has_sent(connection: sqlite3.Connection) -> bool:
    query = "SELECT 1 FROM items WHERE state NOT IN ('planned', 'rejected') OR attempt > 1 LIMIT 1"
    return connection.execute(query).fetchone() is not None


def _is_of_api(connection: sqlite3.Connection, meta: Mapping[str, object], account: Account) -> bool:
    """Whether what is planned can be created by this API: each takes fields of its own."""
    known = account_of(meta)
    planned = connection.execute("SELECT 1 FROM items LIMIT 1").fetchone() is not None
    return not planned or known is None or known.api == account.api


def _check_account(meta: Mapping[str, object], path: Path, account: Account | None, *, adopt: bool) -> None:
    known = account_of(meta)
    if known is None or account is None or known == account:
        return
    moved = (known.org_id, known.api) == (account.org_id, account.api)
    if moved and adopt:
        return
    way = " (or, if this is the same server under another address, adopt it: --adopt, Batch(adopt=True))"
    raise JournalError(
        str(path),
        f"belongs to {known}, and this is {account}, where its runs are not; nothing was sent; go on there, or give "
        f"another journal for this server{way if moved else ''}",
    )


# -- which file it is


def _is_still_driven(place: Place) -> bool:
    """Whether the file is still where it was, and some process drives it."""
    with contextlib.suppress(OSError):
        return Place.of(Path(place.path)).is_file_of(place) and is_driven(Path(place.path))
    return False


def _last_places(meta: Mapping[str, object]) -> list[Place]:
    """Return where the batch was driven last, as the journal says and as was noted when a copy took over."""
    places = [from_text(meta.get("place"), Place)]
    for folder in _folders(make=False):
        with contextlib.suppress(OSError), os.fdopen(open_private(_taken_over(folder, meta), create=False)) as file:
            places.append(from_text(file.read(), Place))
    return [place for place in places if place is not None]


def note_driven(batch_id: str, place: Place) -> None:
    """Note which file of a batch is driven, for the others: what they say is planned may be sent from there."""
    for folder in _folders(make=True):
        with contextlib.suppress(OSError):
            with os.fdopen(open_private(_taken_over(folder, {"batch": batch_id})), "r+") as file:
                file.truncate()
                file.write(as_text(place))
            return


def _taken_over(folder: Path, meta: Mapping[str, object]) -> Path:
    return folder / f"{hashlib.sha256(str(meta['batch']).encode()).hexdigest()[:16]}.taken-over"
