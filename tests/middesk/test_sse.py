"""Server-sent events, cut anywhere."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codegen_async.middesk.sse import EventParser, EventTooLargeError, ServerSentEvent


def parse(*pieces: bytes, largest: int = 10_000) -> list[ServerSentEvent]:
    parser = EventParser(largest)
    return [event for piece in pieces for event in parser.feed(piece)]


@pytest.mark.parametrize("end", [b"\n", b"\r", b"\r\n"])
def test_an_event_ends_with_an_empty_line(end: bytes) -> None:
    stream = end.join([b"event: RUN_STARTED", b'data: {"a":1}', b"", b"data: second", b"", b""])
    assert parse(stream) == [ServerSentEvent("RUN_STARTED", '{"a":1}'), ServerSentEvent("", "second")]


def test_lines_of_data_are_joined() -> None:
    assert parse(b"data: one\ndata:two\ndata:  three\ndata\n\n") == [ServerSentEvent("", "one\ntwo\n three\n")]


def test_comments_unknown_fields_and_events_without_data_are_nothing() -> None:
    assert parse(b": keep-alive\n\nid: 7\nretry: 10\n\nevent: lost\n\ndata: x\n\n") == [ServerSentEvent("", "x")]


def test_an_event_that_is_not_ended_is_nothing() -> None:
    assert parse(b"data: x\n\ndata: half\n") == [ServerSentEvent("", "x")]


def test_a_byte_order_mark_at_the_beginning_is_skipped() -> None:
    mark = b"\xef\xbb\xbf"
    assert parse(mark + b"data: x\n\n", mark + b"data: y\n\n") == [ServerSentEvent("", "x")]


def test_broken_utf8_does_not_end_the_stream() -> None:
    assert parse(b"data: \xff\n\ndata: y\n\n") == [ServerSentEvent("", "�"), ServerSentEvent("", "y")]


@pytest.mark.parametrize("stream", [b"data: " + b"x" * 100, b"data: 123456789\n" * 10, b": comment 90\n" * 10])
def test_an_event_has_a_bound(stream: bytes) -> None:
    with pytest.raises(EventTooLargeError, match="larger than 64 bytes"):
        parse(*(stream[at : at + 7] for at in range(0, len(stream), 7)), largest=64)


def test_the_bound_is_for_each_event() -> None:
    assert len(parse(*[b"data: " + b"x" * 50 + b"\n\n"] * 100, largest=64)) == 100


def test_nothing_between_the_halves_of_a_line_end_changes_nothing() -> None:
    assert parse(b"data: a\r", b"", b"\ndata: b\r\n\r", b"", b"\n") == [ServerSentEvent("", "a\nb")]


LINES = st.lists(
    st.sampled_from(
        [b"data: a", b"data:b", b"data", b"event: E", b"event", b": c", b"", b"", b"id: 1", b"data: \xc3\xa9", b"x: y"]
    ),
    max_size=20,
)


@given(lines=LINES, ends=st.lists(st.sampled_from([b"\n", b"\r", b"\r\n"]), min_size=20, max_size=20), data=st.data())
def test_it_makes_no_difference_where_a_stream_is_cut(
    lines: list[bytes], ends: list[bytes], data: st.DataObject
) -> None:
    stream = b"".join(line + end for line, end in zip(lines, ends, strict=False))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=10)))
    pieces = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert parse(*pieces) == parse(stream)
