"""Read the images that a run is given."""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import os
import re
from collections.abc import Generator, Iterable, Sequence
from typing import cast

from codegen_async.cleaning import reason_of
from codegen_async.errors import InvalidArgumentError
from codegen_async.files import look_into, read_regular

Image = str | os.PathLike[str] | bytes
"""A data URI, the path of a file, or the content of one."""

_DATA_URI = re.compile(r"data:[a-z]+/[a-z0-9.+-]+;base64,(?=.)", re.ASCII | re.IGNORECASE)
_IMAGE_STARTS = {
    b"\x89PNG\r\n\x1a\n": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    b"GIF87a": "image/gif",
    b"GIF89a": "image/gif",
}
_START = 12  # bytes that tell the kind
_LARGEST = 2**25  # bytes; as much as an answer may have


def check_images(images: object) -> tuple[str, ...]:
    """Return images, each a data URI, the path of a file or the content of one, as texts.

    Raises:
        InvalidArgumentError: it is no list of these.
    """
    if not isinstance(images, Iterable) or isinstance(images, str | bytes | os.PathLike):
        raise InvalidArgumentError("images", images, "a list of data URIs or file paths, or bytes")
    given = tuple(cast("Iterable[object]", images))
    for index, image in enumerate(given):
        if not isinstance(image, str | os.PathLike | bytes):
            raise InvalidArgumentError(f"images[{index}]", image, "a data URI or a file path, or bytes")
    return tuple(_as_text(f"images[{index}]", cast("Image", image)) for index, image in enumerate(given))


def _as_text(field: str, image: Image) -> str:
    if isinstance(image, bytes):
        return _data_uri(_image_type(field, f"{len(image)} bytes", image), image)
    return os.fsdecode(image)


def _data_uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def locate_images(images: Iterable[str], folder: str | None) -> tuple[str, ...]:
    """Return images with their relative paths taken from a folder, where there is one."""
    if folder is None:
        return tuple(images)
    return tuple(image if _is_data(image) else os.path.join(folder, image) for image in images)  # noqa: PTH118 - kept as written


async def read_images(images: object) -> Sequence[str]:
    """Return images as base64 data URIs; a text that is none, or a path, names a file, read off the loop's thread.

    Raises:
        InvalidArgumentError: if a data URI is broken or a file cannot be read or is no PNG, JPEG, GIF or WebP image.
    """
    return [await _read_image(f"images[{index}]", image) for index, image in enumerate(check_images(images))]


def _is_data(image: str) -> bool:
    return image[:5].lower() == "data:"


async def _read_image(field: str, image: str) -> str:
    if _is_data(image):
        return _check_data_uri(field, image)
    with _readable(field, image):
        content = await asyncio.to_thread(read_regular, image, _LARGEST)
    return _data_uri(_image_type(field, image, content), content)


def measure_image(field: str, image: str) -> int:
    """Return how many bytes an image has, from a look at its beginning. Blocking.

    Raises:
        InvalidArgumentError: as `read_images` would.
    """
    if _is_data(image):
        return len(_check_data_uri(field, image))
    with _readable(field, image):
        start, size = look_into(image, _START, _LARGEST)
    _image_type(field, image, start)
    return size


@contextlib.contextmanager
def _readable(field: str, image: str) -> Generator[None]:
    try:
        yield
    except (OSError, ValueError) as exc:
        raise InvalidArgumentError(field, image, f"a readable file ({reason_of(exc)})") from None


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
