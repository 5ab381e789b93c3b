"""Webhooks: check that Middesk sent them, read them, and tell repeated ones.

There is no time stamp in what is signed, so a copy of an old delivery passes the check: what is done because of an
event must be fit to be done twice, or be done once per event id (`SeenEvents`).
"""

from __future__ import annotations

import hashlib
import hmac
import re
from typing import Any, cast

import msgspec

from codegen_async.cleaning import clean
from codegen_async.errors import ConfigurationError, InvalidArgumentError
from codegen_async.middesk.free import dec_hook
from codegen_async.middesk.models import Id, MiddeskRun, WebhookEvent
from codegen_async.reading import UNREADABLE, Reader
from codegen_async.recent import Recent

SIGNATURE_HEADER = "X-Middesk-Signature-256"
"""The header that carries the signature."""

_SIGNATURE = re.compile("[0-9a-fA-F]{64}", re.ASCII)


def verify(raw_body: bytes, signature: object, secret: str | bytes) -> bool:
    """Return whether a body was signed with the webhook's secret (hex HMAC-SHA256 of the raw body).

    Args:
        raw_body: the body as it came, before any parsing.
        signature: the value of the header `X-Middesk-Signature-256`; whatever is no signature (None, too) is wrong.
        secret: the secret that the webhook was registered with.

    Raises:
        ConfigurationError: the secret is empty: everybody could sign.
    """
    key = secret.encode() if isinstance(secret, str) else secret
    if not key:
        raise ConfigurationError("secret: expected the webhook's secret, got an empty text")
    if not isinstance(signature, str) or not _SIGNATURE.fullmatch(signature):
        return False
    return hmac.compare_digest(hmac.digest(key, raw_body, hashlib.sha256), bytes.fromhex(signature))


class _Envelope(msgspec.Struct):
    id: Id
    type: str
    data: dict[str, Any] = {}
    created_at: str | None = None
    account_id: str | None = None


_envelope = Reader(_Envelope)
_run = Reader(MiddeskRun, dec_hook)


def parse_event(raw_body: bytes) -> WebhookEvent:
    """Read a delivery whose signature was checked with `verify`.

    Raises:
        InvalidArgumentError: it is no event.
    """
    try:
        envelope = _envelope.decode(raw_body)
        run = _run_of(envelope)
    except UNREADABLE as exc:
        raise InvalidArgumentError("raw_body", raw_body[:100], f"a Middesk event ({clean(str(exc))})") from None
    return WebhookEvent(
        id=envelope.id,
        type=envelope.type,
        created_at=envelope.created_at,
        account_id=envelope.account_id,
        data=envelope.data,
        run=run,
    )


def _run_of(envelope: _Envelope) -> MiddeskRun | None:
    subject = envelope.data.get("object")
    if not isinstance(subject, dict) or not envelope.type.startswith("run."):
        return None
    return _run.read(cast("dict[str, Any]", subject))


class SeenEvents:
    """Tell deliveries of an event from its first: Middesk repeats one until it is answered with success.

    Args:
        capacity: how many ids are remembered. Default 10,000.
    """

    def __init__(self, capacity: int = 10_000) -> None:
        self._ids: Recent[str, None] = Recent(capacity)

    def add(self, event_id: str) -> bool:
        """Remember an event; return whether it is new."""
        is_new = event_id not in self._ids
        self._ids[event_id] = None
        return is_new
