"""Options that many commands share."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Annotated

from cyclopts import Group, Parameter

_CONNECTION = Group("Connection", sort_key=8)
_OUTPUT = Group("Output", sort_key=9)

RunNumber = Annotated[int, Parameter(name="RUN_ID", help="The run.")]
Timeout = Annotated[float | None, Parameter(help="Seconds until the wait gives up. Default: never.")]
Latency = Annotated[float | None, Parameter(help="Seconds within which a change is to be noticed. Default: 5.")]


@Parameter(name="*", group=_OUTPUT)
@dataclass(frozen=True, kw_only=True)
class Display:
    """How results and progress are shown."""

    json: Annotated[bool, Parameter(help="Print one JSON document.")] = False
    jsonl: Annotated[bool, Parameter(help="Print one JSON object a line, each as soon as it is known.")] = False
    quiet: Annotated[bool, Parameter(alias="-q", help="Print data and errors only.")] = False
    no_progress: Annotated[bool, Parameter(help="Show no progress.")] = False
    debug: Annotated[bool, Parameter(help="Show the traceback of an error.")] = False


@dataclass(frozen=True, kw_only=True)
class Server:
    """Which Codegen server to talk to, as which organization."""

    org_id: Annotated[int | None, Parameter(help="Organization. Default: CODEGEN_ORG_ID, else the config files.")] = (
        None
    )
    base_url: Annotated[str | None, Parameter(help="Server. Default: CODEGEN_API_BASE_URL, else the user's file.")] = (
        None
    )

    def words(self) -> Iterator[str]:
        """Yield what has to be typed for the same connection."""
        for field in fields(self):
            value = getattr(self, field.name)
            if value is not None and value is not False:
                flag = f"--{field.name.replace('_', '-')}"
                yield from (flag,) if value is True else (flag, str(value))


@Parameter(name="*", group=_CONNECTION)
@dataclass(frozen=True, kw_only=True)
class RealServer(Server):
    """A server that exists."""


@Parameter(name="*", group=_CONNECTION)
@dataclass(frozen=True, kw_only=True)
class Connection(Server):
    """A server that exists, or one that is simulated inside this process."""

    simulate: Annotated[bool, Parameter(help="Use a simulated server in this process: no token, no network.")] = False


@Parameter(name="*", group=_CONNECTION)
@dataclass(frozen=True, kw_only=True)
class MiddeskConnection:
    """Which Middesk server to talk to."""

    base_url: Annotated[
        str | None, Parameter(help="Server. Default: MIDDESK_API_BASE_URL, else where the key belongs.")
    ] = None

    def words(self) -> Iterator[str]:
        """Yield what has to be typed for the same connection."""
        if self.base_url is not None:
            yield from ("--base-url", self.base_url)


HERE = Connection()
REAL = RealServer()
MIDDESK = MiddeskConnection()
PLAIN = Display()
