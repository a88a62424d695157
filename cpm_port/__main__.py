"""`python -m cpm_port` is `cpm-port`."""

import sys

from cpm_port.cli import main

if __name__ == "__main__":
    sys.exit(main())
