"""The page of the exceptions: cause, what to do, what each carries; from their docstrings."""

import re
from collections.abc import Iterator

from codegen_async import errors
from codegen_async.errors import CodegenAsyncError
from docs.generate.docstrings import capital, read

MARK = "What to do: "
"""What the paragraph of a docstring begins with that says it."""

_HEAD = """\
# Errors

All that the package raises on purpose is a `CodegenAsyncError`; the tree below is all of it. None of them ever carries
the token or an object of the HTTP library, and all can be copied and pickled. By symptom instead of by class:
[Troubleshooting](../howto/troubleshooting.md).

```text
{tree}
```

`codegen_async.is_passing(error)` says whether an error goes by with time, so that the same call may do later.

## What an answer means

A refusal counts for what it says only in the API's own form. What a gateway, a firewall or a page of maintenance says
in its place is a `GatewayError`, an outage: a GET is tried again, a create may have been carried out and is looked for.

| answer | GET | create, resume |
|---|---|---|
| 4xx in the API's own form | its error | its error; nothing was done |
| 4xx in any other form, but for the next three rows | tried again, then `GatewayError` | unknown outcome |
| 401 in any form | `AuthenticationError` | the same |
| 413, 414, 431 in any form | `StatusError` | the same; it was too large to be passed on |
| 3xx, 407, 511 | `RedirectedError` | the same; it was not passed on |
| 200 that is no JSON, or was cut short | tried again, then `GatewayError` | unknown outcome |
| 200 of another shape | `DecodeError` | unknown outcome, likely done |
"""


def page() -> str:
    """Return the page."""
    text = _HEAD.format(tree=_tree())
    return text + "\n## One by one\n\n" + "\n\n".join("\n\n".join(_section(kind)) for kind in kinds()) + "\n"


def kinds() -> list[type[CodegenAsyncError]]:
    """Return all exceptions, in the order of the tree."""
    return [getattr(errors, name) for name in re.findall(r"^[|` -]*(\w+Error)\b", _tree(), re.MULTILINE)]


def _tree() -> str:
    lines = re.findall(r"^    (.*\w.*)$", errors.__doc__ or "", re.MULTILINE)
    return "\n".join(lines)


def _section(kind: type[CodegenAsyncError]) -> Iterator[str]:
    """Yield the paragraphs about one exception."""
    text = read(kind)
    yield f"### {kind.__name__}"
    first, *others = text.paragraphs
    yield capital(first.removeprefix("Say that "))
    yield from (other for other in others if not other.startswith(MARK))
    yield from (f"**What to do:** {other.removeprefix(MARK)}" for other in others if other.startswith(MARK))
    carried = text.sections.get("Attributes", {})
    own = "; ".join(f"`{name}`, {meaning.rstrip('.')}" for name, meaning in carried.items())
    if own:
        yield f"**Carries:** {own}."
    if kind is not CodegenAsyncError:
        yield f"A kind of {' and of '.join(map(_link, kind.__bases__))}."


def _link(kind: type[BaseException]) -> str:
    own = issubclass(kind, CodegenAsyncError)
    return f"[`{kind.__name__}`](#{kind.__name__.lower()})" if own else f"`{kind.__name__}`"
