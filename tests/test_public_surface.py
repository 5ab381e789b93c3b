"""The surface: every public name exists, is described, and behaves when it is printed, copied or pickled."""

import ast
import copy
import inspect
import pickle
import re
import subprocess
import sys
from pathlib import Path
from types import FunctionType

import pytest

import codegen_async
from codegen_async import errors
from codegen_async.errors import (
    APIError,
    CodegenAsyncError,
    InvalidArgumentError,
    JournalError,
    LimiterBusyError,
    RunError,
)

PUBLIC = [getattr(codegen_async, name) for name in codegen_async.__all__]
CLASSES = [item for item in PUBLIC if inspect.isclass(item)]
ERRORS = [item for item in vars(errors).values() if inspect.isclass(item) and issubclass(item, CodegenAsyncError)]


def test_what_type_checkers_see_is_what_there_is() -> None:
    source = ast.parse(Path(codegen_async.__file__).read_text(encoding="utf-8"))
    (block,) = (node for node in source.body if isinstance(node, ast.If))
    typed = {alias.name for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert typed | {"__version__"} == set(codegen_async.__all__) == set(dir(codegen_async))
    assert list(codegen_async.__all__) == sorted(codegen_async.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = codegen_async.no_such_name


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_every_public_class_and_method_is_described(kind: type) -> None:
    assert kind.__doc__
    own = {name: item for name, item in vars(kind).items() if not name.startswith("_")}
    functions = [item.fget if isinstance(item, property) else item for item in own.values()]
    for function in functions:
        if isinstance(function, FunctionType):
            assert function.__doc__, f"{kind.__name__}.{function.__name__}"


def test_the_tree_in_the_docstring_is_the_tree_of_the_classes() -> None:
    lines = re.findall(r"^    ((?:[|` ] *)*[|`]- )?(\w+Error)\b", errors.__doc__ or "", re.MULTILINE)
    parents: list[str] = []
    drawn: dict[str, str | None] = {}
    for branch, name in lines:
        depth = len(branch) // 3
        del parents[depth:]
        drawn[name] = parents[-1] if parents else None
        parents.append(name)
    real = {kind.__name__: None if kind is CodegenAsyncError else kind.__mro__[1].__name__ for kind in ERRORS}
    assert drawn == real


def an_error(kind: type[CodegenAsyncError]) -> CodegenAsyncError:
    if issubclass(kind, APIError):
        return kind("went wrong", method="GET", path="/x", status=500, request_id="r", attempts=3)
    if issubclass(kind, RunError):
        return kind("went wrong", run_id=17, run=None)
    if issubclass(kind, JournalError):
        return kind("batch.db", "went wrong")
    if issubclass(kind, LimiterBusyError):
        return kind("create", 12.0, 1.0)
    if issubclass(kind, InvalidArgumentError):
        return kind("field", "value", "something else")
    return kind("went wrong")


@pytest.mark.parametrize("kind", ERRORS, ids=lambda kind: kind.__name__)
def test_every_error_can_be_copied_and_pickled(kind: type[CodegenAsyncError]) -> None:
    error = an_error(kind)
    for twin in (copy.copy(error), pickle.loads(pickle.dumps(error))):  # noqa: S301 - our own bytes
        assert type(twin) is kind
        assert (str(twin), vars(twin)) == (str(error), vars(error))


@pytest.mark.parametrize(
    ("statement", "heavy"),
    [
        ("import codegen_async", {"aiohttp", "asyncio", "msgspec"}),
        ("from codegen_async import CodegenClient", {"aiohttp"}),
        ("import codegen_async.testing", {"aiohttp", "pytest"}),
    ],
)
def test_an_import_does_not_load_what_it_does_not_need(statement: str, heavy: set[str]) -> None:
    code = f"{statement}; import sys; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)  # noqa: S603
    assert not heavy & set(loaded.stdout.split())
