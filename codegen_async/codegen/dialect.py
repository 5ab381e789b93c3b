"""The Codegen API as a dialect: from checked arguments to calls, as the vendor's pages say. No client, no waits.

What is in a path is an integer. Creates are told apart by a key in their metadata; what a search for one proves takes
more than one call can show (`searching`), so there is no `find`. Pages are asked for by the schedule's own places.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from codegen_async.codegen.account_models import ModelCatalog, Organization, OrganizationPage, Repo, RepoPage, User
from codegen_async.codegen.decoding import Decoding, is_own
from codegen_async.codegen.models import PHASES, WORDS, AgentRun, AgentRunLogs, AgentRunPage
from codegen_async.codegen.searching import IDEMPOTENCY_KEY, key_of
from codegen_async.hosted.dialect import Call, Dialect, Value
from codegen_async.hosted.wire import PageDecoder, given
from codegen_async.http.answers import Response
from codegen_async.http.transport import ForeignAnswerError
from codegen_async.limits import Rate
from codegen_async.models import Phase, Vocabulary
from codegen_async.reading import Reader, read_json
from codegen_async.waiting import Page

T = TypeVar("T")

BASE_URL = "https://api.codegen.com"

RATES: Mapping[str, Rate] = {
    "create": Rate(10, 60.0),
    "get": Rate(60, 30.0),
    "list": Rate(60, 30.0),
    "logs": Rate(60, 60.0),
    "resume": Rate(10, 60.0),  # none is stated; the strictest of the others
    "stop": Rate(10, 60.0),  # the same
    "organizations": Rate(60, 30.0),
    "me": Rate(60, 30.0),
    "repos": Rate(60, 30.0),
    "models": Rate(60, 30.0),
}
"""The limits of the vendor's pages, by endpoint."""

_ORGANIZATIONS = "/v1/organizations"
_HOME = f"{_ORGANIZATIONS}/{{org_id}}"
_AGENT = f"{_HOME}/agent"
_ALPHA = "/v1/alpha/organizations/{org_id}/agent"

_organizations = PageDecoder("codegen", OrganizationPage, "items", Organization)
_repos = PageDecoder("codegen", RepoPage, "items", Repo)
_user = Reader(User)
_models = Reader(ModelCatalog)


