"""`python -m tilework` is the command `tilework`."""

import sys

from tilework.cli import main

sys.exit(main())
