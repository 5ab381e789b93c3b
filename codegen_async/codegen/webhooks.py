"""Where the vendor is to report what becomes of a run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NotRequired, TypedDict, cast
from urllib.parse import urlsplit

from codegen_async.arguments import check_text
from codegen_async.errors import InvalidArgumentError

_EXPECTED = "an object with a url and, where wanted, a secret"


class RunWebhook(TypedDict):
    """Name a URL to which the vendor is to send the events of one run, and the secret it is to sign them with."""

    url: str
    secret: NotRequired[str]


def check_webhooks(webhooks: object) -> list[RunWebhook]:
    """Return webhooks as they are sent. Secrets are shown in no error.

    Raises:
        InvalidArgumentError: one of them cannot be right.
    """
    kind = type(webhooks)
    if isinstance(webhooks, str | bytes | Mapping) or not isinstance(webhooks, Iterable):
        raise InvalidArgumentError("webhooks", kind, f"a list, each {_EXPECTED}")
    given = cast("Iterable[object]", webhooks)
    return [_check(f"webhooks[{index}]", webhook) for index, webhook in enumerate(given)]


def _check(field: str, webhook: object) -> RunWebhook:
    if not isinstance(webhook, Mapping):
        raise InvalidArgumentError(field, type(webhook), _EXPECTED)
    fields = dict(cast("Mapping[object, object]", webhook))
    url, secret = _check_url(f"{field}.url", fields.pop("url", None)), fields.pop("secret", None)
    if fields:
        raise InvalidArgumentError(field, next(iter(fields)), _EXPECTED)
    if secret is None:
        return {"url": url}
    try:
        return {"url": url, "secret": check_text(f"{field}.secret", secret)}
    except InvalidArgumentError as error:
        raise InvalidArgumentError(error.field, "***", error.expected) from None


def _check_url(field: str, value: object) -> str:
    url = check_text(field, value)
    try:
        parts = urlsplit(url)
    except ValueError:
        parts = None
    if parts is None or parts.scheme not in ("https", "http") or not parts.hostname or url.split() != [url]:
        raise InvalidArgumentError(field, value, "a URL such as https://example.com/hook")
    return url
