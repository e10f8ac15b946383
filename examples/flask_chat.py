"""Chat beside a Flask app: the page is Flask's, the sockets are parked outside its workers.

gunicorn examples.flask_chat:app
"""

from __future__ import annotations

from typing import Any

from flask import Flask, render_template_string

from ws_middleware import AsyncConnection, WebSockets, broadcast

app = Flask(__name__)
ws = WebSockets()
rooms: dict[str, set[AsyncConnection]] = {}

PAGE = """\
<!doctype html>
<title>{{ room }}</title>
<form id="form"><input id="text" autocomplete="off" autofocus> <button>Say</button></form>
<ul id="said"></ul>
<script>
  const socket = new WebSocket(location.origin.replace("http", "ws") + "/chat/{{ room }}");
  socket.onmessage = ({ data }) => {
    const item = document.createElement("li");
    item.textContent = data;
    said.prepend(item);
  };
  form.onsubmit = (event) => {
    event.preventDefault();
    socket.send(text.value);
    text.value = "";
  };
</script>
"""


@app.get("/<any(lobby, garden):room>")
def page(room: str) -> str:
    return render_template_string(PAGE, room=room)


@ws.route("/chat/<any(lobby, garden):room>")
async def chat(connection: AsyncConnection, room: str) -> None:
    members = rooms.setdefault(room, set())
    members.add(connection)
    try:
        async for message in connection:
            broadcast(members, message)
    finally:
        members.discard(connection)


wsgi: Any = ws.wsgi(app.wsgi_app)
app.wsgi_app = wsgi  # type: ignore[method-assign]
