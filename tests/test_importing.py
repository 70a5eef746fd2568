"""What an import of the package brings along."""

import json
import subprocess
import sys

import pytest

CODE = """
import sys, torch
before = {*sys.modules}
import autoup, json
print(json.dumps(sorted({*sys.modules} - before)))
"""


@pytest.mark.slow
def test_import_brings_nothing_along_but_small_modules_of_python():
    """Torch's large parts (export, onnx, the compilers) wait until they are needed."""
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    packages = {name.partition(".")[0] for name in json.loads(done.stdout)}
    assert "autoup" in packages
    assert packages <= {"autoup", "json"}
