"""What makes a test the same on any worker, in any order."""

import doctest
import os
import tempfile

import pytest

# Before torch is imported: ``pytest --numprocesses auto`` starts a process a core.
for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "TORCHINDUCTOR_COMPILE_THREADS"):
    os.environ[name] = "1"
# Where matplotlib keeps what it knows of fonts: found out once, not in every example.
os.environ.setdefault("MPLCONFIGDIR", os.path.join(tempfile.gettempdir(), "autoup-matplotlib"))


def pytest_configure(config):
    """Take what other versions of PyTorch say for what it is."""
    from support import versions

    for words in versions.TOLERATED:
        config.addinivalue_line("filterwarnings", f"ignore:{words}")
    check = doctest.OutputChecker.check_output
    doctest.OutputChecker.check_output = lambda self, want, got, flags: check(
        self, versions.without_newer_words(want), got, flags
    )


@pytest.fixture(autouse=True)
def seed():
    """Draw the same numbers whichever tests ran before."""
    import torch

    torch.manual_seed(0)


def pytest_collection_modifyitems(items):
    """Put slow tests first, so that no worker ends alone with one, and together what belongs so."""
    for item in items:
        if item.path.name == "tutorial.md":  # It trains.
            item.add_marker("slow")
    places = {}

    def order(item):
        mark = item.get_closest_marker("together")
        group = item.nodeid if mark is None else mark.args
        return item.get_closest_marker("slow") is None, places.setdefault(group, len(places))

    items.sort(key=order)
