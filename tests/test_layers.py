"""The order of the modules: imports go downwards, I/O and third parties stay at their level.

A new module has to be put into its place here. Imports for type checkers alone do not count.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest

from tests.running import ROOT

#: From the bottom to the top; inside a layer, too, a module imports only what stands before it.
LAYERS = {
    "values": """
        version core core.headers errors core.keepalive core.frames core.origins core.throttle
        core.forwarding core.uri
    """,
    "protocol": """
        core.pure core.lanes core.codec core.messages core.extensions core.handshake
        core.extended_connect
        extensions.contexts extensions.deflate extensions.deflate_frame
        extensions.permessage_deflate extensions
        options core.sender core.payload core.receiver core.closing core.endpoint core.frame_tap
        auth.schemes auth.answers auth.proof auth.identity auth.first_message
    """,
    "drivers": "native waiting pool stream alarms carrier driver attendant socket_driver",
    "authenticators": """
        auth.steps auth.signing auth.nonces auth.spent auth.reading auth.stores auth.files
        auth.views auth.basic auth.bearer auth.cookie auth.digest auth.ticket auth.any_of auth
    """,
    "connections": """
        request info logs connection socket_connection aio broadcast bridge
        request_reader response_reader frame_socket
    """,
    "routes": """
        asking handler_threads failures callbacks handlers
        gate admission introduction policy routing upgrade
    """,
    "mounts": """
        wsgi.types wsgi.environ wsgi.hijack wsgi.parking wsgi.asking wsgi.endings
        wsgi.mod_wsgi wsgi.uwsgi wsgi.twisted wsgi.servers wsgi.relay wsgi.serving
        wsgi.middleware wsgi
        raw accepting
        asgi asgi.types asgi.adapting asgi.lingering asgi.outcome asgi.pending asgi.session
        asgi.takeover asgi.handshake asgi.direct asgi.scopes asgi.handover
        asgi.uvicorn_options asgi.uvicorn asgi.lending asgi.guard asgi.pump asgi.streams
        asgi.windows asgi.hypercorn_transport asgi.hypercorn asgi.gunicorn asgi.install
        asgi.tunnel asgi.event_endpoint asgi.events asgi.foreign_loop asgi.middleware
        certificate listening server
        client.credentials client.proxies client.watching client.plan client.socks
        client.opening client.blocking client.asynchronous client.backoff client.reconnecting client
    """,
    "surface": """
        mounts __init__
        cli.arguments cli.processes cli.demo cli.target cli.serve
        cli.forms cli.screen cli.prompt cli.inputs cli.record cli.transcript cli.commands
        cli.conversation cli.refusal cli.connect cli __main__
    """,
}
ORDER = [name for names in LAYERS.values() for name in names.split()]
#: Bytes and times are arguments here.
PURE = [*LAYERS["values"].split(), *LAYERS["protocol"].split()]
#: What waits, looks at a clock, or talks to the system.
IMPURE = """
    asyncio concurrent datetime http.client io logging multiprocessing pathlib queue random sched
    select selectors signal socket socketserver ssl subprocess tempfile threading time
    urllib.request
"""
#: The modules that may know a third party.
THIRD_PARTIES = {
    "werkzeug": ["auth.stores", "request", "routing"],
    "passlib": ["auth.files"],
    "h11": ["asgi.guard", "asgi.lending", "request_reader", "response_reader"],
    "uvicorn": [
        "asgi.pending",
        "asgi.handshake",
        "asgi.uvicorn_options",
        "asgi.uvicorn",
        "asgi.guard",
        "asgi.lending",
        "asgi.install",
        "asgi.streams",
        "asgi.hypercorn",
        "asgi.gunicorn",
        "asgi.tunnel",
        "server",
    ],
    "h2": ["asgi.windows"],
    "hypercorn": ["asgi.hypercorn", "asgi.hypercorn_transport"],
    "gunicorn": ["asgi.gunicorn"],
    "a2wsgi": ["asgi.adapting"],
    "trio": ["asgi.foreign_loop"],
    "python_socks": ["client.socks"],
    "prompt_toolkit": ["cli.prompt"],
}


def _imports(source: str) -> Iterator[str]:
    """List the modules that a source imports when it is executed."""
    waiting: list[ast.AST] = [ast.parse(source)]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            waiting += node.orelse
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or "."
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        else:
            waiting += ast.iter_child_nodes(node)


def _read_package() -> dict[str, str]:
    folder = ROOT / "ws_middleware"
    names = {
        path: ".".join(path.relative_to(folder).with_suffix("").parts).removesuffix(".__init__")
        for path in folder.rglob("*.py")
    }
    return {name: path.read_text() for path, name in names.items()}


SOURCES = _read_package()
IMPORTS = {name: set(_imports(source)) for name, source in SOURCES.items()}


def _own_imports(name: str) -> set[str]:
    own = {other.removeprefix("ws_middleware.") for other in IMPORTS[name]} & SOURCES.keys()
    return own | ({"__init__"} if "ws_middleware" in IMPORTS[name] else set())


def test_every_module_has_its_place() -> None:
    assert set(ORDER) ^ SOURCES.keys() == set()
    assert len(ORDER) == len(SOURCES)


@pytest.mark.parametrize("name", ORDER)
def test_imports_go_downwards(name: str) -> None:
    below = ORDER[: ORDER.index(name)]
    assert _own_imports(name) <= set(below)


@pytest.mark.parametrize("name", PURE)
def test_no_input_no_output_and_no_clock_in_the_protocol(name: str) -> None:
    memory = {"io"} if "io.BytesIO" in IMPORTS[name] else set()
    assert IMPORTS[name].isdisjoint(set(IMPURE.split()) - memory)
    # Random bytes are all that the protocol wants of the system, and which codec to take.
    wanted = {"environ"} if name == "core.codec" else {"urandom"}
    assert {
        node.attr
        for node in ast.walk(ast.parse(SOURCES[name]))
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "os"
    } <= wanted


@pytest.mark.parametrize("party", THIRD_PARTIES)
def test_third_parties_stay_at_the_edge(party: str) -> None:
    users = [name for name in ORDER if any(_is_of(party, other) for other in IMPORTS[name])]
    assert sorted(users) == sorted(THIRD_PARTIES[party])


def _is_of(package: str, module: str) -> bool:
    return module == package or module.startswith(f"{package}.")


@pytest.mark.parametrize(
    ("one", "other"),
    [("connection", "aio"), ("socket_connection", "aio"), ("asgi", "wsgi"), ("wsgi", "asgi")],
)
def test_neighbours_do_not_know_each_other(one: str, other: str) -> None:
    for name in ORDER:
        if _is_of(one, name):
            assert not [found for found in _own_imports(name) if _is_of(other, found)], name


@pytest.mark.parametrize(
    ("source", "imported"),
    [
        ("import a, b.c", {"a", "b.c"}),
        ("from a import b", {"a", "a.b"}),
        ("def f():\n    from a import b", {"a", "a.b"}),
        ("try:\n    import a\nexcept ImportError:\n    import b", {"a", "b"}),
        ("if TYPE_CHECKING:\n    import a\nelse:\n    import b", {"b"}),
        ("if typing.TYPE_CHECKING:\n    import a", set()),
        ("if x:\n    import a", {"a"}),
        ("from . import a", {".", "None.a"}),
    ],
)
def test_imports_are_found_wherever_they_are(source: str, imported: set[str]) -> None:
    assert set(_imports(source)) == imported
