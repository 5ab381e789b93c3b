"""Take the tokens in use out of text from elsewhere: a server may say back what it was sent, as it is or encoded.

A token counts as shown in any case and width of letters, in the escapes of JSON, URLs, HTML, programs and mails or
several of them within one another, in base64 and in hex, and also in pieces: a third of it is too much.
"""

from __future__ import annotations

import html
import re
import string
import threading
import unicodedata
import weakref
from base64 import b64encode
from collections.abc import Iterable, Iterator

_SHORTEST = 8
"""Characters that a piece has at least; tokens shorter than that are looked for as a whole."""

_LEAST = 10  # characters of a token that is looked for everywhere: a shorter one is made up, and a word of our own
_DEEPEST = 4  # encodings within one another
_ESCAPE = re.compile(
    r"\\u([0-9a-fA-F]{4})|\\u\{0*([0-9a-fA-F]{2})\}|\\U000000([0-9a-fA-F]{2})|\\x([0-9a-fA-F]{2})|[%=]([0-9a-fA-F]{2})"
    r"|\\([0-7]{3})|\\(/)"
)
_MARKS = "%\\="  # what escapes begin with
_UNSEEN = ("Cc", "Cf", "Mn", "Me")  # categories of Unicode
_FOLD = {ord(letter): ord(letter.lower()) for letter in string.ascii_uppercase}  # keeps the length of any text

_lock = threading.Lock()
_in_use: tuple[weakref.ref[Traces], ...] = ()


class Traces:
    """Know what a token looks like in text. Shows nothing of it itself.

    Args:
        token: the token.
        made_of_it: what is sent in its place, where a scheme encodes it; looked for as a whole.
    """

    __slots__ = ("__weakref__", "_forms")

    def __init__(self, token: str, *made_of_it: str) -> None:
        forms = (token, _decoded(token), token.encode().hex(), *_in_base64(token.encode()))
        pieces = [_Form(form, max(_SHORTEST, len(form) // 3)) for form in _each(forms)]
        self._forms = (*pieces, *(_Form(form, len(form)) for form in _each(made_of_it)))

    def hide(self, text: str) -> str:
        """Return the text without the token; decoded, where it takes that to find it."""
        plain = _decoded(text)
        if plain != text and self._shows(plain):
            text = plain
        for form in self._forms:
            text = form.hide(text)
        return text

    def _shows(self, text: str) -> bool:
        folded = text.translate(_FOLD)
        return any(next(form.places(folded), None) for form in self._forms)


class _Form:
    """One way to write a token."""

    __slots__ = ("_chunks", "_size", "_text")

    def __init__(self, text: str, size: int) -> None:
        self._text = text
        self._size = min(len(text), size)  # of the smallest piece
        step = (self._size + 1) // 2  # every piece of that size has one of these chunks whole
        self._chunks = [(at, text[at : at + step]) for at in range(0, len(text) - step + 1, step)]

    def places(self, folded: str) -> Iterator[tuple[int, int]]:
        """Yield where pieces begin and end."""
        for at, chunk in self._chunks:
            found = folded.find(chunk)
            while found >= 0:
                start = found - _reach(folded, found - 1, self._text, at - 1, -1)
                end = found + _reach(folded, found, self._text, at, 1)
                if end - start >= self._size:
                    yield start, end
                found = folded.find(chunk, found + 1)

    def hide(self, text: str) -> str:
        """Return a text without its pieces."""
        shown, last = "", 0
        for start, end in sorted(self.places(text.translate(_FOLD))):
            if start >= last:
                shown += f"{text[last:start]}***"
            last = max(last, end)
        return shown + text[last:] if last else text


def hide(text: str) -> str:
    """Return a text without any of the tokens in use."""
    for known in _in_use:
        if (traces := known()) is not None:
            text = traces.hide(text)
    return text


def hide_from_now_on(token: str, *made_of_it: str) -> Traces:
    """Return the `Traces` of a token, which `hide` looks for as long as they are kept."""
    global _in_use  # noqa: PLW0603 - replaced as a whole, so that `hide` needs no lock
    traces = Traces(token, *made_of_it)
    if len(token) >= _LEAST:
        with _lock:
            _in_use = (*(known for known in _in_use if known() is not None), weakref.ref(traces))
    return traces


def _each(texts: Iterable[str]) -> Iterable[str]:
    return dict.fromkeys(text.translate(_FOLD) for text in texts if text)  # of a short token base64 leaves nothing


def _reach(text: str, place: int, other: str, at: int, step: int) -> int:
    """Return for how many characters two texts are the same, from a place in each, forward or backward."""
    length = 0
    while 0 <= place < len(text) and 0 <= at < len(other) and text[place] == other[at]:
        place, at, length = place + step, at + step, length + 1
    return length


def _decoded(text: str) -> str:
    """Return a text without the escapes of JSON, URLs, HTML, programs and mails, its letters in their usual form."""
    for _ in range(_DEEPEST):
        plain = text if text.isascii() else _ascii(text)
        plain = _ESCAPE.sub(_unescaped, plain) if any(mark in plain for mark in _MARKS) else plain
        plain = html.unescape(plain) if "&" in plain else plain
        if plain == text:
            break
        text = plain
    return text


def _ascii(text: str) -> str:
    """Return a text in the usual form of its letters, without what is not seen between them."""
    return "".join(sign for sign in unicodedata.normalize("NFKD", text) if unicodedata.category(sign) not in _UNSEEN)


def _unescaped(match: re.Match[str]) -> str:
    *in_hex, octal, slash = match.groups()
    if slash:
        return slash
    code = int(octal, 8) if octal else int("".join(filter(None, in_hex)), 16)
    return chr(code) if " " <= chr(code) <= "~" else match[0]  # no other is in a token


def _in_base64(raw: bytes) -> Iterator[str]:
    """Yield what base64 makes of bytes, wherever they begin, without what their neighbours decide."""
    for before in range(3):
        coded = b64encode(bytes(before) + raw).decode().rstrip("=")
        inner = coded[(0, 2, 3)[before] : len(coded) - bool((before + len(raw)) % 3)]
        yield inner
        yield inner.replace("+", "-").replace("/", "_")
