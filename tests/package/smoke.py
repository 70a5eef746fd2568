"""Where autoup is installed, and nothing of its repository: what everybody does first works.

Run by ``tests/package/check.py`` in an empty folder, with the interpreter of that environment.
"""

import os
import subprocess
import sys
import warnings
from importlib.metadata import entry_points, files, metadata
from pathlib import Path

import torch  # Without NumPy, which it does not need, it says so.

warnings.simplefilter("error")
QUIET = {**os.environ, "PYTHONWARNINGS": "ignore:Failed to initialize NumPy"}


def main():
    import autoup

    assert not [*Path.cwd().iterdir()], "the folder is not empty"
    package = Path(autoup.__file__).parent
    assert package.parent.name == "site-packages", package
    assert (package / "py.typed").exists()
    assert metadata("autoup")["Version"] == autoup.__version__
    installed = {each.parts[0] for each in files("autoup") or ()}
    assert installed - {".."} == {"autoup", f"autoup-{autoup.__version__}.dist-info"}, installed
    for name in autoup.__all__:
        getattr(autoup, name)
    assert len(entry_points(group="console_scripts", name="autoup")) == 1
    script = Path(sys.executable).with_name("autoup")
    for command in ([sys.executable, "-m", "autoup"], [script]):
        run = subprocess.run(
            [*command, "solve", "14", "28"], env=QUIET, capture_output=True, text=True, check=True
        )
        assert "kernel_size=2, stride=2" in run.stdout, run.stdout
        assert not run.stderr, run.stderr
    python = sys.version.split()[0]
    print(f"autoup {autoup.__version__} on PyTorch {torch.__version__}, Python {python}")


if __name__ == "__main__":
    main()
