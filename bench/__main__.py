"""``python -m bench`` is the console script ``bench``."""

import os
import sys

PROJECT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
# Python looks for modules where it was started, whatever lies there: a data folder, a stranger's.
if sys.path[0] == os.getcwd() != PROJECT:
    del sys.path[0]

from bench.cli import main  # noqa: E402 - from here on nothing is imported from that place

if __name__ == "__main__":
    main()
