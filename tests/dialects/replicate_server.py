"""A strict server of Replicate's predictions, as far as its pages say."""

import json
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from codegen_async import Rate
from codegen_async.testing import Answer, Refusal, Route, SimulatedServer

RATES = {"create": Rate(600, 60.0), "others": Rate(3000, 60.0)}


class ReplicateServer(SimulatedServer):
    """Run predictions for ten seconds; the input `{"fail": true}` makes one fail.

    Args:
        rates: limits that replace those of the pages.
        credit: how many predictions are paid for.
    """

    def __init__(self, *, rates: Mapping[str, Rate] = RATES, credit: int = 1000) -> None:
        super().__init__(rates=rates)
        self.predictions: dict[str, dict[str, Any]] = {}
        self.credit = credit
        self.pages = 0

    def routes(self) -> list[Route]:
        """Return what its pages call create, list, get and cancel."""
        return [
            Route("POST", "/predictions", "create", self._create),
            Route("GET", "/predictions", "others", self._list),
            Route("GET", "/predictions/{id}", "others", self._get),
            Route("POST", "/predictions/{id}/cancel", "others", self._cancel),
        ]

    def _create(self, _: web.Request, body: bytes) -> Answer:
        fields = json.loads(body)
        if set(fields) - {"version", "input"} or not isinstance(fields.get("input"), dict) or "version" not in fields:
            raise Refusal(422, {"detail": "expected version and input", "status": 422, "title": "Unprocessable"})
        if len(self.predictions) >= self.credit:
            raise Refusal(402, {"detail": "You have insufficient credit to run this model.", "status": 402})
        name, created_at = f"p{len(self.predictions)}", self.date().isoformat()
        prediction = {**fields, "id": name, "at": self.now(), "created_at": created_at, "canceled": False}
        self.predictions[name] = prediction
        return Answer(201, self._shown(prediction))

    def _list(self, request: web.Request, _: bytes) -> dict[str, Any]:
        """Return a page of 100, newest first; a cursor stands behind the prediction that it names."""
        self.pages += 1
        names = list(reversed(self.predictions))
        start = names.index(request.query["cursor"]) + 1 if "cursor" in request.query else 0
        shown = names[start : start + 100]
        more = start + 100 < len(names)
        following = f"{self.url}/predictions?cursor={shown[-1]}" if more else None
        return {"previous": None, "next": following, "results": [self._shown(self.predictions[n]) for n in shown]}

    def _get(self, request: web.Request, _: bytes) -> dict[str, Any]:
        return self._shown(self._find(request))

    def _cancel(self, request: web.Request, _: bytes) -> dict[str, Any]:
        prediction = self._find(request)
        prediction["canceled"] |= self._status(prediction) in ("starting", "processing")
        return self._shown(prediction)

    def _find(self, request: web.Request) -> dict[str, Any]:
        prediction = self.predictions.get(request.match_info["id"])
        if prediction is None:
            raise Refusal(404, {"detail": "The requested resource could not be found.", "status": 404})
        return prediction

    def _status(self, prediction: dict[str, Any]) -> str:
        age = self.now() - prediction["at"]
        if prediction["canceled"]:
            return "canceled"
        if age < 1:
            return "starting"
        if age < 10:
            return "processing"
        return "failed" if prediction["input"].get("fail") else "succeeded"

    def _shown(self, prediction: dict[str, Any]) -> dict[str, Any]:
        status = self._status(prediction)
        return {
            "id": prediction["id"],
            "status": status,
            "input": prediction["input"],
            "created_at": prediction["created_at"],
            "output": ["Hello", ", world"] if status == "succeeded" else None,
            "error": "the model raised" if status == "failed" else None,
            "metrics": {"predict_time": 9.0} if status in ("succeeded", "failed") else {},
            "urls": {"web": f"https://replicate.com/p/{prediction['id']}"},
        }
