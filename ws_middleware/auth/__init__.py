"""Who a peer is: HTTP authentication, tickets, cookies and first messages."""

from ws_middleware.auth.first_message import FirstMessage
from ws_middleware.auth.identity import Admitted

__all__ = ["Admitted", "FirstMessage"]
