"""`python -m mimgen.cli`, for launchers that start modules."""

import sys

from mimgen.cli.main import main

sys.exit(main())
