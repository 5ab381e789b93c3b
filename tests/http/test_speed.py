"""`CODEGEN_ASYNC_SPEED`: clients of a simulated server whose clock runs fast."""

import pytest

from codegen_async import CodegenClient, ConfigurationError, MiddeskClient, Rate
from codegen_async.settings import speed_of
from tests.support.clients import ORG, open_client

URL = "http://127.0.0.1:8017"


def rates(client: CodegenClient | MiddeskClient, *endpoints: str) -> list[Rate]:
    return [client.limiter(endpoint).rate for endpoint in endpoints]


def test_limits_are_as_much_higher(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CODEGEN_ASYNC_SPEED", f"60@{URL}")
    client = open_client(f"{URL}/", rates={"get": Rate(30, 30.0)})
    assert rates(client, "create", "get") == [Rate(10, 1.0), Rate(30, 0.5)]
    assert rates(MiddeskClient("key", base_url=URL), "all") == [Rate(20, 1 / 60)]


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:8018", "http://localhost:8017", "https://api.codegen.com", f"{URL}/more"]
)
def test_no_other_server_is_asked_more(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("CODEGEN_ASYNC_SPEED", f"60@{URL}")
    assert rates(open_client(url), "create") == [Rate(10, 60.0)]


@pytest.mark.parametrize(
    "told",
    [
        "60",
        "@",
        f"0@{URL}",
        f"-1@{URL}",
        f"nan@{URL}",
        f"inf@{URL}",
        f"fast@{URL}",
        "60@https://api.codegen.com",
        "60@[",
    ],
)
def test_anything_else_is_refused_before_a_request(monkeypatch: pytest.MonkeyPatch, told: str) -> None:
    monkeypatch.setenv("CODEGEN_ASYNC_SPEED", told)
    with pytest.raises(ConfigurationError, match="CODEGEN_ASYNC_SPEED: expected SPEED@URL"):
        CodegenClient(org_id=ORG)


def test_without_it_nothing_is_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CODEGEN_ASYNC_SPEED", raising=False)
    assert speed_of(URL) == 1.0
