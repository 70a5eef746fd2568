"""One thread a process, set before torch is imported: ``pytest -n auto`` starts one a core."""

import os

for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "TORCHINDUCTOR_COMPILE_THREADS"):
    os.environ[name] = "1"
