"""Dialects that are not as they should be, and what their users give them: each is told what is wrong."""

import uuid
from collections.abc import Mapping
from typing import Any

import pytest

from codegen_async.errors import InvalidArgumentError
from codegen_async.hosted.dialect import Call
from codegen_async.hosted.run import HostedRun
from codegen_async.hosted.runs import HostedRuns
from codegen_async.middesk.dialect import MiddeskDialect
from tests.hosted.api import Api, Plain
from tests.support.canary import CANARY

pytestmark = pytest.mark.asyncio(loop_factories=["virtual"])


class Wanting(Plain):
    """Wants a task, and a UUID for a key."""

    def create(self, key: str, fields: Mapping[str, Any]) -> Call[HostedRun]:
        return super().create(str(uuid.UUID(key)), {"task": fields["task"], "hint": fields.get("hint")})


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({}, "^task: expected a value, as Wanting.create makes no run without it, got None$"),
        ({"Task": "a"}, "^task: expected a value, .* without it: is it 'Task'\\?, got None$"),
        ({"task": object()}, r"^fields: expected what Wanting.create takes \(TypeError: .*\), got \['task'\]$"),
        ({"task": "a", "idempotency_key": "k"}, r"^idempotency_key: expected what Wanting.create takes \(ValueError: "),
    ],
)
async def test_what_cannot_make_a_run_is_refused_by_its_name(fields: dict[str, Any], complaint: str) -> None:
    api = Api()
    async with HostedRuns(Wanting(), CANARY, sender=api) as runs:
        with pytest.raises(InvalidArgumentError, match=complaint):
            await runs.create_run(**fields)
    assert not api.requests


@pytest.mark.parametrize(("fields", "missing"), [({}, "type"), ({"type": "x"}, "business_id")])
async def test_a_middesk_run_without_what_it_is_about_is_refused_by_its_name(
    fields: dict[str, Any], missing: str
) -> None:
    api = Api()
    async with HostedRuns(MiddeskDialect(), CANARY, sender=api) as runs:
        with pytest.raises(InvalidArgumentError, match=f"^{missing}: expected a value, as MiddeskDialect.create makes"):
            await runs.create_run(**fields)
    assert not api.requests


async def test_no_value_of_a_field_is_in_a_complaint() -> None:
    class Stumbling(Plain):
        def create(self, key: str, fields: Mapping[str, Any]) -> Call[HostedRun]:  # noqa: ARG002 - unused
            raise TypeError("no such thing")

    async with HostedRuns(Stumbling(), CANARY, sender=Api()) as runs:
        with pytest.raises(InvalidArgumentError, match="no such thing") as caught:
            await runs.create_run(task="a", password="hunter2")
    assert "hunter2" not in f"{caught.value!r} {vars(caught.value)}"


async def test_a_variable_that_is_called_as_the_dialect_leads_a_script_to_another_server(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PLAIN_BASE_URL", "http://127.0.0.1:9")
    assert HostedRuns(Plain(), CANARY).base_url == "http://127.0.0.1:9"
    assert HostedRuns(Plain(), CANARY, base_url="http://127.0.0.1:8").base_url == "http://127.0.0.1:8"
    monkeypatch.setenv("PLAIN_BASE_URL", "")
    assert HostedRuns(Plain(), CANARY).base_url == Plain.base_url
