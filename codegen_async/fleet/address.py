"""Read the URL of the place where a fleet meets, and show of it only what is no secret."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, unquote

from codegen_async.cleaning import clean
from codegen_async.errors import ConfigurationError
from codegen_async.hiding import hide_from_now_on
from codegen_async.secret import Masked

_EXPECTED = "sqlite:/path, postgresql://user:password@host:port/database, redis://host:port/number or rediss://..."
_URL = re.compile(
    r"(?P<scheme>[a-z]+)://((?P<user>[^@:/?#]*)(:(?P<password>[^@:/?#]*))?@)?"
    r"(?P<place>[^@/?#]*)(?P<path>/[^@?#]*)?(\?(?P<options>[^#]*))?"
)
_SECRETS = ("password", "sslpassword")  # options of libpq


def masked(url: Any) -> Any:
    """Return a URL, or whatever was given in its place, so that a variable of its name does not show it."""
    return Masked(url) if isinstance(url, str) else url


class Address:
    """Hold a URL that has no password in its repr, nor in any message or log, as long as this object lives.

    Args:
        url: as a user wrote it.

    Attributes:
        scheme: what it begins with.
        shown: what may be shown of it: neither who asks, nor his password, nor the options.
        url: all of it, masked.
        user, password: decoded and masked; None: not given.
        place: host and port, or several.
        path: what follows them; of a file its whole path.
        options: masked too.

    Raises:
        ConfigurationError: it is no URL of this kind. The message does not show it.
    """

    __slots__ = ("_kept", "options", "password", "path", "place", "scheme", "shown", "url", "user")

    def __init__(self, url: object) -> None:
        self.shown: str = ""  # as far as is known
        if not isinstance(url, str):
            raise ConfigurationError(f"fleet: expected {_EXPECTED}, got a value of type {type(url).__name__}")
        self.url: str = Masked(url)
        del url  # crash reporters show the variables of functions that raise
        if self.url != self.url.strip() or not self.url.isprintable():  # else one file would have two names
            raise ConfigurationError(
                "fleet: expected a URL with nothing around it, got spaces or characters that do not show"
            )
        parts = _parts(self.url)
        if parts is None:
            raise ConfigurationError(
                f"fleet: expected {_EXPECTED}, got something else (not shown here); in a user's name or a password"
                " write : / ? # @ % as %3A %2F %3F %23 %40 %25"
            )
        self.scheme: str = str(parts["scheme"])
        self.place: str = str(parts["place"])
        self.path: str = str(parts["path"])
        self.user: str | None = parts.get("user")
        self.password: str | None = parts.get("password")
        self.options: Mapping[str, str] = _options(parts["options"])
        self.shown = clean(f"{self.scheme}:{'' if self.scheme == 'sqlite' else '//'}{self.place}{self.path}")
        secrets = [self.password, *(self.options.get(name) for name in _SECRETS)]
        self._kept = [hide_from_now_on(secret) for secret in secrets if secret]

    def __repr__(self) -> str:
        return f"Address({self.shown!r})"


def _parts(url: str) -> Mapping[str, Masked] | None:
    """Return the parts of a URL, if it is one; raises nothing, as it knows the whole of it."""
    if url.startswith("sqlite:"):
        return {name: Masked(text) for name, text in _of_file(url.removeprefix("sqlite:")).items()}
    match = _URL.fullmatch(url)
    if match is None:
        return None
    parts = {name: Masked(match[name] or "") for name in ("scheme", "place", "path", "options")}
    return parts | {name: Masked(unquote(match[name])) for name in ("user", "password") if match[name]}


def _of_file(path: str) -> dict[str, str]:
    # What has two slashes more is how others write it.
    return {"scheme": "sqlite", "place": "", "path": path.removeprefix("//"), "options": ""}


def _options(text: str) -> Mapping[str, Masked]:
    return {name: Masked(value) for name, value in parse_qsl(text, keep_blank_values=True)}
