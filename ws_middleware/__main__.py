"""`python -m ws_middleware`."""

import sys

from ws_middleware.cli import main

if __name__ == "__main__":
    sys.exit(main())
