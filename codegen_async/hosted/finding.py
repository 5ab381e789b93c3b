"""Find the run that was created under a key, where the API shows keys."""

from __future__ import annotations

import uuid
from typing import Generic, TypeVar

from codegen_async.errors import DecodeError, InvalidRequestError, NotFoundError
from codegen_async.hosted.calls import Calls, a_find
from codegen_async.hosted.dialect import Call
from codegen_async.models import RunLike

R = TypeVar("R", bound=RunLike)

_FURTHER = 20  # calls that one look may take


class Finding(Generic[R]):
    """Search by `Dialect.find`, and believe what is found once it is proven that not just anything is.

    Args:
        calls: carries the calls.
    """

    def __init__(self, calls: Calls[R]) -> None:
        self._calls = calls
        self._dialect = calls.dialect
        self._tells_apart = False  # proven by a search for a key that nobody has

    def finds(self, key: str) -> bool:
        """Whether the API shows keys."""
        return self._dialect.find(key, None) is not None

    async def find(self, key: str, since: float | None) -> R | None:
        """Return the run that was created under a key, if the API shows it.

        Args:
            key: the key.
            since: seconds since its create was first sent. None where nobody knows.

        Raises:
            DecodeError: the search shows runs that were not asked for.
            APIError: it could not be looked for.
        """
        found = await self._search(key, since)
        if found is None:
            return None
        if not self._tells_apart:
            await self._check(since)
            self._tells_apart = True
        return self._calls.known(found)

    async def _check(self, since: float | None) -> None:
        """Make sure that nothing is found under a key that nobody has: servers ignore filters that they do not know.

        Raises:
            DecodeError: something is.
            APIError: it could not be looked for.
        """
        nobodys = uuid.uuid4().hex
        try:
            stranger = await self._search(nobodys, since)
        except InvalidRequestError:  # keys have another form here
            return
        if stranger is not None and (call := self._dialect.find(nobodys, since)) is not None:
            reason = f"{self._dialect.name}: `find` shows a run under a key that nobody has; it must filter by the key"
            raise DecodeError(reason, method=call.method, path=call.path)

    async def _search(self, key: str, since: float | None) -> R | None:
        call = self._dialect.find(key, since)
        for _ in range(_FURTHER):
            if call is None:
                break
            try:
                found = await self._calls.carry(a_find(call))
            except NotFoundError:  # where a key is looked for by a path of its own
                break
            if not isinstance(found, Call):
                return found
            call = found
        return None
