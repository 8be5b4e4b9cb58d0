"""``python -m sungen_lib.archive pack|unpack DIR``, the older form of ``python -m sungen_lib pack|unpack DIR``."""

import sys

from sungen_lib.__main__ import main

if __name__ == "__main__":
    sys.exit(main())
