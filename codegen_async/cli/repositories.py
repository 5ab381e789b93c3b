"""Which repository a command is to work on: by id, by name, or as the settings say."""

from __future__ import annotations

import difflib
import re
from contextlib import aclosing

from codegen_async.cli.errors import UsageError, command
from codegen_async.cli.options import Connection, Repository
from codegen_async.cli.targets import default_repo
from codegen_async.codegen.client import CodegenClient
from codegen_async.errors import clean

_FULL_NAME = re.compile(r"[^/\s]+/[^/\s]+")


def check_repository(wish: Repository) -> None:
    """Make sure that a repository is named once, and as it can be.

    Raises:
        UsageError: it is not.
    """
    if wish.repo is not None and wish.repo_id is not None:
        raise UsageError("--repo and --repo-id exclude one another")
    if wish.repo is not None and not _FULL_NAME.fullmatch(wish.repo):
        raise UsageError(f"--repo: expected owner/name, got {clean(wish.repo, 60)!r}", command("repo", "list"))


async def repository_id(client: CodegenClient, wish: Repository, connection: Connection) -> int | None:
    """Return the id of the repository that is meant; None for the server's choice.

    Raises:
        UsageError: the organization has none of this name.
        APIError: its repositories could not be had.
    """
    if wish.repo is None:
        return default_repo(connection) if wish.repo_id is None else wish.repo_id
    names: list[str] = []
    async with aclosing(client.list_repos()) as repos:
        async for repo in repos:
            name = repo.full_name or ""
            if name.casefold() == wish.repo.casefold():  # as GitHub has it
                return repo.id
            names.append(name)
    near = difflib.get_close_matches(wish.repo, names, n=1)
    hint = f"did you mean {clean(near[0])}?" if near else f"to see which there are: {command('repo', 'list')}"
    raise UsageError(f"--repo: organization {client.org_id} has no repository {clean(wish.repo, 60)!r}", hint)
