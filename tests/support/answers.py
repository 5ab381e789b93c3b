"""Answers of servers that are broken, hostile or merely odd, byte by byte, and what is to come of each."""

import gzip
import zlib
from typing import NamedTuple

from tests.support.raw import Script, keeping, resetting, saying

BODY = b'{"id":17,"organization_id":323}'
GZIPPED = gzip.compress(BODY, mtime=0)

NOT_HTTP = "the answer is not valid HTTP"
CUT = "the answer was cut short or damaged"
SILENT = "the server fell silent"
LATE = "no answer in time"
CLOSED = "the server closed the connection without an answer"
BROKEN = "the connection broke"


class Case(NamedTuple):
    """One answer.

    Attributes:
        data: its bytes.
        status: the status that the client has to see; None if none can be seen.
        body: the body that it has to see.
        problem: why there is no (whole) answer; None if there is one.
        end: what the server does afterwards: "close", "keep" (say nothing more) or "reset".
    """

    data: bytes
    status: int | None = 200
    body: bytes = b"{}"
    problem: str | None = None
    end: str = "close"

    @property
    def script(self) -> Script:
        """What the server has to do."""
        return {"close": saying, "keep": keeping, "reset": resetting}[self.end](self.data)


def head(*lines: str, status: str = "200 OK") -> bytes:
    """Return a status line and headers."""
    return "\r\n".join([f"HTTP/1.1 {status}", *lines, "", ""]).encode("latin-1")


def sized(data: bytes, *lines: str, status: str = "200 OK") -> bytes:
    """Return an answer with the right length."""
    return head(*lines, f"Content-Length: {len(data)}", status=status) + data


def chunked(*pieces: bytes) -> bytes:
    """Return a chunked answer, of which the pieces are given as they go over the wire."""
    return head("Transfer-Encoding: chunked") + b"".join(pieces)


def _broken(data: bytes) -> Case:
    return Case(data, None, b"", NOT_HTTP, "keep")


NO_HTTP: dict[str, Case] = {
    name: _broken(data)
    for name, data in {
        "HTTP/0.9": b"hello\r\n",
        "garbage": bytes(range(128, 256)) * 3,
        "HTTP/2 settings": b"\x00\x00\x12\x04\x00\x00\x00\x00\x00" + bytes(18),
        "HTTP/2 status line": b"HTTP/2 200 OK\r\nContent-Length: 2\r\n\r\n{}",
        "HTTP/3 status line": b"HTTP/3.0 200 OK\r\nContent-Length: 2\r\n\r\n{}",
        "status 99": sized(b"", status="99 X"),
        "status 1000": sized(b"", status="1000 X"),
        "status abc": sized(b"", status="abc X"),
        "no status": b"HTTP/1.1\r\n\r\n",
        "two lengths": head("Content-Length: 2", "Content-Length: 3") + b"{}",
        "two equal lengths": head("Content-Length: 2", "Content-Length: 2") + b"{}",
        "list of lengths": head("Content-Length: 2, 2") + b"{}",
        "negative length": head("Content-Length: -2") + b"{}",
        "length with a sign": head("Content-Length: +2") + b"{}",
        "length over 64 bits": head(f"Content-Length: {2**70}") + b"{}",
        "hexadecimal length": head("Content-Length: 0x2") + b"{}",
        "empty length": head("Content-Length: ") + b"{}",
        "length and chunks": head("Content-Length: 2", "Transfer-Encoding: chunked") + b"2\r\n{}\r\n0\r\n\r\n",
        "chunk size zz": chunked(b"zz\r\n{}\r\n0\r\n\r\n"),
        "negative chunk size": chunked(b"-2\r\n{}\r\n0\r\n\r\n"),
        "huge chunk size": chunked(b"FFFFFFFFFFFFFFFFFF\r\n{}\r\n0\r\n\r\n"),
        "chunk without an end": chunked(b"2\r\n{}0\r\n\r\n"),
        "10,000 trailers": chunked(b"2\r\n{}\r\n0\r\n", b"X-A: a\r\n" * 10_000, b"\r\n"),
        "NUL in a header": sized(b"{}", "X-A: a\0b"),
        "bare CR in a header": sized(b"{}", "X-A: a\rb"),
        "space before the colon": sized(b"{}", "X-A : b"),
        "header without a name": sized(b"{}", ": b"),
        "header without a colon": sized(b"{}", "abc"),
        "header of 9,000 bytes": sized(b"{}", "X-A: " + "a" * 9000),
        "header of 200,000 bytes": sized(b"{}", "X-A: " + "a" * 200_000),
        "200 headers": sized(b"{}", *(f"X-{number}: a" for number in range(200))),
        "reason of 9,000 bytes": sized(b"{}", status="200 " + "a" * 9000),
        "204 with a body": sized(b"{}", status="204 No Content"),
        "brotli": sized(b"{}", "Content-Encoding: br"),
        "zstd": sized(b"{}", "Content-Encoding: zstd"),
    }.items()
}

