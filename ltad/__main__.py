"""The command line: ``python -m ltad COMMAND --help`` explains each command."""

import sys

from ltad.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
