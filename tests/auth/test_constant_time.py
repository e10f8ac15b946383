"""Secrets are compared in constant time only (RFC 7617 §4): no `==` on one in `ws_middleware.auth`.

Every comparison with an operator is listed here. A new one has to be looked at before it is
added: may the time that it takes tell a peer something that he does not know?
"""

from __future__ import annotations

import ast
import hmac
from collections.abc import Callable
from typing import Any

import pytest

from tests.auth.asking import answer, ask, make_request, refusal
from tests.running import ROOT
from ws_middleware.auth import Basic, Bearer, Digest, Ticket
from ws_middleware.auth.answers import basic_credentials
from ws_middleware.errors import Unauthorized

#: By module, what is no secret: names of schemes and parameters, sizes, times, the challenge.
PUBLIC = {
    "answers": [
        "':' in user",
        "name not in ALGORITHMS",
        "'algorithm' in asked",
        "'opaque' in asked",
        "'auth' not in options",
        "asked.get('userhash', '').lower() == 'true'",
        "challenge.scheme != 'digest'",
        "'qop' in asked",
    ],
    "any_of": ["scheme in _LAST"],
    "digest": ["path not in paths_of(request)", "query != request.query_string"],
    "files": ["version != self._version", "self._hashes.identify(stored) == 'bcrypt'"],
    "nonces": ["len(payload) != _TIME.size + 16"],
    "proof": [
        "given.get('userhash', '').lower() == 'true'",
        "'username*' in given",
        "given[name] != value",
        "len(nc) != 8",
        "nc == '00000000'",
        "charset.upper() != 'UTF-8'",
        "'username' in given",
    ],
    "reading": ["values[0].partition(' ')[0].lower() != scheme"],
    "schemes": ["name in parameters", "'\\\\' in quoted", "text[position] != ','"],
    "signing": ["encode_base64url(decoded) != text"],
    "spent": ["key in self._keys"],
    "stores": ["self._known.get(algorithm) != self._users()"],
    "ticket": [
        "terms.path not in paths_of(request)",
        "origin not in (None, 'null')",
        "terms.origin not in (None, request.origin)",
    ],
    "views": ["method != 'POST'", "len(paths) != 1", "name == b'origin'"],
}
#: These stop where two values differ.
OPERATORS = (ast.Eq, ast.NotEq, ast.In, ast.NotIn)
MODULES = sorted((ROOT / "ws_middleware" / "auth").glob("*.py"))


def comparisons(source: str) -> list[str]:
    return [
        ast.unparse(node)
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Compare)
        and any(isinstance(operator, OPERATORS) for operator in node.ops)
    ]


@pytest.mark.row(201)
@pytest.mark.fault(37)
@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.stem)
def test_operators_compare_only_what_is_public(module: Any) -> None:
    assert sorted(comparisons(module.read_text())) == sorted(PUBLIC.get(module.stem, []))


def test_comparisons_are_found() -> None:
    assert comparisons("x = a == b\nif a != b or a in b: pass\na < b") == [
        "a == b",
        "a != b",
        "a in b",
    ]


USERS = {"alice": "secret"}
BASIC, DIGEST, TICKET = Basic(USERS), Digest(USERS), Ticket()
WRONG: dict[str, tuple[Any, Callable[[], Any]]] = {
    "a password": (BASIC, lambda: make_request(basic_credentials("alice", "wrong"))),
    "a response": (DIGEST, lambda: make_request(answer(DIGEST, "alice", "wrong"))),
    "a signature": (TICKET, lambda: make_request(target=f"/?ticket={Ticket().issue('eve')}")),
}


@pytest.mark.row(201)
@pytest.mark.fault(37)
@pytest.mark.parametrize("secret", WRONG)
def test_it_is_the_constant_time_comparison_that_decides(
    secret: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    authenticator, make = WRONG[secret]
    assert isinstance(refusal(authenticator, make()), Unauthorized)
    monkeypatch.setattr(hmac, "compare_digest", lambda one, other: True)
    assert ask(authenticator, make())


@pytest.mark.fault(46)
def test_tokens_are_looked_up_by_their_hashes() -> None:
    assert "t0ken" not in repr(vars(Bearer({"t0ken": "bob"})._check))
