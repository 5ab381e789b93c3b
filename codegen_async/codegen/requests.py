"""From checked arguments to requests. Pure; paths are built from integers only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from codegen_async.answers import Request
from codegen_async.wire import json_body, query_of


class Requests:
    """Write the requests of one organization, as the vendor's pages say."""

    def __init__(self, org_id: int) -> None:
        self._org = f"/v1/organizations/{org_id}/agent"
        self._alpha = f"/v1/alpha/organizations/{org_id}/agent"

    def create(self, fields: Mapping[str, Any]) -> Request:
        """Start a run ("Create Agent Run")."""
        return Request(endpoint="create", method="POST", path=f"{self._org}/run", body=json_body(fields))

    def resume(self, fields: Mapping[str, Any]) -> Request:
        """Take a run up again; its id is in the body, not in the path."""
        return Request(endpoint="resume", method="POST", path=f"{self._org}/run/resume", body=json_body(fields))

    def get(self, run_id: int) -> Request:
        """Read a run ("Get Agent Run")."""
        return Request(endpoint="get", method="GET", path=f"{self._org}/run/{run_id}")

    def page(self, skip: int, limit: int, *, user_id: int | None = None, source_type: str | None = None) -> Request:
        """Read a page of runs ("List Agent Runs")."""
        return Request(
            endpoint="list",
            method="GET",
            path=f"{self._org}/runs",
            query=query_of(skip=skip, limit=limit, user_id=user_id, source_type=source_type),
        )

    def logs(self, run_id: int, skip: int, limit: int, *, reverse: bool) -> Request:
        """Read a page of a run's log ("Get Agent Run Logs")."""
        return Request(
            endpoint="logs",
            method="GET",
            path=f"{self._alpha}/run/{run_id}/logs",
            query=query_of(skip=skip, limit=limit, reverse="true" if reverse else None),
        )
