"""Build the C codec where there is a compiler; without one the package is pure Python."""

import sys

from setuptools import Extension, setup

setup(
    ext_modules=[
        Extension(
            "ws_middleware.core._speedups",
            ["ws_middleware/core/_speedups.c"],
            depends=[f"ws_middleware/core/_{name}.h" for name in ("codec", "lanes", "carrier")],
            # -O3 turns the masking loop into vector instructions.
            extra_compile_args=[] if sys.platform == "win32" else ["-O3"],
            optional=True,
        )
    ]
)
