"""Calls about who uses the API, and with what: organizations, the user, repositories, models."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from codegen_async.arguments import LARGEST_PAGE
from codegen_async.cleaning import clean
from codegen_async.codegen.account_models import ModelCatalog, Organization, OrganizationPage, Repo, RepoPage, User
from codegen_async.codegen.calls import CodegenCalls
from codegen_async.codegen.dialect import me, organizations
from codegen_async.codegen.paging import check_place, walk
from codegen_async.errors import ConfigurationError
from codegen_async.http.transport import Transport

_MOST_NAMED = 10


class AccountCalls(CodegenCalls):
    """Look at organizations, the user, repositories and models; a part of `CodegenClient`."""

    def list_organizations(self, *, page_size: int = LARGEST_PAGE) -> AsyncGenerator[Organization]:
        """Yield the organizations that the token has access to, page after page (60 pages per 30 s).

        Args:
            page_size: organizations asked for at a time, 1..100. Default 100.

        Raises:
            InvalidArgumentError: the page size cannot be right.
            APIError: a page could not be had.
        """
        return walk(self.list_organizations_page, page_size)

    async def list_organizations_page(self, *, skip: int = 0, limit: int = LARGEST_PAGE) -> OrganizationPage:
        """Return one page of the organizations that the token has access to (60 per 30 s).

        Args:
            skip: organizations to leave out at the beginning, 0 or more.
            limit: organizations on the page, 1..100.

        Raises:
            InvalidArgumentError: an argument cannot be right.
            APIError: the page could not be had.
        """
        return await self._carry(organizations(*check_place(skip, limit)))

    async def me(self) -> User:
        """Return the user whose token it is (60 per 30 s).

        Raises:
            APIError: it could not be had.
        """
        return await self._carry(me())

    def list_repos(self, *, page_size: int = LARGEST_PAGE) -> AsyncGenerator[Repo]:
        """Yield the organization's repositories, page after page (60 pages per 30 s).

        Args:
            page_size: repositories asked for at a time, 1..100. Default 100.

        Raises:
            InvalidArgumentError: the page size cannot be right.
            APIError: a page could not be had.
        """
        return walk(self.list_repos_page, page_size)

    async def list_repos_page(self, *, skip: int = 0, limit: int = LARGEST_PAGE) -> RepoPage:
        """Return one page of the organization's repositories (60 per 30 s).

        Args:
            skip: repositories to leave out at the beginning, 0 or more.
            limit: repositories on the page, 1..100.

        Raises:
            InvalidArgumentError: an argument cannot be right.
            APIError: the page could not be had.
        """
        return await self._carry(self.dialect.repos(*check_place(skip, limit)))

    async def list_models(self) -> ModelCatalog:
        """Return the models that the organization may use, and which it uses by default (60 per 30 s).

        Raises:
            APIError: they could not be had.
        """
        return await self._carry(self.dialect.models())


async def only_organization(transport: Transport) -> int:
    """Return the organization that a token has access to, if it is but one.

    Raises:
        ConfigurationError: there are several, which it names, or none.
        APIError: they could not be had.
    """
    call = organizations(0, LARGEST_PAGE)
    page = await transport.carry(call.request({}), call.read)
    count = count_of(page)
    if count == len(page.items) == 1:
        return page.items[0].id
    if not count:
        raise ConfigurationError("org_id: the token has access to no organization")
    raise ConfigurationError(f"org_id: give it as an argument or set CODEGEN_ORG_ID; {named(page)}")


def count_of(page: OrganizationPage) -> int:
    """Return how many organizations a token has access to, by the first page of them."""
    return max(page.total, len(page.items) + page.unreadable)


def named(page: OrganizationPage) -> str:
    """Return in words which organizations a token has access to, the first of many."""
    count = count_of(page)
    first = [f"{one.id} ({clean(one.name, 40)})" if one.name else str(one.id) for one in page.items[:_MOST_NAMED]]
    more = [f"{count - len(first)} more"] if count > len(first) else []
    noun = "organization" if count == 1 else "organizations"
    return f"the token has access to {count} {noun}: {', '.join([*first, *more])}"
