"""Answer JSON-RPC 2.0 calls, under the subprotocol that says so.

python -m ws_middleware examples.json_rpc:ws
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from ws_middleware import AsyncConnection, WebSockets

ws = WebSockets(subprotocols=["jsonrpc.example"])
methods: dict[str, Callable[..., Any]] = {"add": lambda a, b: a + b, "upper": str.upper}


@ws.route("/rpc")
async def rpc(connection: AsyncConnection) -> None:
    if connection.subprotocol is None:
        await connection.close(1002, "offer the subprotocol jsonrpc.example")
        return
    async for message in connection:
        reply = answer(message)
        if reply is not None:
            await connection.send_json(reply)


def answer(message: str | bytes) -> dict[str, Any] | None:
    """Carry out one call; a notification, which has no id, is not answered."""
    try:
        call = json.loads(message)
        method, parameters = call["method"], call.get("params", [])
    except (ValueError, KeyError, TypeError, AttributeError):
        return error(None, -32600, "this is not a call")
    if method not in methods:
        return error(call.get("id"), -32601, f"there is no method {method!r}")
    try:
        result = methods[method](*parameters)
    except TypeError as mistake:
        return error(call.get("id"), -32602, str(mistake))
    return {"jsonrpc": "2.0", "result": result, "id": call["id"]} if "id" in call else None


def error(number: Any, code: int, text: str) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "error": {"code": code, "message": text}, "id": number}
