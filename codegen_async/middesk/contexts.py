"""What a run or a thread is about, as its caller says it. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from codegen_async.arguments import check_text
from codegen_async.errors import InvalidArgumentError

_FIELDS = ("type", "business_id", "context_type", "context_id")


def check_start(fields: Mapping[str, object]) -> dict[str, str]:
    """Return what is started, and about what, for a thread or for a run that is to have one of its own.

    Raises:
        InvalidArgumentError: a field is missing, or cannot be right.
    """
    kind, *about = (fields.get(name) for name in _FIELDS)
    context = check_context(*about)
    if not context:
        raise InvalidArgumentError("business_id", None, "this, or context_type and context_id")
    return {"type": check_text("type", kind), **context}


def check_context(business_id: object, context_type: object, context_id: object) -> dict[str, str]:
    """Return what a run or thread is about: a business, another context, or nothing."""
    if (context_type is None) != (context_id is None):
        raise InvalidArgumentError("context_id", context_id, "context_type and context_id, or neither")
    if business_id is not None and context_type is not None:
        raise InvalidArgumentError("context_type", context_type, "either this or business_id")
    given = {"business_id": business_id, "context_type": context_type, "context_id": context_id}
    return {name: check_text(name, value) for name, value in given.items() if value is not None}
