"""Choose which prompts of a batch are sent again, and say which of them are left."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from codegen_async.batch.batch import Batch
from codegen_async.batch.labels import label
from codegen_async.batch.readers import Where, read_outcomes
from codegen_async.cleaning import clean
from codegen_async.cli.errors import UsageError, command
from codegen_async.cli.output import Output

_UNDER_WAY = ("planned", "sending", "running", "paused")
_FAILED = ("failed", "cancelled")
_CAME_TO_NOTHING = ("rejected", "unknown", *_FAILED)


class Retry:
    """Let a batch make another attempt at items, as those are chosen that `batch retry` means.

    Args:
        journal: the journal.
        keys: those that are named.
        group: the words of the group of commands, for hints.
        failed: whether all are meant that failed.

    Raises:
        UsageError: there is no item of this key, or it has ended well.
        JournalError: the journal cannot be read.
    """

    def __init__(self, journal: Where, keys: Sequence[str], group: Sequence[str], *, failed: bool) -> None:
        self._journal = journal
        self._group = group
        self._chosen = choose(journal, keys, failed=failed)
        self._named = keys or self._chosen
        self._by_name = failed or bool(keys)
        self._all_failed = failed
        self._keys = keys

    async def __call__(self, batch: Batch[Any, Any]) -> None:
        """Choose them in the batch."""
        await batch.retry(*self._chosen)

    def tell(self, output: Output) -> None:
        """Say so where nothing is sent again, which is easily taken for a batch that was tried again and failed."""
        if self._chosen or self._keys:
            return
        if self._all_failed:
            output.note("nothing is sent again, as no run has failed")
            return
        failed = sum(where in _FAILED for where in _standing(self._journal).values())
        more = f"; {failed} failed, which --failed means" if failed else ""
        output.note(f"nothing is sent again, as no prompt was rejected{more}")

    def again(self, options: Iterable[str]) -> str:
        """Return the command that goes on with those that are left; empty where none is."""
        named = left(self._journal, self._named) if self._by_name else ()
        if self._by_name and not named:
            return ""  # without a key, it would send all that were rejected
        end = ("--",) if any(key.startswith("-") for key in named) else ()
        return command(*self._group, "retry", *options, *end, self._journal, *named)


def choose(journal: Where, keys: Sequence[str], *, failed: bool = False) -> Sequence[str]:
    """Return the keys of items to be sent again: the named not under way, or all that failed, or were rejected.

    Raises:
        UsageError: there is no item of this key, or it has ended well.
        JournalError: the journal cannot be read.
    """
    if keys and failed:
        raise UsageError("give keys or --failed, not both")
    standing = _standing(journal)
    if not keys:
        wanted = _FAILED if failed else ("rejected",)
        return [key for key, where in standing.items() if where in wanted]
    for key in keys:
        _check(journal, key, standing.get(key))
    return [key for key in dict.fromkeys(keys) if standing[key] in _CAME_TO_NOTHING]


def left(journal: Where, keys: Sequence[str]) -> Sequence[str]:
    """Return those of the keys that are under way; if none is, another that is; to name them goes on with the batch.

    Raises:
        JournalError: the journal cannot be read.
    """
    under_way = [key for key, where in _standing(journal).items() if where in _UNDER_WAY]
    return [key for key in under_way if key in keys] or under_way[:1]


def _standing(journal: Where) -> Mapping[str, str]:
    return {outcome.key: label(outcome) for outcome in read_outcomes(journal)}


def _check(journal: Where, key: str, where: str | None) -> None:
    if where is None:
        export = command("batch", "export", journal, "items.csv")
        raise UsageError(f"the batch has no item with the key {clean(key)!r}", f"for all keys: {export}")
    if where not in _UNDER_WAY + _CAME_TO_NOTHING:
        hint = "what has ended well is final; to repeat the prompt, add it with a new key"
        raise UsageError(f"the item {clean(key)!r} has ended ({where})", hint)
