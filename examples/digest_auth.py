"""Ask for a password that is never sent, on all routes: clients prove that they know it.

python -m ws_middleware examples.digest_auth:ws
"""

from __future__ import annotations

from ws_middleware import AsyncConnection, WebSockets
from ws_middleware.auth import Digest, digest_secret

REALM = "cameras"
#: What is stored: worth as much as the password, but only here.
SECRETS = {
    ("alice", "SHA-256"): digest_secret("SHA-256", "alice", REALM, "open sesame"),
    ("alice", "MD5"): digest_secret("MD5", "alice", REALM, "open sesame"),
}


class Secrets:
    """Look secrets up; `blocking` says that it takes no time, so no thread is needed."""

    blocking = False

    def __call__(self, user: str, realm: str, algorithm: str) -> str | None:
        return SECRETS.get((user, algorithm))


# Old devices only know MD5.
ws = WebSockets(authenticate=Digest(Secrets(), realm=REALM, algorithms=["SHA-256", "MD5"]))


@ws.route("/camera/<int:number>")
async def camera(connection: AsyncConnection, number: int) -> None:
    await connection.send(f"{connection.identity} sees camera {number}")
