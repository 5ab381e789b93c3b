"""Batches on DBOS whose executors are killed and frozen: how many items are missing or doubled, with keys and without.

Three executors drive 60 items at a server that loses 30 % of its answers to creates; one of the three is killed every 1
to 3 s, or stopped for longer than its lease. All clocks run twelve times faster than life. Three rounds take ten
minutes.

Run: python -m benchmarks.engine [--rounds N]
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Sequence

from tests.engine.campaign import Figures, campaign
from tests.support.servers import Server, postgres

COLUMNS = ("where", "kills", "freezes", "restarts", "decided", "missing", "doubled", "crashes", "seconds")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="of each kind of database (default: 3)")
    rounds = parser.parse_args(arguments).rounds
    print(" | ".join(COLUMNS))
    total = Figures()
    with postgres() as server:
        for seed in range(1, rounds + 1):
            for kind in ("sqlite", "postgresql", "postgresql, restarted"):
                figures = campaign(_url(kind, server, seed), seed, restart=_restart(kind, server))
                _show(f"{kind} {seed}", figures)
                total.kills += figures.kills
                total.freezes += figures.freezes
                total.missing += figures.missing
                total.doubled += figures.doubled
        _show("in all", total)
        for kind in ("sqlite", "postgresql"):
            _show(f"{kind}, without keys", campaign(_url(kind, server, 0), 9, keyless=True))


def _url(kind: str, server: Server, seed: int) -> str:
    if kind == "sqlite":
        return f"sqlite:{tempfile.mkdtemp()}/{seed}.db"
    import psycopg  # noqa: PLC0415 - only where it is asked for

    place, name = f"postgresql://postgres@127.0.0.1:{server.port}", f"b{seed}{'r' if kind.endswith('ted') else ''}"
    with psycopg.connect(f"{place}/postgres", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")  # type: ignore[call-overload, unused-ignore]
    return f"{place}/{name}"


def _restart(kind: str, server: Server) -> Callable[[], None] | None:
    def crash() -> None:
        server.kill()
        server.start()

    return crash if kind.endswith("restarted") else None


def _show(where: str, figures: Figures) -> None:
    row = (where, *(getattr(figures, name) for name in COLUMNS[1:-1]), f"{figures.seconds:.0f}")
    print(" | ".join(map(str, row)), flush=True)


if __name__ == "__main__":
    main()
