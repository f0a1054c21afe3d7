"""A service account for clients that will not begin without one; it opens nothing anywhere.

`google-cloud-storage` before 2.0 asks for credentials even where none are checked, and old
trainers pin it. So replicas of a machine that has none get a file of this engine's making. Its
token comes from the sidecar, means nothing to Google, and never leaves for there.
"""

from __future__ import annotations

import base64
import dataclasses
import json
import urllib.parse

from mlengine.core.errors import InvalidArgument
from mlengine.storage.gcs import Request, Response
from mlengine.storage.gcs.messages import json_response

__all__ = ["TOKEN_PATH", "account_file", "answer_token", "without_token"]

TOKEN_PATH = "/oauth2/v4/token"
"""Below www.googleapis.com: where TensorFlow asks whatever a file says, and so ours says too."""

_EMAIL = "job@mlengine.invalid"
_TOKEN = "mlengine-job"
_LIFE_S = 3600
_MAX_BODY_BYTES = 64 * 1024


def account_file(private_key: str) -> bytes:
    """Return the file's content.

    Args:
        private_key: Any RSA key in PEM, for what is signed with it is not looked at.
    """
    return json.dumps({
        "type": "service_account",
        "project_id": "mlengine",  # GOOGLE_CLOUD_PROJECT says it better
        "private_key_id": "mlengine",
        "private_key": private_key,
        "client_email": _EMAIL,
        "client_id": "0",
        "auth_uri": "https://accounts.google.com/o/oauth2/auth",
        "token_uri": f"https://www.googleapis.com{TOKEN_PATH}",
    }).encode()  # fmt: skip


def answer_token(request: Request) -> tuple[Response | None, Request]:
    """Answer who shows our account with a token of ours; else return the request to send on.

    Raises:
        InvalidArgument: Its body is longer than any that asks for a token.
    """
    body = bytearray()
    for chunk in request.body:
        body += chunk
        if len(body) > _MAX_BODY_BYTES:
            raise InvalidArgument("No request for a token is that long.")
    if _issuer(bytes(body)) != _EMAIL:
        return None, dataclasses.replace(request, body=[bytes(body)])
    token = {"access_token": _TOKEN, "expires_in": _LIFE_S, "token_type": "Bearer"}
    return json_response(token), request


def without_token(headers: dict[str, str]) -> dict[str, str]:
    """Return the headers without our token: Google answers a wrong one worse than none."""
    if headers.get("authorization") != f"Bearer {_TOKEN}":
        return headers
    return {name: value for name, value in headers.items() if name != "authorization"}


def _issuer(form: bytes) -> str:
    """Return whom a signed request for a token is from; empty when it is anything else."""
    try:
        (assertion,) = urllib.parse.parse_qs(form.decode("ascii"))["assertion"]
        claims = assertion.split(".")[1]
        read = json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))
        return str(read["iss"])
    except (KeyError, IndexError, TypeError, ValueError, RecursionError):
        return ""
