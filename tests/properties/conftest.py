"""How the properties are searched: the same examples in every run, unless asked for more.

`WS_MIDDLEWARE_EXAMPLES=10000 python -m pytest tests/properties` searches longer, at random.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

from tests.core.implementations import IMPLEMENTATIONS

EXAMPLES = int(os.environ.get("WS_MIDDLEWARE_EXAMPLES", "0"))

#: There are not two to compare where C is ruled out.
collect_ignore = ["test_speedups.py"] if len(IMPLEMENTATIONS) < 2 else []

settings.register_profile(
    "properties",
    max_examples=EXAMPLES or 100,
    derandomize=not EXAMPLES,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("properties")
