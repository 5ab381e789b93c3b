"""What all models have in common: how they are shown and written."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec


class Model(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """Hold what a server sent. Frozen; unknown fields are left out."""

    @property
    def odd(self) -> Mapping[str, Any]:
        """The optional fields whose shape was not the documented one, as sent. Where they are read they are None."""
        odd: Mapping[str, Any] = vars(self).get("odd", {})
        return odd
