"""Snapshots of runs as a journal keeps them: those of Codegen in their own form, those of all other APIs in one.

So whoever reads a journal needs no dialect. A run of Codegen has a number for its id, every other one a text.
"""

from __future__ import annotations

from typing import Any

import msgspec

from codegen_async.codegen.models import AgentRun
from codegen_async.hosted.run import HostedRun
from codegen_async.models import RunLike

Snapshot = AgentRun | HostedRun


class _Named(msgspec.Struct):
    id: int | str


_name = msgspec.json.Decoder(_Named).decode
_agent_run = msgspec.json.Decoder(AgentRun).decode
_hosted_run = msgspec.json.Decoder(HostedRun).decode


def encode_run(run: RunLike | None) -> bytes | None:
    """Return a snapshot as JSON; that of a dialect with structs of its own as what all have in common, and the rest."""
    if run is None or isinstance(run, AgentRun | HostedRun):
        return None if run is None else msgspec.json.encode(run)
    created = run.created_time
    common = HostedRun(
        id=str(run.id),
        status=run.status,
        phase=run.phase,
        created=None if created is None else created.isoformat(),
        web_url=run.web_url,
        raw=run,
    )
    return msgspec.json.encode(common)


def noted(run: RunLike | None) -> tuple[bytes | None, str | None]:
    """Return a snapshot as JSON, and its phase."""
    return encode_run(run), None if run is None else run.phase.value


def decode_run(content: bytes | str) -> Any:
    """Return the snapshot that was encoded; a `Snapshot`.

    Raises:
        msgspec.MsgspecError: it is none.
    """
    return _agent_run(content) if isinstance(_name(content).id, int) else _hosted_run(content)
