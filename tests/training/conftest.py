"""Makes the helper `training_toy` importable; it is also run as a process of its own."""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
# Exactness is promised, and tested, on a CPU.
os.environ.setdefault("ACCELERATE_USE_CPU", "1")
