"""Who may connect: authenticators, from a request to an identity."""

from ws_middleware.auth.answers import digest_secret
from ws_middleware.auth.any_of import AnyOf
from ws_middleware.auth.basic import Basic
from ws_middleware.auth.bearer import Bearer, insufficient_scope
from ws_middleware.auth.cookie import Cookie
from ws_middleware.auth.digest import Digest
from ws_middleware.auth.files import Htdigest, Htpasswd
from ws_middleware.auth.first_message import FirstMessage
from ws_middleware.auth.identity import Admitted
from ws_middleware.auth.spent import Spend, Spent
from ws_middleware.auth.stores import HashedPasswords
from ws_middleware.auth.ticket import Ticket

__all__ = [
    "Admitted",
    "AnyOf",
    "Basic",
    "Bearer",
    "Cookie",
    "Digest",
    "FirstMessage",
    "HashedPasswords",
    "Htdigest",
    "Htpasswd",
    "Spend",
    "Spent",
    "Ticket",
    "digest_secret",
    "insufficient_scope",
]
