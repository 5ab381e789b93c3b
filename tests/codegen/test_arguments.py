"""What is taken for metadata and images, and what is refused, with the place at which it is wrong."""

import asyncio
import base64
import collections
import enum
import math
import os
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from codegen_async import ClientClosedError, CodegenClient, ConfigurationError, InvalidArgumentError
from codegen_async.codegen.images import read_images
from codegen_async.testing import CodegenServer
from tests.support.canary import CANARY

pytestmark = pytest.mark.asyncio

PNG = b"\x89PNG\r\n\x1a\nrest"
PNG_URI = "data:image/png;base64," + base64.b64encode(PNG).decode()


def client_of(server: CodegenServer) -> CodegenClient:
    return CodegenClient(CANARY, org_id=server.org_id, base_url=server.url)


def nested(levels: int) -> dict[str, Any]:
    innermost: dict[str, Any] = {}
    metadata = innermost
    for _ in range(levels - 1):
        metadata = {"a": metadata}
    return metadata


def cycle_of_lists() -> dict[str, Any]:
    items: list[Any] = []
    items.append(items)
    return {"items": items}


class Colour(enum.StrEnum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


class Point(NamedTuple):
    x: int
    y: int


GOOD: dict[str, tuple[Mapping[str, Any], Any]] = {
    "nothing": ({}, {}),
    "every kind": ({"a": [None, True, 1, -1.5, "", [], {}]}, {"a": [None, True, 1, -1.5, "", [], {}]}),
    "odd keys": ({"": 1, "a.b[0]": 2, "\n": 3, "ü": 4}, {"": 1, "a.b[0]": 2, "\n": 3, "ü": 4}),
    "large numbers": ({"a": 2**70, "b": -(2**70), "c": 1e308}, {"a": 2**70, "b": -(2**70), "c": 1e308}),
    "tuples": ({"a": (1, (2, 3)), "b": Point(4, 5)}, {"a": [1, [2, 3]], "b": [4, 5]}),
    "enums": ({"a": Colour.RED, "b": Level.HIGH}, {"a": "red", "b": 3}),
    "another mapping": (types.MappingProxyType({"a": 1}), {"a": 1}),
    "ordered": (collections.OrderedDict(b=collections.OrderedDict(c=1)), {"b": {"c": 1}}),
    "as deep as may be": (nested(99), nested(99)),
    "a text with a surrogate pair": ({"a": "\U0001f600"}, {"a": "\U0001f600"}),
}


@pytest.mark.parametrize("name", GOOD)
async def test_metadata_that_is_json_arrives_as_it_is(name: str, codegen_server: CodegenServer) -> None:
    metadata, arrived = GOOD[name]
    async with client_of(codegen_server) as client:
        run = await client.create_run("x", metadata=metadata)
    kept = dict(codegen_server.world.runs[run.id].metadata or {})
    assert kept.pop("idempotency_key")
    assert kept == arrived


BAD: dict[str, tuple[Any, str]] = {
    "NaN": ({"a": math.nan}, "metadata.a: expected a finite number"),
    "infinity": ({"a": [0, {"b": [-math.inf]}]}, "metadata.a[1].b[0]: expected a finite number"),
    "bytes": ({"a": b"x"}, "metadata.a: expected what JSON knows"),
    "a set": ({"a": {1}}, "metadata.a: expected what JSON knows"),
    "a complex number": ({"a": {"b": 1j}}, "metadata.a.b: expected what JSON knows"),
    "an object": ({"a": object()}, "metadata.a: expected what JSON knows"),
    "a class": ({"a": int}, "metadata.a: expected what JSON knows"),
    "an iterator": ({"a": iter([1])}, "metadata.a: expected what JSON knows"),
    "a path": ({"a": Path()}, "metadata.a: expected what JSON knows"),
    "number as key": ({"a": {7: 1}}, "metadata.a: expected keys that are text"),
    "None as key": ({None: 1}, "metadata: expected keys that are text"),
    "bytes as key": ({"a": [{b"k": 1}]}, "metadata.a[0]: expected keys that are text"),
    "a lone surrogate": ({"a": {"b": "x\ud800"}}, "metadata.a.b: expected text without lone surrogates"),
    "a lone surrogate as key": ({"a": {"\udfff": 1}}, "metadata.a: expected text without lone surrogates"),
    "too deep": (nested(150), "metadata.a.a"),
    "a cycle": (cycle_of_lists(), "metadata.items[0][0]"),
    "a list": ([1], "metadata: expected a mapping"),
    "a number": (3, "metadata: expected a mapping"),
    "a boolean": (True, "metadata: expected a mapping"),
    "a text": ("{}", "metadata: expected a mapping"),
    "pairs": ([("a", 1)], "metadata: expected a mapping"),
    "the reserved key": ({"idempotency_key": "mine"}, "metadata: expected no key 'idempotency_key'"),
}


@pytest.mark.parametrize("name", BAD)
async def test_metadata_that_is_not_json_is_refused_and_its_place_is_named(
    name: str, codegen_server: CodegenServer
) -> None:
    metadata, message = BAD[name]
    async with client_of(codegen_server) as client:
        with pytest.raises(InvalidArgumentError) as caught:
            await client.create_run("x", metadata=metadata)
        assert not codegen_server.requests
    assert str(caught.value).startswith(message)


async def test_the_value_that_was_refused_is_at_hand_and_shown_short(codegen_server: CodegenServer) -> None:
    long = b"x" * 10_000
    async with client_of(codegen_server) as client:
        with pytest.raises(InvalidArgumentError) as caught:
            await client.create_run("x", metadata={"a": long})
    assert caught.value.field == "metadata.a"
    assert caught.value.value is long
    assert len(str(caught.value)) < 300


# -- images


class Named:
    """A path as other libraries have them."""

    def __init__(self, path: str | bytes) -> None:
        self._path = path

    def __fspath__(self) -> str | bytes:
        return self._path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "a.png").write_bytes(PNG)
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "text.png").write_text("not what it is called")
    (tmp_path / "riff.webp").write_bytes(b"RIFF1234WAVE")
    (tmp_path / "data:x").write_bytes(PNG)
    return tmp_path


