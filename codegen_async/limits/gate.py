"""Keep everybody out for as long as a server asks, and longer each time that was too short."""

from __future__ import annotations

import math

_ROUNDING = 1.0  # seconds; what a server loses that writes whole ones


class Gate:
    """Be shut while a silence lasts.

    A 429 begins one. Another 429 soon after it shows that it was too short: a server may round its `Retry-After` down,
    to 0 at worst. Then the next lasts a second longer than asked for, then two, four, and so on, up to a whole period:
    whatever window the server keeps has then forgotten us.

    Args:
        period: seconds after which a server has forgotten every request.
        unasked: seconds of silence where a server gives no hint. Default: a period.
    """

    def __init__(self, period: float, unasked: float | None = None) -> None:
        self.learn(period, period if unasked is None else unasked)
        self.shut_until: float = -math.inf
        self._began = -math.inf  # the last silence
        self._length = 0.0
        self._repeats = 0

    def learn(self, period: float, unasked: float) -> None:
        """Go by these from now on."""
        self._period = period
        self._unasked = unasked

    def shift(self, seconds: float) -> None:
        """Go on with a clock that shows so much more."""
        self.shut_until += seconds
        self._began += seconds

    def hold(self, until: float) -> None:
        """Be shut until then at least."""
        self.shut_until = max(self.shut_until, until)

    def refused(self, taken_at: float, now: float, retry_after: float | None) -> bool:
        """Begin a silence after a 429 for a request whose slot was taken at `taken_at`.

        Return whether the caller is excused: the silence before was shorter than a period, and too short.
        """
        asked = self._unasked if retry_after is None else retry_after
        if taken_at <= self._began:  # sent before the present silence began: the same news again
            self._keep(now - self._began + asked)
            return False
        again = taken_at < self._began + self._length + self._period
        excused = again and self._length < self._period
        self._repeats = self._repeats + 1 if again else 0
        self._began, self._length = now, 0.0
        self._keep(self._lengthened(asked))
        return excused

    def _lengthened(self, asked: float) -> float:
        if not self._repeats:
            return asked
        more = _ROUNDING * 2.0 ** min(self._repeats - 1, 32)
        return max(asked, min(asked + more, self._period))

    def _keep(self, seconds: float) -> None:
        self._length = max(self._length, seconds)
        self.hold(self._began + self._length)
