"""Which repository a command is to work on: by id, by name, or as the settings say."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from contextlib import aclosing

from codegen_async.cleaning import clean
from codegen_async.cli.errors import UsageError, command
from codegen_async.cli.options import Repository, Server
from codegen_async.cli.selecting import did_you_mean
from codegen_async.cli.targets import default_repo
from codegen_async.codegen.client import CodegenClient

_FULL_NAME = re.compile(r"[^/\s]+/[^/\s]+")


FindRepo = Callable[[CodegenClient], Awaitable[int | None]]
"""Returns the id of a repository; None for the server's choice."""


def repository(wish: Repository, connection: Server) -> FindRepo:
    """Return what finds the repository that is meant.

    Raises:
        UsageError: it is named twice, or as none can be.
    """
    if wish.repo is not None and wish.repo_id is not None:
        raise UsageError("--repo and --repo-id exclude one another")
    if wish.repo is not None and not _FULL_NAME.fullmatch(wish.repo):
        raise UsageError(f"--repo: expected owner/name, got {clean(wish.repo, 60)!r}", command("repo", "list"))

    known = wish.repo_id
    if wish.repo is None and known is None:
        known = default_repo(connection)

    async def find(client: CodegenClient) -> int | None:
        return known if wish.repo is None else await _named(client, wish.repo)

    return find


async def _named(client: CodegenClient, wanted: str) -> int:
    """Return the id of the repository of this name.

    Raises:
        UsageError: the organization has none.
        APIError: its repositories could not be had.
    """
    names: list[str] = []
    async with aclosing(client.list_repos()) as repos:
        async for repo in repos:
            name = repo.full_name or ""
            if name.casefold() == wanted.casefold():  # as GitHub has it
                return repo.id
            names.append(name)
    hint = did_you_mean(wanted, names) or f"to see which there are: {command('repo', 'list')}"
    raise UsageError(f"--repo: organization {client.org_id} has no repository {clean(wanted, 60)!r}", hint)