async def test_a_file_can_be_named_in_every_way_python_knows(folder: Path) -> None:
    path = folder / "a.png"
    (entry,) = await asyncio.to_thread(lambda: [entry for entry in os.scandir(folder) if entry.name == "a.png"])
    ways = [path, str(path), Named(str(path)), Named(os.fsencode(path)), entry]
    assert await read_images(ways) == [PNG_URI] * len(ways)


async def test_images_may_come_from_any_iterable_in_their_order(folder: Path) -> None:
    gif = "data:image/gif;base64,AAAA"
    assert await read_images(image for image in (gif, folder / "a.png", gif)) == [gif, PNG_URI, gif]
    assert await read_images(()) == []


@pytest.mark.parametrize("uri", [PNG_URI, "DATA:image/png;base64,AAAA", "data:image/svg+xml;base64,PHN2Zz4="])
async def test_a_data_uri_is_sent_as_it_is(uri: str) -> None:
    assert await read_images([uri]) == [uri]


@pytest.mark.parametrize(
    "uri",
    [
        "data:",
        "data:,",
        "data:image/png,AAAA",
        "data:image/png;base64",
        "data:image/png;base64,",
        "data:image/png;base64,AAA",
        "data:image/png;base64,AA A",
        "data:image/png;base64,AAAA\n",
        "data:image/png;base64,ÄÄÄÄ",
        "data:image;base64,AAAA",
        "data:;base64,AAAA",
        " data:image/png;base64,AAAA",
    ],
)
async def test_a_broken_data_uri_is_refused(uri: str) -> None:
    with pytest.raises(InvalidArgumentError, match=r"^images\[0\]: expected"):
        await read_images([uri])


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("missing.png", "No such file"),
        ("", "Is a directory"),
        ("empty.png", "PNG, JPEG, GIF or WebP"),
        ("text.png", "PNG, JPEG, GIF or WebP"),
        ("riff.webp", "PNG, JPEG, GIF or WebP"),
        ("a\0.png", "null (byte|character)"),  # before Python 3.13, and since
    ],
)
async def test_a_file_that_is_no_image_is_refused(name: str, reason: str, folder: Path) -> None:
    with pytest.raises(InvalidArgumentError, match=reason) as caught:
        await read_images([PNG_URI, str(folder) + os.sep + name])
    assert caught.value.field == "images[1]"


