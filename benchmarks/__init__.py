"""What a call costs beside what one would otherwise write. One thread: CPU time then does not depend on the load."""

import os

# Read by the numerical libraries when they are first imported, which is after this.
for _library in ("OMP", "OPENBLAS", "MKL", "VECLIB_MAXIMUM"):
    os.environ[f"{_library}_NUM_THREADS"] = "1"
