"""What compressors remember, and how much of it all connections keep together.

A compressor may begin anew at any flush, for no block has to refer back. So of too many
contexts the one that was idle longest is dropped: its connection goes on, with longer messages.
"""

from __future__ import annotations

import contextlib
from collections import OrderedDict
from typing import Any, Self

__all__ = ["DEFAULT_BUDGET", "Contexts"]

#: In bytes: 1,024 contexts of the default size.
DEFAULT_BUDGET = 2**25


class Contexts:
    """Keep at most so many compressors for their owners; any thread may ask.

    >>> contexts = Contexts(2)
    >>> for owner in (1, 2, 3):
    ...     contexts.keep(owner, object())
    >>> contexts.take(1) is None, contexts.take(3) is None
    (True, False)
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept: OrderedDict[int, Any] = OrderedDict()  # those used last at the end

    @classmethod
    def within(cls, budget: int, bits: int, memory: int) -> Self:
        """Keep as many as take `budget` bytes with zlib; isal's are about as large."""
        if budget < 0:
            raise ValueError(f"context_budget={budget} is not a number of bytes")
        # "(1 << (windowBits+2)) + (1 << (memLevel+9))", says zconf.h of zlib.
        return cls(budget // ((1 << (bits + 2)) + (1 << (memory + 9))))

    def __reduce__(self) -> tuple[type[Contexts], tuple[int]]:
        """Let copies of the settings around it begin empty."""
        return type(self), (self._most,)

    def take(self, owner: int) -> Any:
        """Take out the compressor of an owner, who alone has it then; None where it is gone."""
        return self._kept.pop(owner, None)

    def keep(self, owner: int, compressor: Any) -> None:
        """Keep a compressor until its owner asks for it, or there are too many."""
        self._kept[owner] = compressor
        if len(self._kept) > self._most:
            with contextlib.suppress(KeyError):  # another thread has made room
                self._kept.popitem(last=False)
