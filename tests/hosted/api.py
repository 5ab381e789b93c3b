"""An API of hosted runs without a network, and dialects that speak to it: one for each way to create once."""

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any
from urllib.parse import unquote

from codegen_async.hosted.dialect import Call, Dialect, Shown
from codegen_async.hosted.run import Cost, HostedRun
from codegen_async.http.answers import NoAnswerError, Refusal, Request, Response, Twice
from codegen_async.limits import Rate, Slot
from codegen_async.models import Phase

DONE = 20.0  # seconds that a run takes, if it is not said
EPOCH = 1_700_000_000


def moment(time: float) -> datetime:
    return datetime.fromtimestamp(EPOCH + time, UTC)


def now() -> float:
    return asyncio.get_running_loop().time()


class Api:
    """Serve runs; a `Sender`. Knows its own documentation, and nothing of who asks.

    Args:
        keyed: whether it knows the header `Idempotency-Key`.
        page_size: runs on a page.
        lag: seconds until a new run is shown.
    """

    def __init__(self, *, keyed: bool = False, lag: float = 0.0, page_size: int = 25) -> None:
        self.runs: dict[str, dict[str, Any]] = {}
        self.keyed = keyed
        self.lag = lag
        self._size = page_size
        self.faults: list[str] = []
        """What happens to the next creates: `before` or `after` loses it before or after it is carried out."""
        self.requests: list[Request] = []
        self.reads: list[float] = []
        """When each GET arrived."""
        self.timeless = False
        """Whether the answers lack a date."""
        self.refusal: tuple[int, dict[str, Any]] | None = None
        self.script: Callable[[dict[str, Any]], str] = lambda run: (
            "done/ok" if now() - run["at"] >= run["life"] else "working"
        )
        self._keys: dict[str, str] = {}
        self.threads: list[str] = []
        self.room: int | None = None
        """Runs that may go on at once."""

    async def send(self, request: Request, take_slot: Callable[[], Slot]) -> Response:
        async with take_slot() as slot:
            self.requests.append(request)
            if request.method == "GET":
                self.reads.append(now())
            slot.sent()
            fault = self.faults.pop(0) if self.faults and request.method == "POST" and request.path == "/runs" else ""
            if fault == "before":
                raise NoAnswerError("the connection broke", sent=True)
            status, body = self._answer(request)
            if fault == "after":
                raise NoAnswerError("the connection broke", sent=True)
            slot.answered()
            date = {} if self.timeless else {"date": format_datetime(moment(now()), usegmt=True)}
            return Response(status=status, headers=date, body=json.dumps(body).encode())

    def renew(self) -> None:
        pass

    async def aclose(self) -> None:
        pass

    def _answer(self, request: Request) -> tuple[int, Any]:  # noqa: PLR0911, PLR0912, C901 - a table
        if self.refusal is not None and request.method != "GET":
            return self.refusal
        parts = [unquote(part) for part in request.path.strip("/").split("/")]
        match request.method, parts:
            case "POST", ["runs"]:
                return self._create(json.loads(request.body or b""), dict(request.headers))
            case "GET", ["page"]:
                return self._page(dict(request.query).get("cursor"))
            case "GET", ["some"]:
                names = [value for name, value in request.query if name == "ids"]
                return 200, {"runs": [self._shown(self.runs[name]) if name in self.runs else None for name in names]}
            case "GET", ["changes"]:
                return self._changes(dict(request.query))
            case "POST", ["threads"]:
                self.threads.append(f"thread/{len(self.threads)}")
                return 201, {"id": self.threads[-1]}
            case "GET", ["threads", name]:
                return 200, {"runs": [self._shown(run) for run in self._visible() if run["thread"] == name]}
            case "GET", ["runs"]:
                tag = dict(request.query).get("tag")
                return 200, {"runs": [self._shown(run) for run in self._visible() if run["tag"] == tag]}
            case "GET", ["runs", name]:
                run = next((run for run in self._visible() if run["id"] == name), None)
                return (404, {"detail": "no such run"}) if run is None else (200, self._shown(run))
            case "GET", ["runs", name, "result"]:
                return 200, {**self._shown(self.runs[name]), "text": "all of it"}
            case "POST", ["runs", name, "cancel"]:
                return self._cancel(self.runs[name])
            case "POST", ["runs", name, "messages"]:
                self.runs[name]["at"] = now()
                return 200, None
            case _:
                return 405, {"detail": "method not allowed"}

    def _page(self, cursor: str | None) -> tuple[int, Any]:
        """Show a page of the runs, newest first, from behind the one that a cursor names."""
        names = list(reversed(self.runs))
        if cursor is not None and cursor.removeprefix("after:") not in names:
            return 400, {"detail": "unknown cursor"}
        start = 0 if cursor is None else names.index(cursor.removeprefix("after:")) + 1
        shown = names[start : start + self._size]
        more = start + self._size < len(names)
        return 200, {"runs": [self._shown(self.runs[n]) for n in shown], "next": f"after:{shown[-1]}" if more else None}

    def _changes(self, query: Mapping[str, str]) -> tuple[int, Any]:
        since, start = float(query["since"]) - EPOCH, int(query.get("cursor", 0))
        changed = [run for run in self.runs.values() if self._changed(run) >= since]
        shown = changed[start : start + self._size]
        following = str(start + self._size) if start + self._size < len(changed) else None
        return 200, {"runs": [self._shown(run) for run in shown], "next": following}

    def _changed(self, run: dict[str, Any]) -> float:
        """Return when a run changed last: when it was made, or came to its end."""
        end = float(run["at"] + run["life"])
        return end if now() >= end else float(run["at"])

    def _visible(self) -> list[dict[str, Any]]:
        return [run for run in self.runs.values() if now() - run["created"] >= self.lag]

    def _create(self, fields: dict[str, Any], headers: Mapping[str, str]) -> tuple[int, Any]:
        key = headers.get("Idempotency-Key") if self.keyed else None
        if key in self._keys:
            return 200, self._shown(self.runs[self._keys[key]])
        if fields.get("thread") not in (None, *self.threads):
            return 404, {"error": {"code": "no_thread", "message": "there is no such thread"}}
        if self.room is not None and sum(map(self._goes_on, self.runs.values())) >= self.room:
            return 429, {"error": {"code": "full", "message": "too many runs go on"}}
        name = fields.get("name") or f"run/{len(self.runs)}"
        if name in self.runs:
            return 409, {"error": {"code": "name_taken", "message": "there is one of this name"}}
        life = fields.get("life", DONE)
        run = {"id": name, "tag": fields.get("tag"), "at": now(), "created": now(), "life": life, "cancelled": False}
        self.runs[name] = run = {**run, "thread": fields.get("thread")}
        if key is not None:
            self._keys[key] = name
        return 201, self._shown(run)

    def _goes_on(self, run: dict[str, Any]) -> bool:
        return not (run["cancelled"] or self.script(run).startswith("done"))

    def _cancel(self, run: dict[str, Any]) -> tuple[int, Any]:
        if self.script(run).startswith("done"):
            return 409, {"error": {"code": "not_running", "message": "it has ended"}}
        run["cancelled"] = True
        return 202, {}

    def _shown(self, run: dict[str, Any]) -> dict[str, Any]:
        status = "stopped" if run["cancelled"] else self.script(run)
        return {"id": run["id"], "status": status, "created": EPOCH + run["created"], "cost": "0.25"}


