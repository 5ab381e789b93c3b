"""What is known of a request that is under way."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

from codegen_async.models import RunId
from codegen_async.polling.polls import Poll
from codegen_async.polling.windows import Watch


class Flight(NamedTuple):
    """A request under way: when it was sent, which runs it should show, and which of them were hurried."""

    poll: Poll
    asked: float
    runs: Sequence[Watch]
    hurried: Collection[RunId]
