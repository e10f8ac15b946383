"""What uvicorn's settings say of WebSockets, as options of ours."""

from __future__ import annotations

import dataclasses
import functools

from uvicorn.config import Config

from ws_middleware.options import Options

__all__ = ["options_of"]


def options_of(config: Config) -> Options:
    """Give the options of our own server, or what uvicorn's settings say of WebSockets."""
    own = getattr(config, "options", None)
    if isinstance(own, Options):
        return own
    return _options_for(
        config.ws_max_size,
        config.ws_ping_interval or None,
        config.ws_ping_timeout or None,
        bool(config.ws_per_message_deflate),
    )


@functools.lru_cache(maxsize=8)  # making them anew for each connection would take a while
def _options_for(
    max_size: int, ping_interval: float | None, ping_timeout: float | None, compression: bool
) -> Options:
    options = Options(
        max_message_size=max_size,
        max_fragments=max(65_536, max_size // 64),  # uvicorn itself has no limit
        ping_interval=ping_interval,
        ping_timeout=ping_timeout,
        origins="*",  # a policy is the application's here
    )
    return options if compression else dataclasses.replace(options, extensions=())
