"""Digest authentication, the server's side: proof of a password that is not sent (RFC 7616).

Challenges take no memory. A pair of nonce and count can be used once, in whatever order the
counts arrive, and only those are remembered that proved a password.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ws_middleware.auth.answers import ALGORITHMS, hash_name, hash_text
from ws_middleware.auth.identity import Admitted
from ws_middleware.auth.nonces import Nonces
from ws_middleware.auth.proof import Proof, read_proof, split_uri
from ws_middleware.auth.reading import paths_of, read_credentials
from ws_middleware.auth.schemes import format_challenge, format_parameters, quote
from ws_middleware.auth.signing import equals
from ws_middleware.auth.spent import Spend, Spent
from ws_middleware.auth.steps import in_steps
from ws_middleware.auth.stores import DigestPasswords, HashedNames
from ws_middleware.errors import Reject, Unauthorized
from ws_middleware.options import check_asked

if TYPE_CHECKING:
    from ws_middleware.request import Request

__all__ = ["Digest"]

#: As long as a secret is, for users that there are not.
_NOBODYS = "0" * 64


class Digest:
    """Authenticate with Digest, quality of protection "auth" (RFC 7616).

    `secrets` is a mapping from users to passwords, or a function `secrets(user, realm,
    algorithm)`, plain or async, that gives what `digest_secret` makes of a password, or None.
    `algorithms` are "SHA-512-256", "SHA-256", "MD5" and each of them with "-sess". A nonce can
    be used for `lifetime` seconds. With `userhash` clients may hide the user's name; `secrets`
    then is a mapping, or has `users()`.

    Processes with one `key` (16 random bytes or more; of a list the first signs) accept each
    other's nonces. What was used is remembered by each process for itself, unless `spent` is a
    function of yours that all of them share: see `Spend`.

    >>> [challenge] = Digest({"alice": "secret"}, realm="attic").challenges()
    >>> challenge[:51]
    'Digest realm="attic", qop="auth", algorithm=SHA-256'
    """

    def __init__(
        self,
        secrets: Mapping[str, str] | Callable[[str, str, str], Any],
        *,
        realm: str = "WebSocket",
        algorithms: Sequence[str] = ("SHA-256",),
        userhash: bool = False,
        lifetime: float = 300.0,
        key: bytes | Sequence[bytes] | None = None,
        spent: Spend | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._secrets = DigestPasswords(secrets) if isinstance(secrets, Mapping) else secrets
        check_asked(self._secrets, "secrets is a mapping of users, or a function")
        self._algorithms = _spell(algorithms)
        self._realm = realm
        # The same in every process: a nonce of another one is then stale, nothing worse.
        self._opaque = hash_text("SHA-256", "opaque", realm)[:32]
        self._reveal = HashedNames(self._secrets, realm) if userhash else None
        self._nonces = Nonces(key, lifetime)
        self._spend: Spend = Spent(clock=clock) if spent is None else spent
        self._clock = clock
        #: Whether `secrets` or `spent` may take long.
        self.blocking: bool = any(
            getattr(function, "blocking", True) for function in (self._secrets, self._spend)
        )

    def challenges(self, request: Request | None = None, *, stale: bool = False) -> Sequence[str]:
        """Give the challenges of a 401: one for each algorithm, the strongest first."""
        nonce = self._nonces.make(self._clock())
        return [self._challenge(algorithm, nonce, stale) for algorithm in self._algorithms.values()]

    def _challenge(self, algorithm: str, nonce: str, stale: bool) -> str:
        parameters = {
            "realm": quote(self._realm),
            "qop": quote("auth"),
            "algorithm": algorithm,
            "nonce": quote(nonce),
            "opaque": quote(self._opaque),
            "charset": "UTF-8",
            "userhash": "true" if self._reveal else "false",
        }
        return format_challenge("Digest", parameters | ({"stale": "true"} if stale else {}))

    @in_steps
    def __call__(self, request: Request) -> Generator[Any, Any, Any]:
        """Give the user who proved a password; `Unauthorized` otherwise."""
        proof = self._read(request)
        secret = yield self._secrets(proof.user, self._realm, proof.algorithm)
        # Someone unknown costs the same hashes.
        expected = proof.compute(secret or _NOBODYS, request.method)
        if not equals(expected, proof.response) or not secret:
            raise self._refusal("the user or the password is wrong")
        expiry = self._nonces.expiry(proof.nonce, self._clock())
        is_first = None
        if expiry is not None:
            is_first = yield self._spend(f"{proof.nonce}:{proof.nc.lower()}", expiry)
        # "The server SHOULD only set stale to true if it receives a request for which the nonce
        # is invalid", with a right response (§3.3).
        if expiry is None or is_first is None:
            raise self._refusal("the nonce is stale", stale=True)
        if not is_first:
            raise self._refusal("the nonce was used with this count before")
        return Admitted(proof.user, headers=[self._own_proof(proof, secret, expiry)])

    def _refusal(self, reason: str, *, stale: bool = False) -> Unauthorized:
        return Unauthorized(self.challenges(stale=stale), reason)

    def _read(self, request: Request) -> Proof:
        try:
            credentials = read_credentials(request, "digest")
            if credentials is None:
                raise Unauthorized(self.challenges())
            offered = {"realm": self._realm, "opaque": self._opaque, "qop": "auth"}
            proof = read_proof(credentials.parameters, offered, self._algorithms, self._reveal)
        except ValueError as error:
            raise self._refusal(f"the Digest credentials do not answer: {error}") from None
        # "the server SHOULD return a 400 Bad Request error" where they differ (§3.4.6)
        path, query = split_uri(proof.uri)
        if path not in paths_of(request) or query != request.query_string:
            raise Reject(400, "the uri of the Digest credentials is not that of the request")
        return proof

    def _own_proof(self, proof: Proof, secret: str, expiry: float) -> tuple[str, str]:
        """Give `Authentication-Info`: the proof that we know the secret, too (§3.5)."""
        info = {
            "qop": "auth",
            "rspauth": quote(proof.compute(secret, method="")),
            "cnonce": quote(proof.cnonce),
            "nc": proof.nc,
        }
        now = self._clock()
        if self._nonces.is_old(expiry, now):
            info["nextnonce"] = quote(self._nonces.make(now))
        return "Authentication-Info", format_parameters(info)


def _spell(algorithms: Sequence[str]) -> dict[str, str]:
    """Give the spelling of each algorithm, by its name in upper case, the strongest first."""
    if isinstance(algorithms, str) or not algorithms:
        raise ValueError(f"algorithms={algorithms!r} is not a list of algorithms")
    strength = [*ALGORITHMS]
    ranked = sorted(map(str.upper, algorithms), key=lambda name: strength.index(hash_name(name)))
    return {name: name.replace("-SESS", "-sess") for name in ranked}
