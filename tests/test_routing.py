"""Which handler answers which path, and on which terms."""

from __future__ import annotations

import functools
from typing import Any

import pytest

from ws_middleware.callbacks import Handler
from ws_middleware.options import Options
from ws_middleware.routing import Router


async def handler(connection: Any, **path_params: Any) -> None: ...


async def other(connection: Any, **path_params: Any) -> None: ...


def make_router(*rules: str, **options: Any) -> Router:
    router = Router(Options(**options))
    for rule in rules:
        router.add(rule, handler)
    return router


@pytest.mark.parametrize(
    ("rule", "path", "params"),
    [
        ("/", "/", {}),
        ("/chat", "/chat", {}),
        ("/chat", "/chat/", {}),
        ("/chat/", "/chat/", {}),
        ("/chat/", "/chat", {}),
        ("/<room>", "/lobby", {"room": "lobby"}),
        ("/<room>", "/a b", {"room": "a b"}),
        ("/<room>", "/größe ☃", {"room": "größe ☃"}),
        ("/<room>", "/%41", {"room": "%41"}),
        ("/<room>/<user>", "/a/b", {"room": "a", "user": "b"}),
        ("/<int:number>", "/007", {"number": 7}),
        ("/<int(signed=True):number>", "/-7", {"number": -7}),
        ("/<float:number>", "/2.5", {"number": 2.5}),
        ("/<path:rest>", "/a/b/c", {"rest": "a/b/c"}),
        ("/<any(a, b):which>", "/b", {"which": "b"}),
        ("/<string(length=2):code>", "/ab", {"code": "ab"}),
    ],
)
def test_path_that_is_matched(rule: str, path: str, params: dict[str, object]) -> None:
    found = make_router(rule).match(path)
    assert found is not None
    assert (found[0].rule, found[1]) == (rule, params)


@pytest.mark.parametrize(
    ("rule", "path"),
    [
        ("/chat", "/"),
        ("/chat", ""),
        ("/chat", "/Chat"),
        ("/chat", "/chat/a"),
        ("/chat", "//chat"),
        ("/chat", "/chat//"),
        ("/chat", "/./chat"),
        ("/chat", "/a/../chat"),
        ("/<room>", "/"),
        ("/<room>", "//a"),
        ("/<room>", "/a/b"),
        ("/a/<room>", "/a//b"),
        ("/<int:number>", "/seven"),
        ("/<int:number>", "/-7"),
        ("/<any(a, b):which>", "/c"),
        ("/<string(length=2):code>", "/abc"),
    ],
)
def test_path_that_is_not_matched(rule: str, path: str) -> None:
    assert make_router(rule).match(path) is None


def test_path_that_is_spelt_differently_is_not_redirected() -> None:
    found = make_router("/files/<path:rest>").match("/files/a//b")
    assert found is not None
    assert found[1] == {"rest": "a//b"}


def test_route_that_is_added_later_is_found_where_there_was_none() -> None:
    router = make_router("/a")
    assert router.match("/b") is None
    router.add("/b", print)
    assert router.match("/b") is not None


def test_parameters_are_the_callers_own() -> None:
    router = make_router("/<room>")
    for path in ("/lobby", "/" + 500 * "x"):
        for _ in range(2):
            found = router.match(path)
            assert found is not None
            assert found[1] == {"room": path[1:]}
            found[1].clear()


def test_special_rule_goes_before_a_general_one() -> None:
    router = make_router("/<room>", "/lobby")
    found = router.match("/lobby")
    assert found is not None
    assert found[0].rule == "/lobby"


def test_handler_may_have_several_routes() -> None:
    router = Router(Options())

    @router.route("/a", max_queue=1)
    @router.route("/b")
    async def decorated(connection: Any) -> None: ...

    assert [(route.rule, route.handler) for route in router.routes] == [
        ("/b", decorated),
        ("/a", decorated),
    ]
    assert [route.options.max_queue for route in router.routes] == [16, 1]


def test_decorated_class_stays_a_class() -> None:
    router = Router(Options())

    @router.route("/")
    class Callbacks(Handler): ...

    assert isinstance(Callbacks, type)


