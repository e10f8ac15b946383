"""Take uploads of any size, a piece at a time: one message is one file.

python -m ws_middleware examples.streaming_upload:ws
"""

from __future__ import annotations

import hashlib

from ws_middleware import AsyncConnection, WebSockets

ws = WebSockets()


@ws.route("/upload", max_message_size=None, max_fragments=None)
async def upload(connection: AsyncConnection) -> None:
    while True:  # until the peer leaves
        digest, size = hashlib.sha256(), 0
        async for piece in connection.recv_fragments():
            data = piece.encode() if isinstance(piece, str) else piece
            digest.update(data)
            size += len(data)
        await connection.send_json({"size": size, "sha256": digest.hexdigest()})
