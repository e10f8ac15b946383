"""Keep a guest book in SQLite with an ordinary function: it has a thread of its own.

python -m ws_middleware examples.blocking:ws
"""

from __future__ import annotations

import sqlite3

from ws_middleware import Connection, WebSockets

ws = WebSockets(max_message_size=1000)
BOOK = "file:guests?mode=memory&cache=shared"
#: Keeps the book in memory while no guest is there.
keeper = sqlite3.connect(BOOK, uri=True)
keeper.execute("CREATE TABLE guests (name TEXT)")


@ws.route("/guests")
def sign(connection: Connection) -> None:
    database = sqlite3.connect(BOOK, uri=True)
    try:
        for name in connection:
            with database:
                database.execute("INSERT INTO guests VALUES (?)", (name,))
            connection.send_json([row[0] for row in database.execute("SELECT name FROM guests")])
    finally:
        database.close()
