"""A token that does not show itself."""

from __future__ import annotations

import html
from collections.abc import Iterator
from typing import NoReturn
from urllib.parse import quote

from codegen_async.errors import ConfigurationError


class Secret:
    """Hold a token so that it appears in no repr, log, traceback or pickle.

    Args:
        value: the token; visible ASCII only, since anything else would break or forge an HTTP header.
        name: what the error message calls it.

    Raises:
        ConfigurationError: if it is empty or has other characters. The message does not show it.
    """

    __slots__ = ("_bearer", "_value")

    def __init__(self, value: str, name: str = "token") -> None:
        self._value = Masked(value)
        del value  # crash reporters show the variables of functions that raise
        if not self._value:
            raise ConfigurationError(f"{name}: expected the API token, got an empty text")
        if not all("!" <= character <= "~" for character in self._value):
            raise ConfigurationError(f"{name}: expected visible ASCII characters without spaces (not shown here)")
        self._bearer = Masked(f"Bearer {self._value}")

    def reveal(self) -> str:
        """Return the token itself (as a `str` whose repr is masked)."""
        return self._value

    def bearer(self) -> str:
        """Return the value of the Authorization header (as a `str` whose repr is masked)."""
        return self._bearer

    def scrub(self, text: str) -> str:
        """Return the text without the token, as it is or as JSON, HTML and URLs write it; for text from elsewhere."""
        for form in self._forms():
            text = text.replace(form, "***")
        return text

    def scrub_bytes(self, body: bytes) -> bytes:
        """Return the body without the token; see `scrub`."""
        for form in self._forms():
            body = body.replace(form.encode(), b"***")
        return body

    def _forms(self) -> Iterator[Masked]:
        yield self._value
        yield Masked(self._value.replace("/", "\\/"))
        yield Masked("".join(f"\\u{ord(character):04x}" for character in self._value))
        yield Masked(html.escape(self._value))
        yield Masked(quote(self._value, safe=""))

    def __repr__(self) -> str:
        return "Secret(***)"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return format(str(self), spec)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret cannot be pickled or copied")


class Masked(str):
    """Text whose repr is masked: frames of other libraries hold it in their locals, and tracebacks show those."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'"