NO_ANSWER: dict[str, Case] = {
    "nothing, closed": Case(b"", None, b"", CLOSED, "close"),
    "nothing, reset": Case(b"", None, b"", BROKEN, "reset"),
    "nothing, silence": Case(b"", None, b"", SILENT, "keep"),
    "half a status line, closed": Case(b"HTTP/1.1 20", None, b"", CLOSED, "close"),
    "half a status line, reset": Case(b"HTTP/1.1 20", None, b"", BROKEN, "reset"),
    "half a status line, silence": Case(b"HTTP/1.1 20", None, b"", SILENT, "keep"),
    "half a head, closed": Case(b"HTTP/1.1 200 OK\r\nX-A: a\r\n", None, b"", CLOSED, "close"),
    "half a head, reset": Case(b"HTTP/1.1 200 OK\r\nX-A: a\r\n", None, b"", BROKEN, "reset"),
    "half a head, silence": Case(b"HTTP/1.1 200 OK\r\nX-A: a\r\n", None, b"", SILENT, "keep"),
    "early hints only, closed": Case(head("Link: x", status="103 Early Hints"), None, b"", CLOSED, "close"),
    # aiohttp watches for silence no more after an interim answer.
    "early hints only, silence": Case(head("Link: x", status="103 Early Hints"), None, b"", LATE, "keep"),
}

NOT_WHOLE: dict[str, Case] = {
    "too short, closed": Case(head("Content-Length: 99") + b"{}", 200, b"{}", CUT, "close"),
    "too short, reset": Case(head("Content-Length: 99") + b"{}", 200, b"{}", CUT, "reset"),
    "too short, silence": Case(head("Content-Length: 99") + b"{}", 200, b"{}", SILENT, "keep"),
    "head only, closed": Case(head("Content-Length: 99"), 200, b"", CUT, "close"),
    "404 too short": Case(head("Content-Length: 99", status="404 X") + b'{"mes', 404, b'{"mes', CUT, "close"),
    "500 too short": Case(head("Content-Length: 99", status="500 X") + b"<ht", 500, b"<ht", CUT, "reset"),
    "429 too short": Case(head("Content-Length: 99", status="429 X"), 429, b"", CUT, "reset"),
    "no last chunk, closed": Case(chunked(b"2\r\n{}\r\n"), 200, b"{}", CUT, "close"),
    "no last chunk, silence": Case(chunked(b"2\r\n{}\r\n"), 200, b"{}", SILENT, "keep"),
    "half a chunk": Case(chunked(b"9\r\n{}"), 200, b"{}", CUT, "close"),
    "open end, silence": Case(head() + b"{}", 200, b"{}", SILENT, "keep"),
    "chunked within gzip, silence": Case(
        head("Transfer-Encoding: chunked, gzip") + b"2\r\n{}\r\n0\r\n\r\n", 200, b"2\r\n{}\r\n0\r\n\r\n", SILENT, "keep"
    ),
    "damaged gzip": Case(sized(GZIPPED[:12] + bytes(9), "Content-Encoding: gzip"), 200, b"", CUT),
    "gzip with junk behind": Case(sized(GZIPPED + b"junk", "Content-Encoding: gzip"), 200, b"", CUT),
    "not gzip at all": Case(sized(b"{}", "Content-Encoding: gzip"), 200, b"", CUT),
}

