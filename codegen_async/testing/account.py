"""What the user of a simulated Codegen API has beside runs: organizations, repositories, models. No HTTP."""

from collections.abc import Mapping
from typing import Any

__all__ = ["Account"]


class Account:
    """Be the account of one user; a test may change all of it.

    Args:
        org_id: the organization that has the runs and repositories.
        user_id: the user.
    """

    def __init__(self, org_id: int, user_id: int) -> None:
        self.organizations: dict[int, str] = {org_id: "Example"}
        """Names by id of all that the token has access to. Those that a test adds are empty."""
        self.repos: dict[int, str] = {101: "example/website", 102: "example/service", 103: "example/docs"}
        """Full names of the repositories by id; without any, create answers 404."""
        self.models: dict[str, Mapping[str, str]] = {
            "Anthropic": {"claude-sonnet-4": "Claude Sonnet 4", "claude-opus-4": "Claude Opus 4"},
            "OpenAI": {"gpt-5": "GPT-5"},
        }
        """Labels of the models by what a create calls them, of each provider."""
        self.default_model: str = "claude-sonnet-4"
        """The model for runs that name none."""
        self._org_id = org_id
        self._user_id = user_id

    def organization(self, org_id: int) -> dict[str, Any]:
        """Return how an organization looks ("Get Organizations")."""
        settings = {"enable_pr_creation": True, "enable_rules_detection": True}
        return {"id": org_id, "name": self.organizations[org_id], "settings": settings}

    def user(self) -> dict[str, Any]:
        """Return how the user looks ("Get Current User")."""
        return {
            "id": self._user_id,
            "email": "user@example.com",
            "github_user_id": "1000001",
            "github_username": "example-user",
            "avatar_url": "https://avatars.example.com/u/1000001",
            "full_name": "Example User",
        }

    def repo(self, repo_id: int) -> dict[str, Any]:
        """Return how a repository looks ("Get Repositories")."""
        full_name = self.repos[repo_id]
        return {
            "id": repo_id,
            "name": full_name.rpartition("/")[2],
            "full_name": full_name,
            "description": None,
            "github_id": str(9_000_000 + repo_id),
            "organization_id": self._org_id,
            "visibility": "private",
            "archived": False,
            "setup_status": "COMPLETE",
            "language": "Python",
        }

    def catalog(self) -> dict[str, Any]:
        """Return how the models look ("List Models")."""
        providers = [
            {"name": name, "models": [{"label": label, "value": value} for value, label in models.items()]}
            for name, models in self.models.items()
        ]
        return {"providers": providers, "default_model": self.default_model}
