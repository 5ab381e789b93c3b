"""Read the images that a run is given."""

from __future__ import annotations

import asyncio
import base64
import binascii
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import cast

from codegen_async.errors import InvalidArgumentError

_DATA_URI = re.compile(r"data:[a-z]+/[a-z0-9.+-]+;base64,(?=.)", re.ASCII | re.IGNORECASE)
_IMAGE_STARTS = {
    b"\x89PNG\r\n\x1a\n": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    b"GIF87a": "image/gif",
    b"GIF89a": "image/gif",
}


async def read_images(images: Iterable[object]) -> Sequence[str]:
    """Return images as base64 data URIs; a text that is none, or a path, names a file, read off the loop's thread.

    Raises:
        InvalidArgumentError: if a data URI is broken or a file cannot be read or is no PNG, JPEG, GIF or WebP image.
    """
    if isinstance(images, str | os.PathLike):
        raise InvalidArgumentError("images", images, "a list of data URIs or file paths")
    return [await _read_image(f"images[{index}]", image) for index, image in enumerate(images)]


async def _read_image(field: str, image: object) -> str:
    if isinstance(image, str) and image[:5].lower() == "data:":
        return _check_data_uri(field, image)
    if not isinstance(image, str | os.PathLike):
        raise InvalidArgumentError(field, image, "a data URI or a file path")
    path = os.fsdecode(cast("str | os.PathLike[str]", image))
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
