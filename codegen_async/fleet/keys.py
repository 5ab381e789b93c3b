"""Name what members share, so that only those meet who spend the same budget; never by the token itself. Pure."""

from __future__ import annotations

from hashlib import blake2b

from codegen_async.secret import Secret
from codegen_async.settings import one_spelling

_PREFIX = "codegen-async"


def key_of(base_url: str, organization: str, token: Secret, what: str) -> str:
    """Return the name of something that all share who use a token: the board of an endpoint, say.

    Args:
        base_url: where the API is.
        organization: whose runs they are; empty where the token alone says that.
        token: the token, of which a digest is taken.
        what: what they share.
    """
    digest = blake2b(digest_size=16)
    for part in (one_spelling(base_url), organization, token.reveal()):
        digest.update(part.encode() + b"\0")  # which is in none of them
    return f"{_PREFIX}:{digest.hexdigest()}:{what}"