# Broken, but so that only the reader of the JSON can notice.
LOOKS_WHOLE: dict[str, Case] = {
    "open end, cut": Case(head() + BODY[:9], 200, BODY[:9]),
    "open end, reset": Case(head() + BODY[:9], 200, BODY[:9], end="reset"),
    "gzip cut": Case(head("Content-Encoding: gzip") + GZIPPED[:20], 200, BODY[:9]),
    "empty gzip": Case(sized(b"", "Content-Encoding: gzip"), 200, b""),
    "gzip twice over": Case(sized(GZIPPED, "Content-Encoding: gzip, gzip"), 200, GZIPPED),
    "gzip as transfer encoding": Case(head("Transfer-Encoding: gzip") + GZIPPED, 200, GZIPPED),
    "chunked within gzip": Case(
        head("Transfer-Encoding: chunked, gzip") + b"2\r\n{}\r\n0\r\n\r\n", 200, b"2\r\n{}\r\n0\r\n\r\n"
    ),
    "204": Case(head(status="204 No Content"), 204, b""),
    "no content": Case(sized(b""), 200, b""),
}

FINAL: dict[str, Case] = {
    "plain": Case(sized(BODY), 200, BODY),
    "plain, kept": Case(sized(BODY), 200, BODY, end="keep"),
    "plain, reset": Case(sized(BODY), 200, BODY, end="reset"),
    "chunks": Case(chunked(b"1\r\n{\r\n1e\r\n" + BODY[1:] + b"\r\n0\r\n\r\n"), 200, BODY, end="keep"),
    "chunk extension of 1 MB": Case(chunked(b"2;", b"x" * 2**20, b"\r\n{}\r\n0\r\n\r\n"), end="keep"),
    "gzip": Case(sized(GZIPPED, "Content-Encoding: gzip"), 200, BODY),
    "deflate": Case(sized(zlib.compress(BODY), "Content-Encoding: deflate"), 200, BODY),
    "unknown encoding": Case(sized(BODY, "Content-Encoding: foo"), 200, BODY),
    "open end": Case(head() + BODY, 200, BODY),
    "HTTP/1.0": Case(b"HTTP/1.0 200 OK\r\n\r\n" + BODY, 200, BODY),
    "header over two lines": Case(sized(BODY, "X-A: a\r\n b"), 200, BODY),
    "line feeds only": Case(b"HTTP/1.1 200 OK\nContent-Length: 2\n\n{}"),
    "blank lines first": Case(b"\r\n\r\n" + sized(BODY), 200, BODY),
    "no reason": Case(sized(BODY, status="200"), 200, BODY),
    "control byte in the reason": Case(sized(BODY, status="200 O\x01K"), 200, BODY),
    "HTML by its type": Case(sized(BODY, "Content-Type: text/html"), 200, BODY),
    "unknown charset": Case(sized(BODY, "Content-Type: application/json; charset=nope"), 200, BODY),
    "bytes over 127 in a header": Case(sized(BODY, "X-Request-Id: \xff\xfe"), 200, BODY),
    "broken cookie": Case(sized(BODY, "Set-Cookie: \x01=;;;="), 200, BODY),
    "100 first": Case(head(status="100 Continue") + sized(BODY), 200, BODY),
    "103 first": Case(head("Link: x", status="103 Early Hints") + sized(BODY), 200, BODY),
    "status 201": Case(sized(BODY, status="201 Created"), 201, BODY),
    "status 999": Case(sized(b"{}", status="999 X"), 999),
    "status 101": Case(head("Upgrade: x", "Connection: upgrade", status="101 X"), 101, b"", end="keep"),
    "status 304": Case(head(status="304 Not Modified"), 304, b"", end="keep"),
    "redirect to a file": Case(sized(b"", "Location: file:///etc/passwd", status="302 X"), 302, b""),
    "redirect to no URL": Case(sized(b"", "Location: http://[", status="307 X"), 307, b""),
    "two answers at once": Case(sized(BODY) + sized(b"[]"), 200, BODY, end="keep"),
}

ALL: dict[str, Case] = {**NO_HTTP, **NO_ANSWER, **NOT_WHOLE, **LOOKS_WHOLE, **FINAL}
