"""Where keys belong: those of tests are for the sandbox only, the others for the live API only."""

from __future__ import annotations

from urllib.parse import urlsplit

from codegen_async.cleaning import clean
from codegen_async.errors import ConfigurationError
from codegen_async.middesk.dialect import BASE_URL
from codegen_async.secret import Secret
from codegen_async.settings import is_loopback

SANDBOX_URL = "https://api-sandbox.middesk.com"

_HOSTS = {"mk_test_": "api-sandbox.middesk.com", "mk_live_": "api.middesk.com"}


def home_of(token: Secret) -> str:
    """Return the base URL of the API that a key is for."""
    return SANDBOX_URL if token.reveal().startswith("mk_test_") else BASE_URL


def check_host(base_url: str, token: Secret) -> None:
    """Refuse a key where it does not belong.

    Raises:
        ConfigurationError: it is for another host. The message does not show it.
    """
    host = urlsplit(base_url).hostname or ""
    for prefix, home in _HOSTS.items():
        if token.reveal().startswith(prefix) and host != home and not is_loopback(host):
            raise ConfigurationError(f"token: keys that begin with {prefix} are for {home} only, not for {clean(host)}")