def _usual(run: dict[str, Any]) -> str:
    return "done/ok" if now() - run["at"] >= run["life"] else "working"


class Plain(Dialect[HostedRun]):
    """The API with nothing that helps to create once."""

    name = "plain"
    base_url = "http://127.0.0.1:9/v1"
    token_variable = "PLAIN_TOKEN"
    rates: Mapping[str, Rate | Sequence[Rate]] = {"create": Rate(10, 10.0), "read": Rate(30, 10.0)}
    phases: Mapping[str, Phase] = {
        "WORKING": Phase.RUNNING,
        "asking": Phase.BLOCKED,
        "done": Phase.SUCCEEDED,
        "done/badly": Phase.FAILED,
        "stopped": Phase.CANCELLED,
    }
    headers: Mapping[str, str] = {"X-Version": "3"}

    def get(self, run_id: str) -> Call[HostedRun | None]:
        return Call(limit="read", path="/runs/{run}", values={"run": run_id}, read=one)

    def create(self, key: str, fields: Mapping[str, Any]) -> Call[HostedRun]:  # noqa: ARG002 - unused
        return Call(limit="create", method="POST", path="/runs", json=dict(fields), read=one)

    def cancel(self, run_id: str) -> Call[object]:
        return Call(limit="create", method="POST", path="/runs/{run}/cancel", values={"run": run_id}, read=nothing)

    def reply(self, run_id: str, text: str) -> Call[HostedRun | None]:
        return Call(
            limit="create",
            method="POST",
            path="/runs/{run}/messages",
            values={"run": run_id},
            json={"text": text},
            read=lambda _: None,
        )

    def refused(self, answer: Response) -> Refusal | None:
        codes = {"name_taken": Refusal.EXISTS, "not_running": Refusal.STILL, "full": Refusal.FULL}
        return codes.get(json.loads(answer.body).get("error", {}).get("code"))


