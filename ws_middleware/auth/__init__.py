"""Who a peer is: HTTP authentication, tickets, cookies and first messages."""
