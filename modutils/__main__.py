"""Says where the commands are."""

import sys

sys.exit("the commands are in another package: python -m companion --help")
