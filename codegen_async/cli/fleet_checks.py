"""What `doctor` looks at of a fleet: whether its members can meet, and who is there. Nothing here raises."""

from __future__ import annotations

import asyncio
from typing import Any

from codegen_async.cli import config
from codegen_async.cli.checks import Finding, Verdict, failed
from codegen_async.cli.errors import Exit
from codegen_async.cli.targets import fleet_of
from codegen_async.errors import CodegenAsyncError
from codegen_async.fleet.address import Address
from codegen_async.fleet.opening import open_store
from codegen_async.fleet.store import StoreAwayError
from codegen_async.hosted.client import RunClient
from codegen_async.limits import FleetState, Rate

_LISTENING = 1.5  # seconds; each member says hello once a second, and at once to who is new


def check_store(settings: config.Settings) -> Finding:
    """Look whether the store answers, which all calls wait for. Changes no board."""
    fleet = fleet_of(settings)
    if fleet is None:
        return Finding("fleet", Verdict.SKIP, "not set: this process keeps to the limits for itself alone")
    try:
        asyncio.run(_meet(fleet.url))
    except StoreAwayError as error:
        return Finding("fleet", Verdict.FAIL, f"{error}; calls wait until it answers", Exit.ERROR)
    except CodegenAsyncError as error:
        return failed("fleet", error)
    return Finding("fleet", Verdict.OK, f"{Address(fleet.url).shown} answers (from {settings['fleet'].source})")


async def _meet(url: str) -> None:
    store = open_store(url)
    try:
        await store.swap("codegen-async:doctor", b"", None, None)
    finally:
        await store.close()


async def check_members(client: RunClient[Any, Any]) -> list[Finding]:
    """Look who is there, who looks at runs for all, and who has which part of the limits that were used here."""
    looks = client.looks
    if looks is None:
        return []
    await asyncio.sleep(_LISTENING)
    looks = client.looks or looks
    led = "nobody looks at runs for all" if looks.leader is None else f"{looks.leader} looks at runs for all"
    others = len(looks.members) - 1
    findings = [Finding("members", Verdict.OK, f"{others} besides this command ({looks.name}); {led}")]
    for name, state in client.limits.items():
        if state.fleet is not None and state.fleet.members:
            findings.append(_shared(name, state.rate, state.fleet))
    return findings


def _shared(name: str, rate: Rate, fleet: FleetState) -> Finding:
    parts = ", ".join(f"{member.name} {member.slots}" for member in fleet.members)
    text = f"{parts} of {rate.limit} in {rate.period:g} s"
    if fleet.away_for:
        return Finding(f"shared {name}", Verdict.WARN, f"{text}; the store is away for {fleet.away_for:.0f} s")
    if fleet.cold_for:
        text = f"{text}; nothing is sent for {fleet.cold_for:.0f} s, as the store may have lost what was sent before"
    return Finding(f"shared {name}", Verdict.OK, text)
