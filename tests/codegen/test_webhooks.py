"""Webhooks of single runs: what is sent, and what is refused without showing a secret."""

from typing import Any

import pytest

from codegen_async import CodegenClient, InvalidArgumentError
from codegen_async.codegen.webhooks import check_webhooks
from codegen_async.testing import CodegenServer

pytestmark = pytest.mark.asyncio(loop_factories=["virtual"])

HOOK = {"url": "https://example.com/hook", "secret": "s3cret-of-the-hook"}


def client_of(server: CodegenServer) -> CodegenClient:
    return CodegenClient(server.token, org_id=server.org_id, base_url=server.url)


async def test_a_create_and_a_resume_send_webhooks(codegen_server: CodegenServer) -> None:
    async with client_of(codegen_server) as client:
        run = await client.create_run("x", webhooks=[HOOK])  # type: ignore[list-item]
        made = codegen_server.world.runs[run.id]
        assert made.webhooks == [HOOK]
        await client.resume_run(run.id, "y", model="m", webhooks=[{"url": "http://example.com"}])
    assert made.webhooks == [{"url": "http://example.com", "secret": None}]
    assert made.model == "m"


@pytest.mark.parametrize(
    ("webhooks", "field"),
    [
        ("https://example.com", "webhooks"),
        (HOOK, "webhooks"),
        (7, "webhooks"),
        (["https://example.com"], "webhooks[0]"),
        ([HOOK, None], "webhooks[1]"),
        ([{}], "webhooks[0].url"),
        ([HOOK, {"url": " "}], "webhooks[1].url"),
        ([{**HOOK, "url": "example.com/hook"}], "webhooks[0].url"),
        ([{**HOOK, "url": "ftp://example.com"}], "webhooks[0].url"),
        ([{**HOOK, "url": "https://exa mple.com"}], "webhooks[0].url"),
        ([{**HOOK, "url": "https://[::1"}], "webhooks[0].url"),
        ([{**HOOK, "events": []}], "webhooks[0]"),
        ([{**HOOK, "secret": ["s3cret-of-the-hook"]}], "webhooks[0].secret"),
        ([{**HOOK, "secret": "s3cret-of-the-hook\ud83d"}], "webhooks[0].secret"),
    ],
)
async def test_what_is_no_webhook_is_refused_by_name(webhooks: Any, field: str, codegen_server: CodegenServer) -> None:
    async with client_of(codegen_server) as client:
        for call in (client.create_run("x", webhooks=webhooks), client.resume_run(1, "x", webhooks=webhooks)):
            with pytest.raises(InvalidArgumentError) as caught:
                await call
            assert caught.value.field == field
            assert "s3cret-of-the-hook" not in str(caught.value) + repr(vars(caught.value))
    assert not codegen_server.requests


async def test_what_is_no_webhook_is_told_by_its_type_and_not_shown() -> None:
    with pytest.raises(InvalidArgumentError, match=r"webhooks\[0\]: expected an object .*, got <class 'str'>"):
        check_webhooks(["https://user:s3cret-of-the-hook@example.com"])
