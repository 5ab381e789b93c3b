"""Options that many commands share."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Literal, cast

from cyclopts import Group, Parameter

_CONNECTION = Group("Connection", sort_key=8)
_SHARING = Group("Several machines", sort_key=7)
_DASHBOARD = Group("Dashboard", sort_key=8)
_OUTPUT = Group("Output", sort_key=9)

RunNumber = Annotated[int, Parameter(name="RUN_ID", help="The run.")]
Timeout = Annotated[float | None, Parameter(help="Seconds until the wait gives up. Default: never.")]
Word = Literal["pending", "running", "blocked", "succeeded", "failed", "cancelled"]
Phases = Annotated[tuple[Word, ...], Parameter(help="Only runs that stand there now. May be repeated.")]
Latency = Annotated[float | None, Parameter(help="Seconds within which a change is to be noticed. Default: 5.")]

JournalFile = Annotated[Path, Parameter(name="JOURNAL", help="The journal of the batch, or its file of prompts.")]
PromptsFile = Annotated[
    Path, Parameter(name="FILE", help="The prompts; - for the standard input.", allow_leading_hyphen=True)
]
InputFormat = Annotated[
    Literal["jsonl", "json", "csv", "tsv", "txt"] | None,
    Parameter(name="--format", help="What FILE is. Default: as its name or beginning says."),
]
BatchJournal = Annotated[Path | None, Parameter(name="--journal", help="Where to remember. Default: FILE.db")]
DoneJournal = Annotated[
    Path | None, Parameter(name="--journal", help="What was done already. Default: FILE.db, if there.")
]
OutcomesFile = Annotated[Path | None, Parameter(name="--out", help="Where to append each outcome, as JSON on a line.")]
DryRun = Annotated[bool, Parameter(name="--dry-run", help="Only check the file, as `batch check` does.")]
Keys = Annotated[tuple[str, ...], Parameter(name="KEY", help="Which. Default: all that were rejected.")]
AllFailed = Annotated[bool, Parameter(name="--failed", help="All whose runs failed or were cancelled.")]
Adopt = Annotated[
    bool,
    Parameter(
        name="--adopt", help="Take over a journal that was made elsewhere, or whose server has another address now."
    ),
]


class Options:
    """Know how they were given."""

    def words(self) -> Iterator[str]:
        """Yield what has to be typed for the same options."""
        for field in fields(cast("Any", self)):
            value = getattr(self, field.name)
            if value != field.default:
                flag = f"--{field.name.replace('_', '-')}"
                yield from (flag,) if value is True else (flag, str(value))


@Parameter(name="*", group=_OUTPUT)
@dataclass(frozen=True, kw_only=True)
class Display(Options):
    """How results and progress are shown."""

    json: Annotated[bool, Parameter(help="Print one JSON document; --json id,phase: only these fields.")] = False
    jsonl: Annotated[bool, Parameter(help="Print one JSON object a line, each as soon as it is known.")] = False
    jq: Annotated[str | None, Parameter(help="Print what this jq expression makes of the JSON.")] = None
    fields: Annotated[str | None, Parameter(show=False)] = None  # what `selecting.expand` makes of --json NAMES
    quiet: Annotated[bool, Parameter(alias="-q", help="Print data and errors only.")] = False
    no_progress: Annotated[bool, Parameter(help="Show no progress.")] = False
    debug: Annotated[bool, Parameter(help="Show the traceback of an error.")] = False


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Waits(Options):
    """How runs are waited for."""

    timeout: Timeout = None
    latency: Latency = None


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Limits(Options):
    """How a batch is run."""

    max_active: Annotated[int | None, Parameter(help="Most runs under way at once. Default: what the API allows.")] = (
        None
    )
    max_attempts: Annotated[
        int, Parameter(help="Most runs created for a prompt whose runs fail.", show_default=True)
    ] = 1
    max_runs: Annotated[int | None, Parameter(help="Most runs the batch may make, in all. Default: no bound.")] = None
    max_failures: Annotated[
        int | None, Parameter(help="Failures in a row after which no more are created. Default: no bound.")
    ] = None


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Repository(Options):
    """Which repository a run is to work on."""

    repo: Annotated[str | None, Parameter(help="Repository, as owner/name.")] = None
    repo_id: Annotated[
        int | None, Parameter(help="The same by its id. Default: CODEGEN_REPO_ID, else the config files.")
    ] = None


Dialect = Annotated[
    str | None, Parameter(help="API, as module:Name, or codegen. Default: CODEGEN_DIALECT, else the user's file.")
]


Fleet = Annotated[
    str | None,
    Parameter(help="Where processes share the limits: sqlite:/PATH, ... Default: CODEGEN_FLEET, else the user's file."),
]


@dataclass(frozen=True, kw_only=True)
class Server(Options):
    """Which Codegen server to talk to, as which organization; or that it is another API, whose commands differ."""

    dialect: Dialect = None
    org_id: Annotated[
        int | None, Parameter(help="Organization. Default: CODEGEN_ORG_ID, the config files, or the token's only one.")
    ] = None
    base_url: Annotated[str | None, Parameter(help="Server. Default: CODEGEN_API_BASE_URL, else the user's file.")] = (
        None
    )
    phases: Annotated[
        str | None, Parameter(help="What unknown status words stand for: ABORTED=failed,PARKED=blocked.")
    ] = None
    fleet: Fleet = None


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
class MiddeskConnection(Options):
    """Which Middesk server to talk to."""

    base_url: Annotated[
        str | None, Parameter(help="Server. Default: MIDDESK_API_BASE_URL, else where the key belongs.")
    ] = None
    phases: Annotated[
        str | None, Parameter(help="What unknown status words stand for: ABORTED=failed,PARKED=blocked.")
    ] = None
    fleet: Fleet = None


@Parameter(name="*", group=_CONNECTION)
@dataclass(frozen=True, kw_only=True)
class HostedConnection(Options):
    """Which API to talk to, in its dialect, and where."""

    dialect: Dialect = None
    base_url: Annotated[str | None, Parameter(help="Server. Default: NAME_BASE_URL, else the dialect's.")] = None
    fleet: Fleet = None


@Parameter(name="*", group=_CONNECTION)
@dataclass(frozen=True, kw_only=True)
class Reading(Options):
    """Which API is meant, where none is talked to."""

    dialect: Dialect = None


@dataclass(frozen=True, kw_only=True)
class _Place(Options):
    """Where a page is served."""

    port: Annotated[int, Parameter(help="Port of the page. Default: any that is free.")] = 0
    listen: Annotated[
        str | None, Parameter(help="Address of the page. Default: 127.0.0.1, which other machines cannot reach.")
    ] = None


@Parameter(name="*", group=_DASHBOARD)
@dataclass(frozen=True, kw_only=True)
class Place(_Place):
    """Where the page is served that shows a batch."""


@Parameter(name="*", group=_DASHBOARD)
@dataclass(frozen=True, kw_only=True)
class Page(_Place):
    """Whether a page shows the batch, and where."""

    dashboard: Annotated[
        bool, Parameter(help="Serve a page that shows the batch, and print its link; --dashboard=PORT: there.")
    ] = False
    stay: Annotated[
        bool, Parameter(help="Go on when all is done, for what is retried from the page, until Ctrl-C.")
    ] = False


@Parameter(name="*", group=_SHARING)
@dataclass(frozen=True, kw_only=True)
class Sharing(Options):
    """Whether other processes and machines drive the same batch."""

    engine: Annotated[
        Literal["dbos"] | None, Parameter(help="Drive it from as many machines as run this command: by DBOS.")
    ] = None
    database: Annotated[
        str | None,
        Parameter(help="Where they meet: sqlite:PATH or postgresql://USER@HOST/DATABASE. Default: FILE.dbos.db"),
    ] = None

    def journal(self, file: Path, given: Path | None) -> Path | None:
        """Return what stands where a journal does: a database, if there is one.

        Raises:
            ConfigurationError: its URL cannot be right.
        """
        if self.database is not None:
            from codegen_async.engine.database import open_database

            open_database(self.database)
            return Path(self.database)
        return Path(f"{file}.dbos.db") if self.engine is not None and given is None else given


ALONE = Sharing()
ANY = Reading()
HERE = Connection()
REAL = RealServer()
MIDDESK = MiddeskConnection()
HOSTED = HostedConnection()
PLAIN = Display()
NO_PAGE = Page()
ANYWHERE = Place()
UNLIMITED = Limits()
PATIENT = Waits()
ANY_REPOSITORY = Repository()
