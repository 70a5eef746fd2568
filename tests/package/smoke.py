"""Where autoup is installed, and nothing of its repository: what everybody does first works.

Run by ``tests/package/check.py`` in an empty folder, with the interpreter of that environment.
"""

import subprocess
import sys
from importlib.metadata import entry_points, files, metadata
from pathlib import Path

import torch

import autoup


def main():
    here = Path.cwd()
    assert not [*here.glob("*.py")], "the folder is not empty"
    package = Path(autoup.__file__).parent
    assert package.parent.name == "site-packages", package
    assert (package / "py.typed").exists()
    assert metadata("autoup")["Version"] == autoup.__version__
    installed = {each.parts[0] for each in files("autoup") or ()}
    assert installed - {".."} == {"autoup", f"autoup-{autoup.__version__}.dist-info"}, installed
    for name in autoup.__all__:
        getattr(autoup, name)

    commands = entry_points(group="console_scripts", name="autoup")
    script = Path(sys.executable).with_name("autoup")
    assert len(commands) == 1
    for command in ([sys.executable, "-m", "autoup"], [str(script)]):
        run = subprocess.run(
            [*command, "solve", "14", "28"], capture_output=True, text=True, check=True
        )
        assert "kernel_size=2, stride=2" in run.stdout, run.stdout
        assert not run.stderr, run.stderr
    python = sys.version.split()[0]
    print(f"autoup {autoup.__version__} on PyTorch {torch.__version__}, Python {python}")


if __name__ == "__main__":
    main()
