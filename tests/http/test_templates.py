"""Every request has a template: what is the same of all requests of its kind."""

from typing import Any

import pytest

from codegen_async.codegen.dialect import CodegenDialect
from codegen_async.hosted.dialect import Call
from codegen_async.middesk import requests as middesk
from codegen_async.middesk.decoding import make_page_decoder

CODEGEN = CodegenDialect(323)
RUN = "/v1/organizations/{org_id}/agent/run"

TEMPLATES: list[tuple[Call[Any], str]] = [
    (CODEGEN.create("k", {"prompt": "x"}), RUN),
    (CODEGEN.resume(17, {"prompt": "x"}), f"{RUN}/resume"),
    (CODEGEN.get("17"), f"{RUN}/{{run_id}}"),
    (CODEGEN.list(200, 100), "/v1/organizations/{org_id}/agent/runs"),
    (CODEGEN.logs(17, 0, 100, reverse=True), "/v1/alpha/organizations/{org_id}/agent/run/{run_id}/logs"),
    (middesk.get("a/b"), "/v1/runs/{run_id}"),
    (middesk.page(1, 100, make_page_decoder().decode), "/v1/runs"),
    (middesk.create({}), "/v1/runs"),
    (middesk.resume("17", {}, include_steps=False), "/v1/runs/{run_id}/resume"),
    (middesk.feedback("17", {}), "/v1/runs/{run_id}/feedback"),
    (middesk.stream("17"), "/v1/runs/{run_id}/stream"),
    (middesk.thread("17"), "/v1/threads/{thread_id}"),
    (middesk.create_thread({}), "/v1/threads"),
    (middesk.agents(), "/v1/agents"),
]


@pytest.mark.parametrize(("call", "template"), TEMPLATES)
def test_a_request_knows_its_template(call: Call[Any], template: str) -> None:
    assert call.request({}).template == template


@pytest.mark.parametrize(("call", "template"), TEMPLATES)
def test_the_path_is_the_template_with_values(call: Call[Any], template: str) -> None:
    names = {"org_id": 323, "run_id": 17, "thread_id": 17}
    assert call.request({}).path in (template.format(**names), template.format(**names | {"run_id": "a%2Fb"}))
