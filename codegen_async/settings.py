"""Check what a client is set up with. Light: imports no HTTP library."""

from __future__ import annotations

import ipaddress
import math
import os
import sys
from collections.abc import Mapping
from typing import cast
from urllib.parse import urlsplit

import msgspec

from codegen_async.cleaning import clean, shown
from codegen_async.errors import ConfigurationError
from codegen_async.models import Phase
from codegen_async.numeric import is_number, is_whole
from codegen_async.secret import Masked, Secret

_PORTS = {"http": 80, "https": 443}


class Timeouts(msgspec.Struct, frozen=True, kw_only=True):
    """Bound one attempt. Waiting for a slot does not count.

    Attributes:
        connect: seconds to connect, TLS included.
        read: seconds without a byte.
        total: seconds from the slot to the last byte; ends an answer that drips.
    """

    connect: float = 10.0
    read: float = 30.0
    total: float = 60.0

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            check_seconds(f"timeouts.{name}", getattr(self, name), above=0.0)


class Fleet:
    """Say where processes that use the same token meet, to share its limits.

    Args:
        url: `sqlite:/path` for the processes of one host, `postgresql://...`, `redis://...` or `rediss://...`. It may
            hold a password, which shows nowhere.
        keep: slots of each limit that every process keeps, to go on with while the store is away. All of a fleet must
            give the same. Default 0: calls wait until it is back.
        keep_for: seconds for which they may be used then. Default 60.

    Raises:
        ConfigurationError: one of these cannot be right. The message does not show the URL.
    """

    def __init__(self, url: str, *, keep: int = 0, keep_for: float = 60.0) -> None:
        self.url: str = Masked(url)
        del url  # crash reporters show the variables of functions that raise
        if not is_whole(keep) or keep < 0:
            raise ConfigurationError(f"keep: expected a whole number of slots >= 0, got {shown(keep)}")
        self.keep: int = keep
        self.keep_for: float = check_seconds("keep_for", keep_for)

    def __repr__(self) -> str:
        return f"Fleet('***', keep={self.keep}, keep_for={self.keep_for:g})"


def check_phases(phases: Mapping[str, Phase | str] | None) -> dict[str, Phase]:
    """Return the phases that status words are to stand for, if they can be right.

    Raises:
        ConfigurationError: they cannot.
    """
    if phases is not None and not isinstance(phases, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance] - not everybody checks types
        raise ConfigurationError(f"phases: expected phases by status words, got {shown(phases)}")
    checked: dict[str, Phase] = {}
    given = cast("Mapping[object, str]", phases or {})
    for word, phase in given.items():
        if not isinstance(word, str) or not word.strip():
            raise ConfigurationError(f"phases: expected a status word, got {shown(word)}")
        try:
            checked[word] = Phase(phase.lower())
        except (ValueError, AttributeError):
            known = ", ".join(Phase)
            raise ConfigurationError(f"phases: expected one of {known} for {shown(word)}, got {shown(phase)}") from None
    return checked


def check_seconds(name: str, value: object, *, above: float = -1.0) -> float:
    """Return a number of seconds if it is finite and not negative (or greater than `above`).

    Raises:
        ConfigurationError: otherwise.
    """
    if not is_number(value) or not max(0, above) <= value <= sys.float_info.max or value == above:
        raise ConfigurationError(f"{name}: expected seconds {'> 0' if above >= 0 else '>= 0'}, got {shown(value)}")
    return float(value)


def from_environment(variable: str, name: str, *others: str) -> str:
    """Return the value of an environment variable that stands in for an argument, else that of the first other.

    Raises:
        ConfigurationError: if none is set.
    """
    for each in (variable, *others):
        if value := os.environ.get(each):
            return value
    raise ConfigurationError(f"{name}: give it as an argument or set {variable}")


