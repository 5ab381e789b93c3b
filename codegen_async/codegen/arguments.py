"""Check arguments before anything is sent: a clear error here instead of a 422, or of a run nobody wanted."""

from __future__ import annotations

import asyncio
import base64
import binascii
import math
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from codegen_async.errors import InvalidArgumentError

LARGEST_ID = 2**63 - 1
LARGEST_PAGE = 100
_DEEPEST = 100  # levels of metadata; far below where encoders and servers give up
_DATA_URI = re.compile(r"data:[a-z]+/[a-z0-9.+-]+;base64,(?=.)", re.ASCII | re.IGNORECASE)
_IMAGE_STARTS = {
    b"\x89PNG\r\n\x1a\n": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    b"GIF87a": "image/gif",
    b"GIF89a": "image/gif",
}


def check_int(field: str, value: object, low: int, high: int) -> int:
    """Return the value if it is an integer in low..high.

    Raises:
        InvalidArgumentError: otherwise, also for booleans.
    """
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        bounds = f"an integer >= {low}" if high == LARGEST_ID and low < 1 else f"an integer in {low}..{_shown(high)}"
        raise InvalidArgumentError(field, value, bounds)
    return value


def check_id(field: str, value: object) -> int:
    """Return the value if it can be an id."""
    return check_int(field, value, 1, LARGEST_ID)


def check_text(field: str, value: object) -> str:
    """Return the value if it is text with something in it that can be sent as UTF-8."""
    if not isinstance(value, str) or not value.strip():
        raise InvalidArgumentError(field, value, "a text that is not blank")
    return _check_unicode(field, value)


def check_metadata(value: object) -> dict[str, Any]:
    """Return the metadata as a dict if it is JSON.

    Raises:
        InvalidArgumentError: for NaN and infinities (encoders turn them into null), keys that are no text, other types,
            and nesting beyond 100 levels, which is how a cycle looks.
    """
    if not isinstance(value, Mapping):
        raise InvalidArgumentError("metadata", value, "a mapping")
    metadata = dict(cast("Mapping[str, Any]", value))
    _check_json("metadata", metadata, _DEEPEST)
    return metadata


def _check_json(field: str, value: object, levels_left: int) -> None:
    if not levels_left:
        raise InvalidArgumentError("metadata", "a deeper one", f"at most {_DEEPEST} levels of nesting")
    if isinstance(value, Mapping):
        for key, item in cast("Mapping[object, object]", value).items():
            if not isinstance(key, str):
                raise InvalidArgumentError(field, key, "keys that are text")
            _check_json(f"{field}.{_check_unicode(field, key)}", item, levels_left - 1)
    elif isinstance(value, list | tuple):
        for index, item in enumerate(cast("Sequence[object]", value)):
            _check_json(f"{field}[{index}]", item, levels_left - 1)
    else:
        _check_scalar(field, value)


def _check_scalar(field: str, value: object) -> None:
    if isinstance(value, str):
        _check_unicode(field, value)
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise InvalidArgumentError(field, value, "a finite number, since JSON has no other")
    elif value is not None and not isinstance(value, int):  # bool is an int
        raise InvalidArgumentError(field, value, "what JSON knows: text, numbers, booleans, None, lists and mappings")


def _check_unicode(field: str, value: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InvalidArgumentError(field, value, "text without lone surrogates") from None
    return value


async def read_images(images: Iterable[object]) -> Sequence[str]:
    """Return images as base64 data URIs; a text that is none, or a path, names a file, read off the loop's thread.

    Raises:
        InvalidArgumentError: if a data URI is broken or a file cannot be read or is no PNG, JPEG, GIF or WebP image.
    """
    if isinstance(images, str | os.PathLike):
        raise InvalidArgumentError("images", images, "a list of data URIs or file paths")
    return [await _read_image(f"images[{index}]", image) for index, image in enumerate(images)]


async def _read_image(field: str, image: object) -> str:
    if isinstance(image, str) and image.startswith("data:"):
        return _check_data_uri(field, image)
    if not isinstance(image, str | os.PathLike):
        raise InvalidArgumentError(field, image, "a data URI or a file path")
    path = str(cast("str | os.PathLike[str]", image))
    try:
        content = await asyncio.to_thread(Path(path).read_bytes)
    except (OSError, ValueError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) and exc.strerror else str(exc)
        raise InvalidArgumentError(field, path, f"a readable file ({reason})") from None
    return f"data:{_image_type(field, path, content)};base64,{base64.b64encode(content).decode()}"


def _check_data_uri(field: str, uri: str) -> str:
    start = _DATA_URI.match(uri)
    try:
        if start is None:
            raise ValueError
        base64.b64decode(uri[start.end() :], validate=True)
    except (ValueError, binascii.Error):
        raise InvalidArgumentError(field, uri[:40], "data:<type>;base64,<content> with valid base64") from None
    return uri


def _image_type(field: str, path: str, content: bytes) -> str:
    for start, kind in _IMAGE_STARTS.items():
        if content.startswith(start):
            return kind
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "image/webp"
    raise InvalidArgumentError(field, path, "a PNG, JPEG, GIF or WebP image; give others as a data URI")


def _shown(number: int) -> str:
    return "2^63-1" if number == LARGEST_ID else str(number)