class CodegenDialect(Dialect[AgentRun]):
    """Write the calls of one organization, and read its answers only.

    Args:
        org_id: the organization.
        words: what status words stand for. Default: what the vendor's do.
    """

    name = "codegen"
    base_url = BASE_URL
    token_variable = "CODEGEN_API_TOKEN"  # noqa: S105 - its name
    rates: Mapping[str, Rate | Sequence[Rate]] = RATES
    phases: Mapping[str, Phase] = WORDS

    def __init__(self, org_id: int, words: Vocabulary | None = None) -> None:
        self.org_id = org_id
        self._decoding = Decoding(org_id, words or Vocabulary(PHASES, {}))

    def is_own(self, status: int, said: Mapping[str, Any]) -> bool:
        """Whether a refusal is the API's own."""
        return is_own(status, said)

    def create(self, key: str, fields: Mapping[str, Any]) -> Call[AgentRun]:
        """Start a run ("Create Agent Run")."""
        metadata: Mapping[str, Any] = fields.get("metadata") or {}
        body = {**fields, "metadata": {**metadata, IDEMPOTENCY_KEY: key}}

        def decode(answer: bytes) -> AgentRun:
            run = self._decoding.created(answer)
            if key_of(run) not in (key, None):
                raise ForeignAnswerError(f"the answer is about run {run.id}, which another create has made")
            return run

        return self._post("create", f"{_AGENT}/run", body, decode)

    def get(self, run_id: str) -> Call[AgentRun | None]:
        """Read a run ("Get Agent Run")."""
        number = int(run_id)
        return self._get("get", f"{_AGENT}/run/{{run_id}}", self._decoding.run(number), number)

    def resume(self, run_id: int, fields: Mapping[str, Any]) -> Call[AgentRun]:
        """Take a run up again; its id is in the body, not in the path."""
        body = {"agent_run_id": run_id, **fields}
        return self._post("resume", f"{_AGENT}/run/resume", body, self._decoding.run(run_id))

    def list(
        self, skip: int, limit: int, *, user_id: int | None = None, source_type: str | None = None
    ) -> Call[AgentRunPage]:
        """Read a page of runs ("List Agent Runs")."""
        return self._page(self._decoding.page, skip, limit, user_id=user_id, source_type=source_type)

    def listed(self, skip: int, limit: int) -> Call[tuple[AgentRunPage, bytes]]:
        """Read the same, with its body as it came."""
        return self._page(lambda body: (self._decoding.page(body), body), skip, limit)

    def look(self, skip: int, limit: int, source_type: str | None) -> Call[Page[AgentRun]]:
        """Read as much of the same as waiting needs."""
        return self._page(self._decoding.look, skip, limit, source_type=source_type)

    def logs(self, run_id: int, skip: int, limit: int, *, reverse: bool) -> Call[AgentRunLogs]:
        """Read a page of a run's log ("Get Agent Run Logs")."""
        path, read = f"{_ALPHA}/run/{{run_id}}/logs", self._decoding.logs(run_id)
        return self._get("logs", path, read, run_id, skip=skip, limit=limit, reverse=reverse or None)

    def stop(self, run_id: int) -> Call[None]:
        """Stop whoever works on a run's pull request ("Ban All Checks For Agent Run")."""
        return self._post("stop", f"{_AGENT}/run/ban", {"agent_run_id": run_id}, _done)

    def remove_from_pr(self, run_id: int) -> Call[None]:
        """Do the same, under another name ("Remove Codegen From Pr")."""
        return self._post("stop", f"{_AGENT}/run/remove-from-pr", {"agent_run_id": run_id}, _done)

    def repos(self, skip: int, limit: int) -> Call[RepoPage]:
        """Read a page of repositories ("Get Repositories")."""
        return self._get("repos", f"{_HOME}/repos", _repos.decode, skip=skip, limit=limit)

    def models(self) -> Call[ModelCatalog]:
        """Read which models there are ("List Models")."""
        return self._get("models", f"{_HOME}/models", _models.decode)

    def _page(self, decode: Callable[[bytes], T], skip: int, limit: int, **query: Value) -> Call[T]:
        return self._get("list", f"{_AGENT}/runs", decode, None, skip=skip, limit=limit, **query)

    def _get(
        self, endpoint: str, path: str, decode: Callable[[bytes], T], run_id: int | None = None, **query: Value
    ) -> Call[T]:
        values = {"org_id": str(self.org_id), "run_id": str(run_id)}
        return Call(limit=endpoint, path=path, values=values, read=_reader(decode), query=query)

    def _post(self, endpoint: str, path: str, fields: Mapping[str, Any], decode: Callable[[bytes], T]) -> Call[T]:
        values = {"org_id": str(self.org_id)}
        return Call(limit=endpoint, method="POST", path=path, values=values, read=_reader(decode), json=given(fields))


def organizations(skip: int, limit: int) -> Call[OrganizationPage]:
    """Read a page of organizations ("Get Organizations")."""
    read = _reader(_organizations.decode)
    return Call(limit="organizations", path=_ORGANIZATIONS, read=read, query={"skip": skip, "limit": limit})


def me() -> Call[User]:
    """Read whose token it is ("Get Current User")."""
    return Call(limit="me", path="/v1/users/me", read=_reader(_user.decode))


def _reader(decode: Callable[[bytes], T]) -> Callable[[Response], T]:
    return lambda answer: decode(answer.body)


def _done(body: bytes) -> None:
    """Accept whatever JSON answers a stop, as nothing is documented; a page for people was not sent by the API."""
    if body.strip():
        read_json(body)
