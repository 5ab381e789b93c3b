import subprocess
import sys

import pytest

from codegen_async import testing
from codegen_async.testing import CodegenServer

# The package above may load what it likes; this is about what the parts of `testing` load by themselves.
ALONE = """
import sys, types
package = types.ModuleType("codegen_async")
package.__path__ = ["codegen_async"]
sys.modules["codegen_async"] = package
import codegen_async.testing.{name}
print(*sorted({{"aiohttp", "aiolimiter", "msgspec", "pytest"}} & set(sys.modules)))
"""


def loaded_by(name: str) -> list[str]:
    code = ALONE.format(name=name)
    return subprocess.run(  # noqa: S603 - our own interpreter and text
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    ).stdout.split()


@pytest.mark.parametrize("name", ["clock", "rates", "faults", "world"])
def test_the_pure_parts_need_nothing_but_the_standard_library(name: str) -> None:
    assert loaded_by(name) == []


def test_the_plugin_does_not_load_aiohttp() -> None:
    assert loaded_by("plugin") == ["pytest"]


def test_the_server_does_load_it() -> None:
    assert "aiohttp" in loaded_by("codegen")


@pytest.mark.parametrize("name", testing.__all__)
def test_every_public_name_can_be_had_from_the_package(name: str) -> None:
    assert getattr(testing, name).__name__ == name


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'Nothing'"):
        testing.Nothing  # noqa: B018 - the access is the test


def test_a_server_is_made_where_its_loop_runs() -> None:
    with pytest.raises(RuntimeError, match="no running event loop"):
        CodegenServer()
