"""One thread a process, set before torch is imported: ``pytest -n auto`` starts one a core."""

import os
import tempfile

for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "TORCHINDUCTOR_COMPILE_THREADS"):
    os.environ[name] = "1"
# Where matplotlib keeps what it knows of fonts: found out once, not in every example.
os.environ.setdefault("MPLCONFIGDIR", os.path.join(tempfile.gettempdir(), "autoup-matplotlib"))
