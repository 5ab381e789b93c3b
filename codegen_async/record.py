"""What all models have in common: how they are shown and written."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self, TypeVar

import msgspec

M = TypeVar("M", bound="Model")


class Model(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """Hold what a server sent. Frozen; unknown fields are left out."""

    @property
    def odd(self) -> Mapping[str, Any]:
        """The optional fields whose shape was not the documented one, as sent. Where they are read they are None."""
        odd: Mapping[str, Any] = vars(self).get("odd", {})
        return odd

    def __copy__(self) -> Self:
        return _remade(type(self), msgspec.structs.asdict(self), vars(self))

    def __reduce__(self) -> tuple[object, ...]:
        return _remade, (type(self), msgspec.structs.asdict(self), vars(self))  # by default what is noted gets lost


def _remade(kind: type[M], fields: Mapping[str, Any], notes: Mapping[str, Any]) -> M:
    made = kind(**fields)
    vars(made).update(notes)
    return made
