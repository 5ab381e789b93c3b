"""An API whose runs stand where their create says, its dialect, and much that is no dialect."""

import json
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from codegen_async import Call, Dialect, HostedRun, Phase, Rate, Response, Shown, Twice
from codegen_async.testing import Answer, Refusal, Route, SimulatedServer
from tests.support.canary import CANARY


class Acme(Dialect[HostedRun]):
    name = "acme"
    base_url = "https://api.acme.example"
    token_variable = "ACME_API_KEY"
    prompt_field: str | None = "task"
    rates: Mapping[str, Any] = {"create": [Rate(10, 1.0), Rate(100, 60.0)], "others": ()}
    phases: Mapping[str, Phase] = {
        "working": Phase.RUNNING,
        "needs_input": Phase.BLOCKED,
        "finished": Phase.SUCCEEDED,
        "crashed": Phase.FAILED,
        "stopped": Phase.CANCELLED,
    }

    def get(self, run_id: str) -> Call[HostedRun | None]:
        return Call(limit="others", path="/runs/{id}", values={"id": run_id}, read=_run)

    def create(self, key: str, fields: Mapping[str, Any]) -> Call[HostedRun]:
        body = {"task": fields["task"], **fields, "ref": key}
        return Call(limit="create", method="POST", path="/runs", json=body, read=_run)

    def find(self, key: str, since: float | None) -> Call[HostedRun | Call[Any] | None] | None:  # noqa: ARG002 - an interface
        return Call(limit="others", path="/runs", query={"ref": key}, read=_first)

    def cancel(self, run_id: str) -> Call[object] | None:
        return Call(limit="others", method="POST", path="/runs/{id}/stop", values={"id": run_id}, read=_run)

    def reply(self, run_id: str, text: str) -> Call[HostedRun | None]:
        values = {"id": run_id}
        return Call(limit="others", method="POST", path="/runs/{id}/messages", values=values, json=text, read=_run)


class Keyless(Acme):
    """Offer little."""

    token_variable = "KEYLESS_TOKEN"
    concurrency = 3

    def find(self, key: str, since: float | None) -> None:
        pass

    def cancel(self, run_id: str) -> None:
        pass

    def page(self, place: str | None) -> Call[Shown[HostedRun]]:  # noqa: ARG002 - the same
        return Call(limit="others", path="/runs", read=lambda _: Shown[HostedRun](runs=[]))


class Listed(Acme):
    """Be an API with a list."""

    def page(self, place: str | None) -> Call[Shown[HostedRun]]:
        def read(answer: Response) -> Shown[HostedRun]:
            shown = answer.json()
            return Shown(runs=[*map(_of, shown["runs"])], following=shown["next"])

        return Call(limit="others", path="/runs", query={"after": place}, read=read)


class Strict(Acme):
    """Send a few fields only."""

    prompt_field = None

    def create(self, key: str, fields: Mapping[str, Any]) -> Call[HostedRun]:
        body = {"task": fields["task"], "n": fields.get("n", 1), "ref": key}
        return Call(limit="create", method="POST", path="/runs", json=body, read=_run)


class Other(Acme):
    """Be another API that happens to be at the same place."""

    name = "other"


class Known(Acme):
    """Be an API that knows keys."""

    def create(self, key: str, fields: Mapping[str, Any]) -> Call[HostedRun]:
        return Call(limit="create", method="POST", path=f"/runs/{key}", json=fields, read=_run, twice=Twice.SAME)


class Demanding(Acme):
    def __init__(self, region: str) -> None:
        self.region = region


class Nameless(Acme):
    name = ""


class Odd(Acme):
    """Have a defect."""

    def get(self, run_id: str) -> Call[HostedRun | None]:
        raise ZeroDivisionError(run_id)


there = Demanding("eu")


class Garbled(Acme):
    """Read what no answer has."""

    def get(self, run_id: str) -> Call[HostedRun | None]:
        return Call(limit="others", path="/runs/{id}", values={"id": run_id}, read=lambda answer: answer.json()["nope"])


class Wrong(Acme):
    """State a limit that is none."""

    rates: Mapping[str, Any] = {"create": 10}


class AcmeServer(SimulatedServer):
    """Serve it; the field `state` of a create is the state of the run, `working` by default."""

    def __init__(self, **options: Any) -> None:
        super().__init__(rates={"create": Rate(10, 1.0)}, **options)
        self.runs: dict[str, dict[str, Any]] = {}

    def routes(self) -> list[Route]:
        return [
            Route("POST", "/runs", "create", self._create),
            Route("GET", "/runs", "others", self._list),
            Route("GET", "/runs/{id}", "others", lambda request, _: self._find(request)),
            Route("POST", "/runs/{id}/stop", "others", lambda request, _: self._find(request, "stopped")),
            Route("POST", "/runs/{id}/messages", "others", lambda request, _: self._find(request, "finished")),
        ]

    def variables(self) -> dict[str, str]:
        return {"ACME_API_KEY": self.token, "ACME_BASE_URL": self.url}

    def add(self, state: str) -> str:
        """Let there be a run; return its id."""
        name = f"r{len(self.runs)}"
        self.runs[name] = {"id": name, "state": state, "ref": "", "created": self.date().isoformat(), "text": "said"}
        return name

    def _create(self, _: web.Request, body: bytes) -> Answer:
        fields = json.loads(body)
        if not fields["task"]:
            raise Refusal(422, {"detail": "a task is needed"})
        name = self.add(fields.pop("state", "working"))
        self.runs[name] |= fields
        return Answer(201, self.runs[name])

    def end(self, state: str = "finished") -> None:
        """Let all runs end that go on."""
        for run in self.runs.values():
            if run["state"] == "working":
                run["state"] = state

    def _list(self, request: web.Request, _: bytes) -> Any:
        if "ref" not in request.query:
            after = int(request.query.get("after", "0"))
            shown = [*self.runs.values()][after : after + 2]
            return {"runs": shown, "next": str(after + 2) if after + 2 < len(self.runs) else None}
        return {"runs": [run for run in self.runs.values() if run["ref"] == request.query["ref"]]}

    def _find(self, request: web.Request, state: str = "") -> Any:
        if request.match_info["id"] not in self.runs:
            raise Refusal(404, {"detail": "no such run"})
        run = self.runs[request.match_info["id"]]
        run["state"] = state or run["state"]
        return run


class Rigid(AcmeServer):
    def __init__(self) -> None:
        super().__init__(token=CANARY)


def _run(answer: Response) -> HostedRun:
    return _of(answer.json())


def _first(answer: Response) -> HostedRun | None:
    return next(map(_of, answer.json()["runs"]), None)


def _of(fields: Mapping[str, Any]) -> HostedRun:
    return HostedRun(
        id=fields["id"], status=fields["state"], created=fields["created"], text=fields["text"], raw=fields
    )