@pytest.mark.parametrize("image", [None, 5, ["a.png"]])
async def test_what_names_no_image_is_refused(image: object) -> None:
    with pytest.raises(InvalidArgumentError, match="a data URI or a file path"):
        await read_images([image])


async def test_a_path_in_place_of_a_list_is_refused(folder: Path) -> None:
    for images in (str(folder / "a.png"), folder / "a.png"):
        with pytest.raises(InvalidArgumentError, match="a list of data URIs or file paths"):
            await read_images(images)


# -- iterators and waits


async def test_arguments_of_iterators_are_refused_at_the_latest_when_they_begin(
    codegen_server: CodegenServer,
) -> None:
    async with client_of(codegen_server) as client:
        for runs in (
            client.list_runs(page_size=0),
            client.list_runs(page_size=101),
            client.list_runs(user_id=0),
            client.list_runs(source_type=""),
        ):
            with pytest.raises(InvalidArgumentError):
                await anext(runs)
        for rows in (
            client.run_logs(0),
            client.run_logs(1, page_size=0),
            client.follow_logs(-1),
            client.follow_logs(1, latency=-1.0),
            client.follow_logs(1, latency=math.inf),
        ):
            with pytest.raises(InvalidArgumentError):
                await anext(rows)
        for ids in ([0], [True], ["17"], [1, None], [2**63]):
            with pytest.raises(InvalidArgumentError, match=r"^run: "):
                await anext(client.as_completed(ids))  # type: ignore[arg-type]
            with pytest.raises(InvalidArgumentError, match=r"^run: "):
                await anext(client.watch(ids))  # type: ignore[arg-type]
            with pytest.raises(InvalidArgumentError, match=r"^run: "):
                await client.wait_for_runs(ids)  # type: ignore[arg-type]
        assert not codegen_server.requests


async def test_a_number_of_seconds_that_is_none_is_refused_at_once(codegen_server: CodegenServer) -> None:
    async with client_of(codegen_server) as client:
        for seconds in (-1, math.nan, math.inf, 10**400, True, "5"):
            for option in ("timeout", "latency"):
                options: dict[str, Any] = {option: seconds}
                with pytest.raises(InvalidArgumentError, match=f"^{option}: expected seconds >= 0"):
                    client.as_completed([1], **options)
                with pytest.raises(InvalidArgumentError, match=f"^{option}: expected seconds >= 0"):
                    client.watch([1], **options)
        with pytest.raises(InvalidArgumentError):
            client.notify(0)
        assert not codegen_server.requests


async def test_a_client_that_is_not_open_says_how_to_open_it() -> None:
    client = CodegenClient(CANARY, org_id=5)
    for wait in (client.as_completed, client.watch):
        with pytest.raises(ClientClosedError, match="async with CodegenClient"):
            wait([1])
    with pytest.raises(ClientClosedError, match="async with CodegenClient"):
        client.notify(1)
    for call in (client.create_run("x"), client.resume_run(1, "x"), client.get_run(1), client.wait_for_runs([1])):
        with pytest.raises(ClientClosedError, match="async with CodegenClient"):
            await call
    for loop in (client.list_runs(), client.run_logs(1), client.follow_logs(1)):
        with pytest.raises(ClientClosedError):
            await anext(loop)


