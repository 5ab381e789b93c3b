"""Choose by a URL where a fleet meets. What a server needs is imported when a URL asks for it."""

from __future__ import annotations

from collections.abc import Callable

from codegen_async.cleaning import clean
from codegen_async.errors import ConfigurationError
from codegen_async.fleet.address import Address, masked
from codegen_async.fleet.store import Bus, Store


def open_store(url: str) -> Store:
    """Return the store at a URL. Nothing is connected yet.

    Raises:
        ConfigurationError: the URL is none that is known, or a package is missing. The message does not show it.
    """
    url = masked(url)
    address = Address(url)
    return _kind(address)[0](address)


def open_bus(url: str) -> Bus:
    """Return the bus at a URL; as `open_store`."""
    url = masked(url)
    address = Address(url)
    return _kind(address)[1](address)


def check_place(url: str) -> None:
    """Make sure that a file can be at a URL of one; of a server only its first answer tells.

    Raises:
        ConfigurationError: it cannot be there.
    """
    address = Address(masked(url))
    if address.scheme == "sqlite":
        from codegen_async.fleet.sqlite import check_place as check_file

        check_file(address)


_Kind = tuple[Callable[[Address], Store], Callable[[Address], Bus]]


def _kind(address: Address) -> _Kind:
    kind = _KINDS.get(address.scheme)
    if kind is None:
        raise ConfigurationError(
            f"fleet: expected sqlite:, postgresql:, redis: or rediss: at the beginning, got {address.scheme}:"
        )
    return kind()


def _sqlite() -> _Kind:
    from codegen_async.fleet.sqlite import SqliteBus, SqliteStore

    return SqliteStore, SqliteBus


def _postgres() -> _Kind:
    try:
        from codegen_async.fleet.postgres import PostgresBus, PostgresStore
    except ImportError as exc:
        raise _missing("postgresql", "postgres", exc) from None
    return PostgresStore, PostgresBus


def _redis() -> _Kind:
    try:
        from codegen_async.fleet.redis import RedisBus, RedisStore
    except ImportError as exc:
        raise _missing("redis", "redis", exc) from None
    return RedisStore, RedisBus


_KINDS: dict[str, Callable[[], _Kind]] = {
    "sqlite": _sqlite,
    "postgresql": _postgres,
    "postgres": _postgres,
    "redis": _redis,
    "rediss": _redis,
}


def _missing(scheme: str, extra: str, error: ImportError) -> ConfigurationError:
    return ConfigurationError(
        f"fleet: {scheme}: needs another package: pip install 'codegen-async[{extra}]' ({clean(str(error))})"
    )
