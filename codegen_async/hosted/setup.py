"""Check what the clients of all dialects are set up with, and keep its secrets. Knows no API."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from codegen_async.cleaning import shown
from codegen_async.errors import ConfigurationError
from codegen_async.limits import Concurrency, Limits, Rate
from codegen_async.numeric import is_number, is_whole
from codegen_async.secret import Auth, Masked, Secret, bearer
from codegen_async.settings import Fleet, Timeouts, check_proxy, from_environment

if TYPE_CHECKING:  # only a fleet needs it
    from codegen_async.fleet.store import Bus


class Secrets(NamedTuple):
    """What a client is given and shows to nobody: the token, and a proxy and a fleet, whose URLs may hold passwords."""

    token: Secret
    proxy: Secret | None
    fleet: Fleet | None


def secrets_of(
    token: str | None,
    proxy: str | None,
    variable: str,
    *others: str,
    auth: Auth = bearer,
    fleet: str | Fleet | None = None,
) -> Secrets:
    """Return the secrets of a client. Whoever calls it deletes its own names for them, whatever comes of it.

    Args:
        token: the token. None: the value of the first environment variable that is set.
        proxy: the URL of a proxy, if there is one.
        variable: the variable that errors name.
        others: further ones.
        auth: the headers that carry the token.
        fleet: where it meets, if there is one. None: the value of `CODEGEN_FLEET`, if that is set; empty: nowhere.

    Raises:
        ConfigurationError: one of them is missing or cannot be right. The message does not show it.
    """
    try:
        secret = Secret(from_environment(variable, "token", *others) if token is None else token, auth=auth)
        return Secrets(secret, None if proxy is None else check_proxy(proxy), _fleet(fleet))
    finally:
        del token, proxy, fleet  # crash reporters show the variables of functions that raise


def _fleet(given: str | Fleet | None) -> Fleet | None:
    if isinstance(given, Fleet):
        return given
    url = Masked(os.environ.get("CODEGEN_FLEET", "") if given is None else given)
    del given
    return Fleet(url) if url else None


def bus_of(fleet: Fleet) -> Callable[[], Bus]:
    """Return what opens the bus of a fleet."""
    from codegen_async.fleet.opening import open_bus  # noqa: PLC0415 - nothing of a fleet is imported without one

    return lambda: open_bus(fleet.url)


def check_of(fleet: Fleet) -> Callable[[], None]:
    """Return what makes sure, on a thread, that a fleet can meet where it is to, as far as that is known beforehand."""
    from codegen_async.fleet.opening import check_place  # noqa: PLC0415

    return lambda: check_place(fleet.url)


def limits_of(
    rates: Mapping[str, Sequence[Rate]],
    ceiling: Rate | None,
    concurrency: Concurrency,
    *,
    fleet: Fleet | None,
    key_of: Callable[[str], str],
    total: float,
) -> Limits:
    """Return the limits of a client, shared with others if there is a fleet.

    Args:
        rates: of each endpoint.
        ceiling: over all.
        concurrency: the cap on runs at once.
        fleet: where it meets.
        key_of: returns what the limit of an endpoint is called there.
        total: seconds that a request may take.

    Raises:
        ConfigurationError: it cannot meet there. The message does not show the URL.
    """
    if fleet is None:
        return Limits(rates, ceiling=ceiling, concurrency=concurrency)
    # Who is alone pays nothing for it:
    from codegen_async.fleet.board import Terms  # noqa: PLC0415
    from codegen_async.fleet.limits import FleetLimits  # noqa: PLC0415
    from codegen_async.fleet.opening import open_store  # noqa: PLC0415

    open_store(fleet.url)  # nothing is connected: what is wrong with it shows now
    return FleetLimits(
        rates,
        ceiling=ceiling,
        concurrency=concurrency,
        open_store=lambda: open_store(fleet.url),
        key_of=key_of,
        terms=Terms(total=total, keep=fleet.keep, keep_for=fleet.keep_for),
    )


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
