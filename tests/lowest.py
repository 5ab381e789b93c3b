"""Write the lowest versions that pyproject.toml allows, for users and for the tests, as constraints for pip."""

import re
import sys
import tomllib
from pathlib import Path
from typing import Any

_REQUIREMENT = re.compile(r"(?P<name>[\w.-]+)(\[[\w,-]+\])?>=(?P<lowest>[^,;]+)")


def lowest(project: dict[str, Any]) -> list[str]:
    """Return a constraint for each requirement; one without a lower bound is an error of the project's."""
    extras = project["project"]["optional-dependencies"].values()
    wanted = [project["project"]["dependencies"], *extras, project["dependency-groups"]["test"]]
    found = [(text, _REQUIREMENT.match(text)) for texts in wanted for text in texts]
    if unbounded := [text for text, bound in found if bound is None]:
        raise ValueError(f"no lower bound: {', '.join(unbounded)}")
    return sorted({f"{bound['name']}=={bound['lowest'].strip()}" for _, bound in found if bound is not None})


if __name__ == "__main__":
    root = Path(__file__).parents[1]
    sys.stdout.write("\n".join(lowest(tomllib.loads((root / "pyproject.toml").read_text()))) + "\n")