class Named(Plain):
    """Runs have names of the caller's choice."""

    def create(self, key: str, fields: Mapping[str, Any]) -> Call[HostedRun]:
        body = {**fields, "name": key}
        return Call(limit="create", method="POST", path="/runs", json=body, read=one, twice=Twice.REFUSED)

    def find(self, key: str, since: float | None) -> Call[HostedRun | None]:  # noqa: ARG002 - unused
        return Call(limit="read", path="/runs", query={"tag": None}, read=lambda answer: bearing(answer, key))


class Tagged(Plain):
    """Runs bear tags, and can be listed by them."""

    def create(self, key: str, fields: Mapping[str, Any]) -> Call[HostedRun]:
        return Call(limit="create", method="POST", path="/runs", json={**fields, "tag": key}, read=one)

    def find(self, key: str, since: float | None) -> Call[HostedRun | None]:  # noqa: ARG002 - unused
        return Call(limit="read", path="/runs", query={"tag": key}, read=first)


class Misspelt(Tagged):
    """Asks for a key by a name that the API does not know, and so ignores."""

    def find(self, key: str, since: float | None) -> Call[HostedRun | None]:  # noqa: ARG002 - unused
        return Call(limit="read", path="/page", query={"label": key}, read=first)


class Threaded(Plain):
    """Runs belong to threads, and are listed by them."""

    def parent(self, fields: Mapping[str, Any]) -> Call[str]:  # noqa: ARG002 - unused
        return Call(limit="read", method="POST", path="/threads", read=lambda answer: json.loads(answer.body)["id"])

    def create(self, key: str, fields: Mapping[str, Any]) -> Call[HostedRun]:
        return Call(limit="create", method="POST", path="/runs", json={**fields, "thread": key}, read=one)

    def find(self, key: str, since: float | None) -> Call[HostedRun | None]:  # noqa: ARG002 - unused
        return Call(limit="read", path="/threads/{thread}", values={"thread": key}, read=first)


class Keyed(Plain):
    """The API knows keys."""

    def create(self, key: str, fields: Mapping[str, Any]) -> Call[HostedRun]:
        return Call(
            limit="create",
            method="POST",
            path="/runs",
            json=dict(fields),
            headers={"Idempotency-Key": key},
            read=one,
            twice=Twice.SAME,
        )


class Paged(Plain):
    """Runs are listed, newest first, by cursors."""

    rates: Mapping[str, Rate | Sequence[Rate]] = {"create": Rate(1000, 1.0), "read": Rate(60, 30.0)}
    sure = False

    def page(self, place: str | None) -> Call[Shown[HostedRun]]:
        return Call(limit="read", path="/page", query={"cursor": place}, read=self.shown)

    def shown(self, answer: Response) -> Shown[HostedRun]:
        fields = json.loads(answer.body)
        runs = [None if run is None else read_run(run) for run in fields["runs"]]
        return Shown(runs=runs, following=fields.get("next"), sure=self.sure)


class ByIds(Paged):
    """Runs are read by many ids."""

    many_at_most = 25
    sure = True

    def many(self, run_ids: Sequence[str]) -> Call[Shown[HostedRun]]:
        return Call(limit="read", path="/some", query={"ids": run_ids}, read=self.shown)


class Changing(Paged):
    """Runs are told when they change."""

    sure = True

    def changed(self, since: float, place: str | None) -> Call[Shown[HostedRun]]:
        return Call(limit="read", path="/changes", query={"since": since, "cursor": place}, read=self.shown)


class Settling(Plain):
    """Words pass, and a get shows no results."""

    settles: Mapping[str, float] = {"done": 30.0}

    def full(self, run: HostedRun) -> Call[HostedRun | None]:
        return Call(limit="read", path="/runs/{run}/result", values={"run": run.id}, read=one)


def read_run(fields: dict[str, Any]) -> HostedRun:
    return HostedRun(
        id=fields["id"],
        status=fields["status"],
        created=fields["created"],
        text=fields.get("text"),
        cost=Cost(float(fields["cost"]), "USD"),
        raw=fields,
    )


def one(answer: Response) -> HostedRun:
    return read_run(json.loads(answer.body))


def first(answer: Response) -> HostedRun | None:
    return next(map(read_run, json.loads(answer.body)["runs"]), None)


def bearing(answer: Response, key: str) -> HostedRun | None:
    return next((run for run in map(read_run, json.loads(answer.body)["runs"]) if run.id == key), None)


def nothing(_: Response) -> None:
    return None
