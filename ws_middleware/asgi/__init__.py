"""The ASGI side: a middleware, and uvicorn's protocol class."""
