"""Who is let in under WSGI servers: the same as everywhere.

All checks run where the ways to serve differ: parked, in greenlets of either kind. What depends
on the server's own response, or on its log, runs on every one.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.admission import checks
from tests.admission.attacks import ATTACKS
from tests.admission.checks import CHECKS, SHAPE_CHECKS, SHAPES
from tests.wsgi.kinds import KINDS, Served

pytestmark = pytest.mark.usefixtures("undisturbed")

WAYS = [kind for kind in KINDS if kind.name in ("gunicorn-sync", "gunicorn-gevent", "eventlet")]
ways = pytest.mark.parametrize("server", WAYS, ids=lambda kind: kind.name, indirect=True)


@ways
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("check", SHAPE_CHECKS)
def test_door_of_each_shape(
    server: Served, check: Callable[[Served, str], None], shape: str
) -> None:
    check(server, shape)


@ways
@pytest.mark.parametrize("check", [*CHECKS, *ATTACKS])
def test_door(server: Served, check: Callable[[Served], None]) -> None:
    check(server)


def test_every_server_refuses_and_lets_in(server: Served) -> None:
    checks.check_identity_comes_with_the_key(server, "def")
    checks.check_challenges_are_one_field_each(server)
    checks.check_challenge_is_answered_on_the_same_connection(server)
    checks.check_hook_gives_its_own_response(server)


def test_every_server_gives_places_back(server: Served) -> None:
    checks.check_cap_of_an_address(server, "async")
    checks.check_cap_of_an_address(server, "def")


def test_every_server_hides_secrets_from_handlers_and_from_our_log(server: Served) -> None:
    size = len(server.log)
    checks.check_secrets_are_taken_out(server)
    if server.kind.name in ("gunicorn-sync", "gunicorn-gthread", "gunicorn-gevent"):
        # Theirs is made of the environ, and so has none either.
        assert "s3cret" not in server.log[size:]


def test_forwarded_fields_count_where_the_server_lets_them_pass(server: Served) -> None:
    checks.check_other_proxies_are_not_heard(server)
    if server.kind.name != "waitress":  # which drops them by itself, unless it is told
        checks.check_trusted_proxy_speaks_for_others(server)