def speed_of(base_url: str) -> float:
    """Return how many times faster than life the server's clock runs: 1.0 for every server that is not simulated.

    A simulated server's other speed is told by `CODEGEN_ASYNC_SPEED=SPEED@URL`, as `codegen-async fake serve` prints
    it. It holds for exactly this URL, and only on this machine: it makes a client's limits as much higher.

    Raises:
        ConfigurationError: the variable says something else.
    """
    told = os.environ.get("CODEGEN_ASYNC_SPEED", "")
    if not told:
        return 1.0
    text, _, url = told.partition("@")
    try:
        speed, host = float(text), urlsplit(url).hostname or ""
    except ValueError:
        speed, host = 0.0, ""
    if not 0 < speed < math.inf or not is_loopback(host):
        raise ConfigurationError(
            f"CODEGEN_ASYNC_SPEED: expected SPEED@URL of a simulated server on this machine, got {shown(told)}"
        )
    return speed if url.rstrip("/") == base_url else 1.0


def check_base_url(url: str, *, paths_begin: str = "/v1") -> str:
    """Return the base URL without a slash at its end; `paths_begin` is what every call adds to it.

    Raises:
        ConfigurationError: if it is not https (http only towards this machine), or carries a user, query or fragment.
    """
    if not _is_plain(url):  # parsers differ in what they make of others
        raise ConfigurationError(
            "base_url: expected visible ASCII characters (a host name with others in its IDNA form)"
        )
    try:
        parts = urlsplit(url)
        host = parts.hostname
        (host or "").encode("idna")  # labels that are empty or too long fail here, and not when the host is looked up
        port_is_valid = parts.port is None or parts.port > 0
    except ValueError:
        raise ConfigurationError("base_url: expected a URL such as https://api.example.com") from None
    place = f"{parts.netloc}{parts.path}".rpartition("@")[2]  # without a //, a user stands in the path
    seen = clean(f"{parts.scheme}://{place}" if parts.scheme else place)
    if not host or not port_is_valid or parts.scheme not in ("https", "http"):
        raise ConfigurationError(f"base_url: expected a URL such as https://api.example.com, got {seen!r}")
    if "@" in parts.netloc or "?" in url or "#" in url:
        raise ConfigurationError(f"base_url: expected no user, query or fragment beside {seen!r}")
    if parts.scheme == "http" and not is_loopback(host):
        raise ConfigurationError(f"base_url: expected https, since http would show the token to others, got {seen!r}")
    # Else every call would be a 404 that reads like "no such run".
    if paths_begin and parts.path.rstrip("/").endswith(paths_begin):
        raise ConfigurationError(f"base_url: expected it without {paths_begin}, which every call adds, got {seen!r}")
    return url.rstrip("/")


def one_spelling(base_url: str) -> str:
    """Return a base URL that was checked, the same for all ways to write it."""
    parts = urlsplit(base_url)
    port = "" if parts.port in (None, _PORTS.get(parts.scheme)) else f":{parts.port}"
    host = (parts.hostname or "").removesuffix(".")
    host = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{host}{port}{parts.path.rstrip('/')}"


def check_proxy(url: object) -> Secret:
    """Return the URL of a proxy, which may hold a password.

    Raises:
        ConfigurationError: if it is not http or https with a host and, where wanted, a port, a user and a password. The
            message does not show it.
    """
    secret = Secret(url, "proxy") if isinstance(url, str) and _is_proxy(url) else None
    del url  # crash reporters show the variables of functions that raise
    if secret is None:
        example = "http://user:password@proxy.example:3128"
        raise ConfigurationError(f"proxy: expected a URL such as {example} (what was given is not shown)")
    return secret


def _is_proxy(url: str) -> bool:
    try:
        parts = urlsplit(url)
        valid = _is_plain(url) and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
    return valid and parts.scheme in ("http", "https") and not parts.path.strip("/") and not parts.query


def _is_plain(url: object) -> bool:
    return isinstance(url, str) and all("!" <= character <= "~" for character in url)


def is_loopback(host: str) -> bool:
    """Whether a host is this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
