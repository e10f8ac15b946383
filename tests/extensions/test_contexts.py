"""What compressors remember stays within a budget, and whoever loses it goes on."""

from __future__ import annotations

import copy
import gc
import pickle
import zlib

import pytest

from ws_middleware.extensions import DeflateFrame, PermessageDeflate
from ws_middleware.extensions.contexts import Contexts
from ws_middleware.extensions.deflate import Deflater, Inflater

HELLO = b"Hello, " * 3


def make_deflater(contexts: Contexts, takeover: bool = True) -> Deflater:
    return Deflater(12, 6, 5, takeover, contexts)


def test_compressor_is_kept_for_its_owner_alone() -> None:
    contexts, compressor = Contexts(2), zlib.compressobj()
    contexts.keep(1, compressor)
    assert contexts.take(2) is None
    assert contexts.take(1) is compressor
    assert contexts.take(1) is None  # he has it


def test_of_too_many_the_one_that_was_idle_longest_is_dropped() -> None:
    contexts = Contexts(2)
    for owner in (1, 2):
        contexts.keep(owner, owner)
    contexts.keep(1, contexts.take(1))
    contexts.keep(3, 3)
    assert [contexts.take(owner) for owner in (1, 2, 3)] == [1, None, 3]


@pytest.mark.parametrize(
    ("budget", "bits", "memory", "most"),
    [(2**25, 12, 5, 1024), (32_767, 12, 5, 0), (2**18, 15, 8, 1), (0, 9, 1, 0)],
)
def test_budget_is_a_number_of_contexts(budget: int, bits: int, memory: int, most: int) -> None:
    contexts = Contexts.within(budget, bits, memory)
    for owner in range(most + 1):
        contexts.keep(owner, owner + 1)
    assert sum(contexts.take(owner) is not None for owner in range(most + 1)) == most


@pytest.mark.parametrize("extension", [PermessageDeflate, DeflateFrame])
def test_budget_below_nothing_is_refused(extension: type) -> None:
    with pytest.raises(ValueError, match="context_budget=-1"):
        extension(context_budget=-1)


def test_copies_of_the_settings_keep_nothing_of_the_original() -> None:
    contexts = Contexts(1)
    contexts.keep(1, zlib.compressobj())
    for copied in (copy.deepcopy(contexts), pickle.loads(pickle.dumps(contexts))):
        assert copied.take(1) is None
        copied.keep(1, 1)
        copied.keep(2, 2)
        assert (copied.take(1), copied.take(2)) == (None, 2)


def test_whoever_lost_his_context_goes_on_without_it() -> None:
    contexts = Contexts(1)
    one, other, inflater = make_deflater(contexts), make_deflater(contexts), Inflater(12, True)
    sizes = []
    for crowded in (False, False, True, False):
        if crowded:
            other.deflate(HELLO, True)
        compressed = one.deflate(HELLO, True)
        sizes.append(len(compressed))
        assert inflater.inflate(compressed, True, None) == HELLO
    assert sizes[0] == sizes[2] > sizes[1] == sizes[3]


def test_context_may_go_between_the_pieces_of_a_message() -> None:
    deflater, inflater = make_deflater(Contexts(0), takeover=False), Inflater(12, False)
    pieces = [inflater.inflate(deflater.deflate(HELLO, last), last, None) for last in (False, True)]
    assert pieces == [HELLO, HELLO]


def test_nothing_is_kept_for_those_who_are_gone() -> None:
    contexts = Contexts(9)
    deflater = make_deflater(contexts)
    deflater.deflate(HELLO, True)
    owner = id(deflater)
    assert contexts.take(owner) is not None
    deflater.deflate(HELLO, True)
    del deflater
    gc.collect()
    assert contexts.take(owner) is None
