"""The WSGI side: a middleware that takes sockets out of any server, and parks them."""
