"""What `doctor` looks at. Each check says what it found; none of them raises."""

from __future__ import annotations

import enum
import http.client
import platform
import ssl
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from codegen_async.cleaning import clean
from codegen_async.cli import config
from codegen_async.cli.choosing import user_file
from codegen_async.cli.errors import CODEGEN, Exit, Hints, command, explain
from codegen_async.cli.output import Output
from codegen_async.codegen.account import count_of, named
from codegen_async.codegen.client import CodegenClient
from codegen_async.secret import Secret
from codegen_async.settings import check_base_url, speed_of

_PACKAGES = ("codegen-async", "aiohttp", "aiolimiter", "anyio", "msgspec")
_PATIENCE = 10.0  # seconds
_SKEW = 30.0  # seconds; below that a clock does no harm
_EXPIRES_SOON = 14  # days


class Verdict(enum.StrEnum):
    """Say how a check came out."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"
    SKIP = "skip"


class Finding(NamedTuple):
    """Say what a check found, and what the command ends with if that is bad."""

    check: str
    verdict: Verdict
    text: str
    code: Exit = Exit.OK


def failed(check: str, error: Exception, hints: Hints = CODEGEN) -> Finding:
    """Return the finding for a check that ended with an error."""
    told = explain(error, hints=hints)
    useful = told.hint and command("doctor") not in told.hint  # which is what is being run
    text = f"{told}; {told.hint}" if useful else str(told)
    return Finding(check, Verdict.FAIL, text, told.code)


def show(output: Output, findings: Sequence[Finding]) -> Exit:
    """Show what was found; return what a command ends with that has looked."""
    if output.structured:
        output.records([finding._asdict() for finding in findings])
    else:
        output.table(("CHECK", "STATUS", "FOUND"), [finding[:3] for finding in findings], whole=True)
    return next((finding.code for finding in findings if finding.code is not Exit.OK), Exit.OK)


def check_versions() -> Finding:
    """Look at what is installed."""
    installed = [f"Python {platform.python_version()}", *(f"{name} {version(name)}" for name in _PACKAGES)]
    return Finding("versions", Verdict.OK, ", ".join(installed))


def check_settings(settings: config.Settings) -> Iterator[Finding]:
    """Look at the settings that every call needs."""
    base_url = settings["base_url"]
    try:
        check_base_url(str(base_url.value))
    except ValueError as error:
        yield failed("base_url", error)
    else:
        yield Finding("base_url", Verdict.OK, f"{base_url.shown} (from {base_url.source})")
    try:
        config.required(settings, "token")
    except Exception as error:  # noqa: BLE001 - told as a finding
        yield failed("token", error)
    else:
        yield found(settings["token"])
    if settings["org_id"].value is None:
        yield Finding("org_id", Verdict.OK, "not set: the only organization of the token is taken")
    else:
        yield found(settings["org_id"])


def found(setting: config.Setting) -> Finding:
    """Return the finding for a setting that is there."""
    text = f"{setting.shown} (from {setting.source})"
    if isinstance(setting.value, Secret) and setting.value.reveal().startswith("Bearer"):
        return Finding("token", Verdict.WARN, f"{text}; it begins with 'Bearer', which is not part of a token")
    return Finding(setting.name, Verdict.OK, text)


def check_files(journal: Path | None) -> Iterator[Finding]:
    """Look at who may read the files that hold a token or prompts."""
    private = [path for path in (user_file(),) if path is not None]
    if journal is not None:
        from codegen_async.batch.schema import SIDES

        private += [journal, *(Path(f"{journal}{side}") for side in (*SIDES, "-lock"))]
    for path in private:
        if not _is_file(path):
            continue
        if config.exposed(path):
            yield Finding("files", Verdict.FAIL, f"others can read {path}; chmod 600 {path}", Exit.AUTH)
        else:
            yield Finding("files", Verdict.OK, f"{path} is private")


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # in a place that this user may not look into
        return False


def check_journal(path: Path | None) -> Finding:
    """Look whether a journal is whole."""
    if path is None:
        return Finding("journal", Verdict.SKIP, "give --journal PATH to check one")
    from codegen_async.batch.readers import reading
    from codegen_async.cli.inputs import existing

    try:
        place = existing(path)
        if not isinstance(place, Path):
            return Finding("journal", Verdict.SKIP, f"{place} is a database; it looks after itself")
        with reading(place) as connection:
            said = connection.execute("PRAGMA integrity_check(1)").fetchone()[0]
    except Exception as error:  # noqa: BLE001 - told as a finding
        return failed("journal", error)
    if said != "ok":
        return Finding("journal", Verdict.FAIL, f"{path} is damaged: {clean(str(said))}", Exit.ERROR)
    return Finding("journal", Verdict.OK, f"{path} is whole")


def check_server(base_url: str) -> Iterator[Finding]:
    """Look whether the server answers, over which TLS, and at its clock. Sends no token."""
    parts = urlsplit(base_url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    try:
        with closing(kind(parts.hostname or "", parts.port, timeout=_PATIENCE)) as connection:
            connection.connect()
            tls = _tls(connection.sock)
            asked = datetime.now(UTC)
            connection.request("HEAD", "/")
            answer = connection.getresponse()
    except ssl.SSLError as error:
        yield Finding("tls", Verdict.FAIL, clean(error.reason or str(error)), Exit.ERROR)
        return
    except (OSError, http.client.HTTPException) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error) or type(error).__name__
        yield Finding("server", Verdict.FAIL, f"{parts.netloc} does not answer: {clean(reason)}", Exit.ERROR)
        return
    yield Finding("server", Verdict.OK, f"{parts.netloc} answers")
    yield tls
    yield _clock(answer.headers.get("Date"), asked, speed_of(base_url))


def _tls(sock: object) -> Finding:
    if not isinstance(sock, ssl.SSLSocket):
        return Finding("tls", Verdict.SKIP, "plain http, to this machine")
    certificate = sock.getpeercert() or {}
    until = datetime.fromtimestamp(ssl.cert_time_to_seconds(str(certificate["notAfter"])), UTC)
    days = (until - datetime.now(UTC)).days
    verdict = Verdict.WARN if days < _EXPIRES_SOON else Verdict.OK
    return Finding("tls", verdict, f"{sock.version()}, the certificate is good for {days} days")


def _clock(date: str | None, now: datetime, speed: float) -> Finding:
    if speed != 1.0:
        return Finding("clock", Verdict.SKIP, f"the server's is simulated, and {speed:g} times as fast")
    try:
        skew = (now - parsedate_to_datetime(date or "")).total_seconds()
    except (ValueError, TypeError):
        return Finding("clock", Verdict.SKIP, "the server tells no date")
    verdict = Verdict.OK if abs(skew) < _SKEW else Verdict.WARN
    return Finding("clock", verdict, f"this machine's differs by {skew:.0f} s from the server's")


async def check_organizations(client: CodegenClient, org_id: object) -> Finding:
    """Look at the organizations that the token has access to, and whether the right one is known."""
    try:
        page = await client.list_organizations_page()
    except Exception as error:  # noqa: BLE001 - told as a finding
        return failed("organizations", error)
    count, text = count_of(page), named(page)
    if org_id is None and count != 1:
        return Finding("organizations", Verdict.FAIL, f"{text}; set CODEGEN_ORG_ID to one of them", Exit.USAGE)
    known = {one.id for one in page.items}
    if isinstance(org_id, int) and count == len(known) and org_id not in known:
        return Finding("organizations", Verdict.WARN, f"{text}; {org_id} is not among them")
    return Finding("organizations", Verdict.OK, text)


async def check_access(client: CodegenClient) -> Finding:
    """Look whether the token may list the organization's runs."""
    try:
        page = await client.list_runs_page(limit=1)
    except Exception as error:  # noqa: BLE001 - told as a finding
        return failed("access", error)
    return Finding("access", Verdict.OK, f"the token may list the {page.total} runs of organization {client.org_id}")


async def check_echo(client: CodegenClient) -> Finding:
    """Look whether the server gives back metadata, without which no lost create can be found. Costs a run."""
    try:
        run = await client.create_run("Do nothing. This run checks a client's set-up.")
    except Exception as error:  # noqa: BLE001 - told as a finding
        return failed("echo", error)
    if client.creating.echoed:
        return Finding("echo", Verdict.OK, f"run {run.id} gave its metadata back: a lost create can be found")
    return Finding("echo", Verdict.WARN, f"run {run.id} gave no metadata back: a lost create cannot be found")
