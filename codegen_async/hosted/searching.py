"""Find out whether a create of which nobody knows was carried out; for those who keep a journal."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Mapping
from typing import Any, Generic, TypeVar

from codegen_async.errors import CapacityError, OutcomeUnknownError, StatusError
from codegen_async.hosted.creating import OF_NO_RUN, Creating, Doubt
from codegen_async.http.retry import Backoff
from codegen_async.models import RunLike

R = TypeVar("R", bound=RunLike)


class Search(Generic[R]):
    """Search for the run of one create whose outcome is unknown; may be asked again and again.

    Attributes:
        over: the number by which it was given up; those of later creates are larger.
    """

    def __init__(self, creating: Creating[R], question: Doubt, fields: Mapping[str, Any]) -> None:
        self._creating = creating
        self._question = question
        self._fields = fields
        self.over: int = creating.moment()

    async def settle(self, *, over: bool = False) -> tuple[R | None, bool]:
        """Send it again where that is safe, else look for it; return the run, or None and whether there is none.

        Args:
            over: whether the settle time of the create was over before, so that each look decides.

        Raises:
            APIError: neither could be done.
        """
        if self._creating.is_safe(self._question.key, self._fields):
            return await self._again()
        return await self._creating.look(self._question, each_decides=over)

    async def decide(self) -> tuple[R | None, bool]:
        """Look once; return as `settle` does.

        Raises:
            APIError: it could not be looked for.
        """
        if self._creating.is_safe(self._question.key, self._fields):
            return await self._again()
        return await self._creating.decide(self._question)

    def forget(self) -> None:
        """Take the create for one that was never sent."""
        self._creating.forget(self._question.key)

    async def _again(self) -> tuple[R | None, bool]:
        backoff = Backoff()
        for sends in itertools.count(1):
            try:
                return await self._creating.attempt(self._question.key, self._fields), True
            except OutcomeUnknownError as unknown:
                if unknown.likely_done:
                    found, _ = await self._creating.look(self._question, each_decides=False)
                    return found, False
            except CapacityError:  # it says nothing of the first, and there will be room
                pass
            except OF_NO_RUN:
                raise
            except StatusError:  # so would the first have been refused
                return None, True
            await asyncio.sleep(backoff.delay(sends))
        raise AssertionError("unreachable")
