"""Check what the clients of all dialects are set up with, and keep its secrets. Knows no API."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from codegen_async.errors import ConfigurationError, shown
from codegen_async.limits import Rate
from codegen_async.numeric import is_number, is_whole
from codegen_async.secret import Auth, Secret, bearer
from codegen_async.settings import Timeouts, check_proxy, from_environment


class Secrets(NamedTuple):
    """What a client is given and shows to nobody: the token, and the proxy, whose URL may hold a password."""

    token: Secret
    proxy: Secret | None


def secrets_of(token: str | None, proxy: str | None, variable: str, *others: str, auth: Auth = bearer) -> Secrets:
    """Return the secrets of a client. Whoever calls it deletes its own names for them, whatever comes of it.

    Args:
        token: the token. None: the value of the first environment variable that is set.
        proxy: the URL of a proxy, if there is one.
        variable: the variable that errors name.
        others: further ones.
        auth: the headers that carry the token.

    Raises:
        ConfigurationError: one of them is missing or cannot be right. The message does not show it.
    """
    try:
        secret = Secret(from_environment(variable, "token", *others) if token is None else token, auth=auth)
        return Secrets(secret, None if proxy is None else check_proxy(proxy))
    finally:
        del token, proxy  # crash reporters show the variables of functions that raise


def check_options(share: object, max_body: object, timeouts: object, memory: object) -> None:
    """Make sure of what all clients take alike.

    Raises:
        ConfigurationError: one of them cannot be right.
    """
    if not is_number(share) or not 0 < share <= 1:
        raise ConfigurationError(f"share: expected more than 0 and at most 1, got {shown(share)}")
    if not is_number(max_body) or not 1 <= max_body < math.inf:
        raise ConfigurationError(f"max_body: expected at least 1 byte, got {shown(max_body)}")
    if not isinstance(timeouts, Timeouts | None):
        raise ConfigurationError(f"timeouts: expected Timeouts, got {shown(timeouts)}")
    if not isinstance(memory, str | os.PathLike | None):
        raise ConfigurationError(f"memory: expected the path of a file, got {shown(memory)}")


def replaced(
    rates: Mapping[str, Rate | Sequence[Rate]], by: Mapping[str, Rate | Sequence[Rate]] | None
) -> dict[str, tuple[Rate, ...]]:
    """Return the limits of a dialect with those that a user replaces, for each name all that hold at once.

    Raises:
        ConfigurationError: there is no such endpoint, or this is no rate.
    """
    for endpoint, rate in (by or {}).items():
        if not all(isinstance(each, Rate) for each in (rate if isinstance(rate, list | tuple) else (rate,))):
            raise ConfigurationError(f"rates: expected a Rate for {shown(endpoint)}, got {shown(rate)}")
    if unknown := set(by or {}) - set(rates):
        raise ConfigurationError(f"rates: expected endpoints of {sorted(rates)}, got {sorted(unknown)}")
    return {name: rates_of(several) for name, several in {**rates, **(by or {})}.items()}


def divided(rates: Mapping[str, tuple[Rate, ...]], processes: object) -> dict[str, tuple[Rate, ...]]:
    """Return each limit's part for one of so many processes.

    Raises:
        ConfigurationError: this is no number of processes, or a limit cannot be divided so.
    """
    if not is_whole(processes) or processes < 1:
        raise ConfigurationError(f"processes: expected a number from 1, got {shown(processes)}")
    parts: dict[str, tuple[Rate, ...]] = {}
    for name, several in rates.items():
        try:
            parts[name] = tuple(rate.part(int(processes)) for rate in several)
        except ValueError as error:
            raise ConfigurationError(f"processes: the limit of {name}: {error}") from None
    return parts


def rates_of(several: Rate | Sequence[Rate]) -> tuple[Rate, ...]:
    """Return all rates of one name."""
    return (several,) if isinstance(several, Rate) else tuple(several)
