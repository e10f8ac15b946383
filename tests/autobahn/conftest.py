"""Keep pytest away from what is Python 2.7."""

collect_ignore = ["quick.py"]
