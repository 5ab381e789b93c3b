"""Where a client may send its token, and how long it may wait."""

import math
from typing import Any

import pytest
from yarl import URL

from codegen_async.errors import ConfigurationError
from codegen_async.settings import Timeouts, check_base_url, check_seconds, from_environment


@pytest.mark.parametrize(
    ("given", "host", "path"),
    [
        ("https://api.example.com", "api.example.com", "/v1"),
        ("https://api.example.com/", "api.example.com", "/v1"),
        ("https://api.example.com:8443/proxy//", "api.example.com", "/proxy/v1"),
        ("HTTPS://api.example.com", "api.example.com", "/v1"),
        ("https://xn--exmple-cua.com", "xn--exmple-cua.com", "/v1"),
        ("http://localhost:8080", "localhost", "/v1"),
        ("http://127.0.0.1", "127.0.0.1", "/v1"),
        ("http://127.8.9.10", "127.8.9.10", "/v1"),
        ("http://[::1]:8080", "::1", "/v1"),
    ],
)
def test_a_base_url_leads_where_it_says(given: str, host: str, path: str) -> None:
    url = URL(f"{check_base_url(given)}/v1", encoded=True)  # as the sender reads it
    assert (url.raw_host, url.path) == (host, path)


@pytest.mark.parametrize(
    "given",
    [
        "",
        "api.example.com",
        "//api.example.com",
        "ftp://api.example.com",
        "file:///etc/passwd",
        "https:///v1",
        "https://[::1",
        "https://api.example.com:0",
        "https://api.example.com:99999",
        "https://api.example.com:port",
        "https://api.example.com?",
        "https://api.example.com?a=b",
        "https://api.example.com#",
        "https://api.example.com/#a",
        "https://user@api.example.com",
        "https://@api.example.com",
        "https://api.example.com\n",
        "https://api.exa\nmple.com",
        " https://api.example.com",
        "https://api.example.com/a b",
        "https://api.example.com/\r\nX-Evil: 1",
        "https://ex\u00e4mple.com",
        "https://api.example.com\u3002evil.example",
    ],
)
def test_a_base_url_that_could_be_misread_is_refused(given: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^base_url: expected"):
        check_base_url(given)


@pytest.mark.parametrize(
    "host",
    [
        "api.example.com",
        "10.0.0.1",
        "0.0.0.0",  # noqa: S104 - refused
        "127.1",
        "0x7f000001",
        "localhost.",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "127.0.0.1%2eevil.example",
        "127.0.0.1\\.evil.example",
        "[fe80::1]",
    ],
)
def test_plain_http_is_for_this_machine_only(host: str) -> None:
    with pytest.raises(ConfigurationError, match="expected https"):
        check_base_url(f"http://{host}")


def test_an_error_does_not_show_a_password() -> None:
    with pytest.raises(ConfigurationError) as caught:
        check_base_url("https://user:hunter2@api.example.com")
    assert "api.example.com" in str(caught.value)
    assert "hunter2" not in str(caught.value)
    assert "user" not in str(caught.value).replace("no user", "")


@pytest.mark.parametrize("value", [-1, -0.001, math.nan, math.inf, -math.inf, "1", None, [1]])
def test_seconds_are_finite_and_not_negative(value: Any) -> None:
    with pytest.raises(ConfigurationError, match="latency: expected seconds >= 0"):
        check_seconds("latency", value)


@pytest.mark.parametrize("value", [0, 0.0, 5, 1e9])
def test_seconds_are_kept(value: float) -> None:
    assert check_seconds("latency", value) == value


@pytest.mark.parametrize("name", ["connect", "read", "total"])
@pytest.mark.parametrize("value", [0, -1, math.inf, math.nan])
def test_timeouts_are_finite_and_positive(name: str, value: float) -> None:
    with pytest.raises(ConfigurationError, match=f"timeouts.{name}: expected seconds > 0"):
        Timeouts(**{name: value})


def test_the_environment_stands_in_for_an_argument(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CODEGEN_ORG_ID", "323")
    assert from_environment("CODEGEN_ORG_ID", "org_id") == "323"
    for value in ("", None):
        monkeypatch.delenv("CODEGEN_ORG_ID") if value is None else monkeypatch.setenv("CODEGEN_ORG_ID", value)
        with pytest.raises(ConfigurationError, match="org_id: give it as an argument or set CODEGEN_ORG_ID"):
            from_environment("CODEGEN_ORG_ID", "org_id")
