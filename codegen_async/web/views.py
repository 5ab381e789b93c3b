"""What a browser is shown of a run: what it is about, and never what was stored with it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from codegen_async.codegen.models import AgentRun
from codegen_async.hosted.run import HostedRun
from codegen_async.models import RunLike


def brief(run: RunLike) -> Mapping[str, Any]:
    """Return what a run is about, for its users: where it stands, and what came of it.

    Metadata stays here: it holds the idempotency key, and what else the backend stored with the run.
    """
    shown = {"id": run.id, "phase": run.phase.value, "status": run.status, "web_url": run.web_url}
    if isinstance(run, AgentRun):
        pulls = [{"title": pull.title, "url": pull.url} for pull in run.github_pull_requests or ()]
        return {**shown, "summary": run.summary, "result": run.result, "pull_requests": pulls}
    if isinstance(run, HostedRun):
        return {**shown, "result": run.text, "error": run.error, "urls": run.urls}
    return shown
