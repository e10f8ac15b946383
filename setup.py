"""Build what is in C where there is a compiler; without one the package is pure Python."""

import sys

from setuptools import Extension, setup

extensions = [
    Extension(
        "ws_middleware.core._speedups",
        ["ws_middleware/core/_speedups.c"],
        # -O3 turns the masking loop into vector instructions.
        extra_compile_args=[] if sys.platform == "win32" else ["-O3"],
        optional=True,
    )
]
if sys.platform != "win32":
    extensions.append(
        Extension("ws_middleware._sending", ["ws_middleware/_sending.c"], optional=True)
    )

setup(ext_modules=extensions)
