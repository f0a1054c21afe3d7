"""`mlengine auth`: the access token."""

from __future__ import annotations

from mlengine.cli.session import Session, pass_session
from mlengine.cli.tree import Group, command
from mlengine.engine.home import read_token

__all__ = ["auth"]

auth = Group("auth", help="The access token.")


@command(auth, "print-access-token")
@pass_session
def print_access_token(session: Session) -> None:
    """Print the token that requests carry: MLENGINE_TOKEN, or the local engine's own."""
    settings = session.settings
    token = settings.token
    if not token and settings.endpoint:
        from mlengine.client.local import token_for

        token = token_for(settings)
    session.write((token or read_token(settings.home)) + "\n")
