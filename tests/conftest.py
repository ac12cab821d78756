"""One thread a test process: those that pytest-xdist runs beside each other would wait for each other's threads."""

import os

# Read when PyTorch is imported, also by the processes that tests start; whoever sets it decides.
os.environ.setdefault("OMP_NUM_THREADS", "1")