@pytest.mark.parametrize("org_id", ["0", "-5", " ", " 5", "5 ", "5.0", "٣", "1e3", "9" * 5000, str(2**63)])
async def test_an_organization_in_the_environment_is_a_number(org_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CODEGEN_ORG_ID", org_id)
    with pytest.raises(ValueError, match="org_id") as caught:
        CodegenClient(CANARY)
    assert type(caught.value).__name__ == "ConfigurationError"
    assert len(str(caught.value)) < 400


async def test_what_another_client_was_given_is_not_seen_in_a_repr() -> None:
    assert CANARY not in repr(CodegenClient(CANARY, org_id=5)) + str(vars(CodegenClient(CANARY, org_id=5)))


# -- texts, numbers and mappings of other classes


class Markup(str):
    """A text as template engines return it."""

    __slots__ = ()


class Metres(float):
    """A number as numerical libraries return it."""


class Count(int):
    """The same."""


LIKE_JSON: dict[str, tuple[dict[str, Any], Any]] = {
    "a text": ({"a": Markup("x")}, {"a": "x"}),
    "a number": ({"a": Metres(0.5), "b": [Count(3)]}, {"a": 0.5, "b": [3]}),
    "a mapping within": ({"a": types.MappingProxyType({"b": collections.ChainMap({"c": 1})})}, {"a": {"b": {"c": 1}}}),
}


@pytest.mark.parametrize("name", LIKE_JSON)
async def test_what_passes_the_check_of_metadata_can_be_sent(name: str, codegen_server: CodegenServer) -> None:
    metadata, arrived = LIKE_JSON[name]
    async with client_of(codegen_server) as client:
        run = await client.create_run("x", metadata=metadata)
    kept = dict(codegen_server.world.runs[run.id].metadata or {})
    del kept["idempotency_key"]
    assert kept == arrived


async def test_a_prompt_may_be_any_kind_of_text(codegen_server: CodegenServer) -> None:
    async with client_of(codegen_server) as client:
        run = await client.create_run(Markup("do it"), model=Markup("m"))
    assert codegen_server.world.runs[run.id].prompt == "do it"


@pytest.mark.parametrize("content", [b"\x89PNG\r\n\x1a\nrest", b"\xff\xd8\xffrest", b"GIF89a", b"RIFF\0\0\0\0WEBPrest"])
async def test_images_can_be_given_as_bytes(content: bytes) -> None:
    (uri,) = await read_images([content])
    head, _, text = uri.partition(";base64,")
    assert head in {"data:image/png", "data:image/jpeg", "data:image/gif", "data:image/webp"}
    assert base64.b64decode(text) == content


@pytest.mark.parametrize("content", [b"", b"GIF", b"<svg/>", b"\x89PNG", b"data:image/png;base64,AAAA"])
async def test_bytes_that_are_no_image_are_refused(content: bytes) -> None:
    with pytest.raises(InvalidArgumentError, match=r"images\[0\]"):
        await read_images([content])


@pytest.mark.parametrize("end", ["/v1", "/v1/", "/proxy/v1"])
async def test_a_base_url_with_the_version_is_refused(end: str) -> None:
    with pytest.raises(ConfigurationError, match="without /v1"):
        CodegenClient("t", org_id=1, base_url=f"https://api.codegen.com{end}")


@pytest.mark.parametrize(("endpoint", "ages", "said"), [("nope", [1.0], "one of create, get"), ("get", [-1.0], ">= 0")])
async def test_what_was_sent_before_is_of_an_endpoint_that_there_is(
    codegen_server: CodegenServer, endpoint: str, ages: list[float], said: str
) -> None:
    async with client_of(codegen_server) as client:
        with pytest.raises(InvalidArgumentError, match=said):
            client.seed(endpoint, ages)
        free = client.limits["get"].available
        client.seed("get", [1.0])
        assert client.limits["get"].available == free - 1