@pytest.mark.parametrize("wrong", [None, "handler", dict])
def test_what_is_no_handler_gets_no_route(wrong: Any) -> None:
    router = Router(Options())
    with pytest.raises(TypeError, match="Handler"):
        router.add("/", wrong)
    assert router.routes == []
    assert router.match("/") is None


@pytest.mark.parametrize("rule", ["", "chat", "/<room", "/<unknown:room>"])
def test_rule_that_makes_no_sense_is_refused(rule: str) -> None:
    router = Router(Options())
    with pytest.raises((ValueError, LookupError)):
        router.add(rule, handler)
    assert router.routes == []


@pytest.mark.parametrize(
    ("rule", "why"),
    [
        ("/chat/{room}", "the part of a path that varies is written <name>"),
        ("/chat?room=lobby", r"the query is in connection\.request\.query"),
    ],
)
def test_rule_of_another_kind_is_refused(rule: str, why: str) -> None:
    router = Router(Options())
    with pytest.raises(ValueError, match=why):
        router.add(rule, handler)
    assert router.routes == []


@pytest.mark.parametrize("again", ["/chat", "/chat/"])
def test_second_handler_of_a_rule_is_refused(again: str) -> None:
    router = make_router("/chat", "/", "/chat/<room>")
    with pytest.raises(ValueError, match=f"'{again}' has a handler already"):
        router.add(again, other)
    assert len(router.routes) == 3


def test_decorator_without_its_rule_is_refused() -> None:
    route: Any = Router(Options()).route
    with pytest.raises(TypeError, match=r'@ws\.route\("/path"\)'):
        route(handler)


def takes_nothing() -> None: ...
async def takes_no_room(connection: Any) -> None: ...
async def takes_a_user(connection: Any, user: str) -> None: ...


class TakesNoRoom(Handler):
    def __init__(self, connection: Any) -> None: ...


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        (takes_nothing, "too many positional arguments"),
        (takes_no_room, "got an unexpected keyword argument 'room'"),
        (takes_a_user, "missing a required argument: 'user'"),
        (TakesNoRoom, "got an unexpected keyword argument 'room'"),
    ],
)
def test_handler_has_to_take_what_the_rule_finds(wrong: Any, why: str) -> None:
    router = Router(Options())
    call = rf"'/<room>' means the call {wrong.__name__}\(connection, room=\.\.\.\): {why}"
    with pytest.raises(TypeError, match=call):
        router.add("/<room>", wrong)
    assert router.match("/lobby") is None


def takes_anything(*arguments: Any, **keywords: Any) -> None: ...


@functools.wraps(takes_a_user)
async def brings_the_user(connection: Any, room: str) -> None:
    await takes_a_user(connection, room)


@pytest.mark.parametrize(
    "right", [takes_anything, brings_the_user, functools.partial(takes_a_user, user="ann"), max]
)
def test_handler_may_take_it_in_any_way(right: Any) -> None:
    router = Router(Options())
    router.add("/<user>" if isinstance(right, functools.partial) else "/<room>", right)
    assert router.match("/lobby") is not None


def test_option_that_makes_no_sense_is_refused() -> None:
    router = Router(Options())
    with pytest.raises(TypeError, match="no_option"):
        router.add("/", handler, no_option=1)
    with pytest.raises(ValueError, match="max_queue=0"):
        router.add("/", handler, max_queue=0)
    assert router.match("/") is None


def test_options_of_a_route_are_on_top_of_the_routers() -> None:
    router = Router(Options(max_queue=3, ping_interval=None))
    router.add("/", handler, max_queue=4)
    (route,) = router.routes
    assert (route.options.max_queue, route.options.ping_interval) == (4, None)
    assert router.options.max_queue == 3


def test_override_changes_what_it_names_everywhere() -> None:
    router = Router(Options(max_queue=3))
    router.add("/a", handler, max_queue=4, ping_interval=None)
    router.add("/b", other)
    router.override(max_queue=5)
    router.add("/c", other)
    assert [route.options.max_queue for route in router.routes] == [5, 5, 5]
    assert router.routes[0].options.ping_interval is None
    assert router.options.max_queue == 5
