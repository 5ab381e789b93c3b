"""What the Codegen API says of those who use it: organizations, users, repositories, models to choose from.

As with runs, only ids are required on the wire.
"""

from __future__ import annotations

from typing import Any

from codegen_async.codegen.models import Id
from codegen_async.record import Model


class Organization(Model, frozen=True, kw_only=True):
    """Hold an organization that the token has access to ("Get Organizations").

    Attributes:
        id: what a client is opened with.
        name: what it is called.
        settings: as sent; known are `enable_pr_creation` and `enable_rules_detection`.
    """

    id: Id
    name: str | None = None
    settings: dict[str, Any] | None = None


class User(Model, frozen=True, kw_only=True):
    """Hold a user ("Get Current User").

    Attributes:
        id: what `list_runs` takes as `user_id`.
        email: as sent.
        github_user_id: as sent.
        github_username: as sent.
        avatar_url: as sent.
        full_name: as sent.
    """

    id: Id
    email: str | None = None
    github_user_id: str | None = None
    github_username: str | None = None
    avatar_url: str | None = None
    full_name: str | None = None


class Repo(Model, frozen=True, kw_only=True):
    """Hold a repository of the organization ("Get Repositories").

    Attributes:
        id: what `create_run` takes as `repo_id`.
        name: what it is called.
        full_name: the same with its owner, such as `acme/website`.
        description: what it is said to be.
        github_id: its id at GitHub.
        organization_id: whose it is.
        visibility: such as `public` or `private`; an open set.
        archived: whether it is.
        setup_status: how far it is set up; an open set.
        language: what it is mostly written in.
    """

    id: Id
    name: str | None = None
    full_name: str | None = None
    description: str | None = None
    github_id: str | None = None
    organization_id: int | None = None
    visibility: str | None = None
    archived: bool | None = None
    setup_status: str | None = None
    language: str | None = None


class OrganizationPage(Model, frozen=True, kw_only=True):
    """Hold one page of organizations.

    Attributes:
        items: the organizations that could be read.
        total: organizations on all pages.
        page: number of this page, counted from 1.
        size: organizations on a full page.
        pages: number of pages.
        unreadable: organizations of this page that could not be read.
    """

    items: tuple[Organization, ...]
    total: int = 0
    page: int = 0
    size: int = 0
    pages: int = 0
    unreadable: int = 0


class RepoPage(Model, frozen=True, kw_only=True):
    """Hold one page of repositories.

    Attributes:
        items: the repositories that could be read.
        total: repositories on all pages.
        page: number of this page, counted from 1.
        size: repositories on a full page.
        pages: number of pages.
        unreadable: repositories of this page that could not be read.
    """

    items: tuple[Repo, ...]
    total: int = 0
    page: int = 0
    size: int = 0
    pages: int = 0
    unreadable: int = 0


class ModelOption(Model, frozen=True, kw_only=True):
    """Hold a model that a run can be given to.

    Attributes:
        value: what `create_run` takes as `model`.
        label: the same for people.
    """

    value: str
    label: str | None = None


class ModelProvider(Model, frozen=True, kw_only=True):
    """Hold who offers models.

    Attributes:
        name: who.
        models: which.
    """

    name: str | None = None
    models: tuple[ModelOption, ...] = ()


class ModelCatalog(Model, frozen=True, kw_only=True):
    """Hold the models that the organization may use.

    Attributes:
        providers: who offers which.
        default_model: the one for runs that name none.
    """

    providers: tuple[ModelProvider, ...] = ()
    default_model: str | None = None
