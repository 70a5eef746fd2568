"""Check an environment where autoup is installed: ``python tests/package/check.py PYTHON``.

Imports, the commands and the quickstart run in an empty folder; then a user's file is type checked
against what is installed, by pyright and mypy of the environment that runs this.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
QUICKSTART = HERE.parents[1] / "examples" / "quickstart.py"


def check(python):
    """Raise with what was printed where something is not as it should be."""
    tools = Path(sys.executable).parent
    code = "users_code.py"
    with tempfile.TemporaryDirectory() as folder:
        _run(folder, python, "-I", HERE / "smoke.py")
        _run(folder, python, "-I", QUICKSTART)
        shutil.copy(HERE / code, folder)
        Path(folder, "pyrightconfig.json").write_text('{"typeCheckingMode": "strict"}')
        _run(folder, tools / "pyright", "--pythonpath", python, code)
        _run(folder, tools / "mypy", "--strict", "--python-executable", python, code)


def _run(folder, *command):
    environment = {key: each for key, each in os.environ.items() if key != "PYTHONPATH"}
    run = subprocess.run(
        [*map(str, command)], cwd=folder, env=environment, capture_output=True, text=True
    )
    print(run.stdout.strip().rpartition("\n")[2])
    if run.returncode:
        raise RuntimeError(f"{command[0]} {command[-1]}\n{run.stdout}\n{run.stderr}")


if __name__ == "__main__":
    check(Path(sys.argv[1]).absolute())
