"""A token that does not show itself, and the headers that carry it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import NoReturn

from codegen_async.errors import ConfigurationError
from codegen_async.hiding import Traces, hide_from_now_on

Auth = Callable[[str], Mapping[str, str]]
"""Turn a token into the headers that carry it."""

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_SHORTEST_FORM = 8  # characters; a shorter piece of a header is no form of a token, but a word of the scheme


def bearer(token: str) -> Mapping[str, str]:
    """Send the token as a bearer token (RFC 6750)."""
    return {"Authorization": f"Bearer {token}"}


class Secret:
    """Hold a token so that it appears in no repr, log, traceback or pickle.

    Args:
        value: the token; visible ASCII only, since anything else would break or forge an HTTP header.
        name: what the error message calls it.
        auth: the headers that carry it. What they make of it (base64, say) is scrubbed as the token is.

    Raises:
        ConfigurationError: if it is empty or has other characters, or the headers cannot be sent. The message does not
            show it.
    """

    __slots__ = ("_encoded", "_headers", "_traces", "_value")

    def __init__(self, value: str, name: str = "token", auth: Auth = bearer) -> None:
        is_text = isinstance(value, str)  # pyright: ignore[reportUnnecessaryIsInstance] - not everybody checks types
        self._value = Masked(value)
        del value  # crash reporters show the variables of functions that raise
        if not is_text:
            raise ConfigurationError(f"{name}: expected a text (what was given is not shown)")
        if not self._value:
            raise ConfigurationError(f"{name}: expected the API token, got an empty text")
        if not all("!" <= character <= "~" for character in self._value):
            raise ConfigurationError(f"{name}: expected visible ASCII characters without spaces (not shown here)")
        self._headers = _headers_of(auth, self._value)
        self._encoded = tuple(
            Masked(piece)
            for text in self._headers.values()
            for piece in text.split()
            if len(piece) >= _SHORTEST_FORM and piece not in self._value
        )
        self._traces: Traces | None = None

    def reveal(self) -> str:
        """Return the token itself (as a `str` whose repr is masked)."""
        return self._value

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers that carry it (each a `str` whose repr is masked)."""
        return self._headers

    def scrub(self, text: str) -> str:
        """Return the text without the token, however it is written there; see `hiding`. For text from elsewhere."""
        if self._traces is None:
            self._traces = Traces(self._value, *self._encoded)
        return self._traces.hide(text)

    def hide_everywhere(self) -> None:
        """Let no message and no log show it from now on, as long as this object lives."""
        self._traces = hide_from_now_on(self._value, *self._encoded)

    def __repr__(self) -> str:
        return "Secret(***)"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return format(str(self), spec)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret cannot be pickled or copied")


def _headers_of(auth: Auth, token: str) -> dict[str, str]:
    """Return the headers that carry a token, masked; neither errors nor the variables here show what is in them."""
    try:
        headers: dict[str, str] = {Masked(name): _masked(text) for name, text in auth(token).items()}
    except Exception as problem:  # noqa: BLE001 - whatever it raises may quote the token
        raise ConfigurationError(f"auth: expected headers by their names, got {type(problem).__name__}") from None
    if not all(is_header(name, text) for name, text in headers.items()):
        raise ConfigurationError("auth: expected headers of visible ASCII, got others (not shown here)")
    return headers


def _masked(text: object) -> str:
    return Masked(text if isinstance(text, str) else "\0")  # which is no header


def is_header(name: object, value: object) -> bool:
    """Whether a name and a value can be sent as a header, and forge no other."""
    if not isinstance(name, str) or not isinstance(value, str):
        return False
    return bool(_NAME.fullmatch(name)) and all(" " <= character <= "~" for character in value)


class Masked(str):
    """Text whose repr is masked: frames of other libraries hold it in their locals, and tracebacks show those."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'"
