"""What is published: built, looked into, installed, and used where nothing else of ours is."""

import re
import subprocess
import sys
import tarfile
import tomllib
import venv
import zipfile
from email import message_from_bytes
from pathlib import Path

import pytest
import torch
from package.check import check

import autoup

ROOT = Path(__file__).parents[2]
pytestmark = [pytest.mark.slow, pytest.mark.together("package")]


def run(*command):
    done = subprocess.run([*map(str, command)], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, ROOT)
    return folder


def test_wheel_holds_the_package_and_nothing_else(built):
    (path,) = built.glob("*.whl")
    assert path.name == f"autoup-{autoup.__version__}-py3-none-any.whl"
    with zipfile.ZipFile(path) as wheel:
        names = {Path(name) for name in wheel.namelist() if "dist-info" not in name}
        (info,) = [name for name in wheel.namelist() if name.endswith("METADATA")]
        metadata = message_from_bytes(wheel.read(info))
    source = ROOT / "src"
    assert names == {
        each.relative_to(source)
        for each in source.rglob("*")
        if each.suffix == ".py" or each.name == "py.typed"
    }
    assert metadata["Requires-Python"] == ">=3.11"
    assert [each for each in metadata.get_all("Requires-Dist") if "extra" not in each] == [
        "torch>=2.6"
    ]
    assert metadata["License-Expression"] == "MIT"
    assert metadata["Description-Content-Type"] == "text/markdown"


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="only a clone knows its files")
def test_sdist_holds_what_tests_and_builds_it(built):
    (path,) = built.glob("*.tar.gz")
    with tarfile.open(path) as sdist:
        names = {Path(name).relative_to(Path(name).parts[0]) for name in sdist.getnames()}
    tracked = {
        Path(name)
        for name in run("git", "ls-files", "--cached", "--others", "--exclude-standard").split()
    }
    assert names - {Path("PKG-INFO")} == tracked


def test_index_takes_both(built):
    assert run(sys.executable, "-m", "twine", "check", "--strict", *built.iterdir()).count(
        "PASSED"
    ) == len([*built.iterdir()])


def test_installed_alone_it_works_and_its_types_hold(built, tmp_path):
    """Alone but for PyTorch and what that needs, found in the environment of the tests."""
    venv.create(tmp_path, with_pip=False, symlinks=True)
    python = tmp_path / "bin" / "python"
    (site,) = (tmp_path / "lib").glob("python*/site-packages")
    (site / "torch.pth").write_text(f"{Path(torch.__file__).parents[1]}\n")
    (wheel,) = built.glob("*.whl")
    run(sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", wheel)
    check(python)


def test_versions_are_the_same_everywhere():
    """The package, the environments of the Makefile and the pages name the same versions."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    texts = [(ROOT / name).read_text() for name in ("Makefile", "constraints.txt")]
    lowest, between, newest, own = re.findall(r"\btorch==([\d.]+)", "\n".join(texts))
    assert project["dependencies"] == [f"torch>={lowest.rpartition('.')[0]}"]
    places = (ROOT / "docs/places.md").read_text()
    tested = dict(re.findall(r"^\| (\d+\.\d+\.\d+) \| (.*?) ?\|", places, re.M))
    assert [version for version, make in tested.items() if make] == [lowest, between, own, newest]
    *first, last = (version.rpartition(".")[0] for version in tested)
    for page in ("README.md", "docs/index.md", "CHANGELOG.md"):
        assert f"tested on PyTorch {', '.join(first)} and {last}" in (ROOT / page).read_text(), page
