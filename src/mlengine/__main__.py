"""``python -m mlengine`` is the command ``mlengine``."""

from __future__ import annotations

import sys

from mlengine.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
