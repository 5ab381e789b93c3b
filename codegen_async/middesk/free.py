"""Free objects of the Middesk API: interrupts, outputs and artifacts, as sent.

They are dicts with all that was sent, and have properties for what is documented.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast


class AsSent(dict[str, Any]):
    """Hold a free object with all that was sent."""

    def _text(self, name: str) -> str | None:
        value = self.get(name)
        return value if isinstance(value, str) else None


class Artifact(AsSent):
    """Hold something an agent found.

    `submit_feedback` needs its id, which the vendor sends without declaring it: one reason to keep all fields.
    """

    @property
    def id(self) -> str | None:
        """The artifact's id, where it has one."""
        return self._text("id")

    @property
    def title(self) -> str | None:
        """What it is called."""
        return self._text("title")

    @property
    def type(self) -> str | None:
        """What kind of thing it is; an open set."""
        return self._text("type")

    @property
    def summary(self) -> str | None:
        """A short form of it."""
        return self._text("summary")

    @property
    def confidence(self) -> Any:
        """How sure the agent is; no type is documented."""
        return self.get("confidence")

    @property
    def sources(self) -> tuple[Mapping[str, Any], ...]:
        """Where it was found: objects with `url`, `source_name`, `source_tier` and `source_type`."""
        return _objects(self.get("sources"))


class Output(AsSent):
    """Hold what a completed run produced."""

    @property
    def artifacts(self) -> tuple[Artifact, ...]:
        """What the agent found."""
        return tuple(map(Artifact, _objects(self.get("artifacts"))))


class Interrupt(AsSent):
    """Hold a question that a run cannot go on without: its answer goes to `resume_run`, with the interrupt's id."""

    @property
    def id(self) -> str:
        """The interrupt's id; empty where an older API sent none, and then it cannot be answered."""
        return self._text("id") or ""

    @property
    def agent(self) -> str | None:
        """The type of the agent that asks."""
        return self._text("agent")

    @property
    def value(self) -> Mapping[str, Any]:
        """What is asked; typical keys are `agent`, `label`, `artifacts` and `proposals`."""
        value = self.get("value")
        return cast("dict[str, Any]", value) if isinstance(value, dict) else {}

    @property
    def label(self) -> str | None:
        """The question in words, where there is one."""
        label = self.value.get("label")
        return label if isinstance(label, str) else None


class Artifacts(tuple[Artifact, ...]):
    """Hold artifacts; where a server sends null there are none."""

    __slots__ = ()


class Interrupts(tuple[Interrupt, ...]):
    """Hold interrupts; where a server sends null there are none."""

    __slots__ = ()


def dec_hook(kind: type, value: object) -> Any:
    """Read the types of this module that msgspec does not know."""
    if issubclass(kind, AsSent):
        return kind(_object(value))
    items = _objects(value or [])
    if value and not items:
        raise ValueError(f"Expected `array` of objects, got `{type(value).__name__}`")
    return Artifacts(map(Artifact, items)) if kind is Artifacts else Interrupts(map(Interrupt, items))


def _object(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"Expected `object`, got `{type(value).__name__}`")  # noqa: TRY004 - msgspec adds the path
    return cast("dict[str, Any]", value)


def _objects(value: object) -> tuple[dict[str, Any], ...]:
    values = cast("list[object]", value) if isinstance(value, list) else []
    return tuple(cast("dict[str, Any]", one) for one in values if isinstance(one, dict))
