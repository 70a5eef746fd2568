"""``python -m autoup``: what it prints, where it writes, and how it exits."""

import json
import os
import subprocess
import sys

import pytest

import autoup
from autoup.__main__ import main

MODEL = """
import torch
from torch import nn

clean = nn.Sequential(nn.ConvTranspose2d(4, 4, 2, 2), nn.ReLU())
number = 3


class Bad(nn.Module):
    def __init__(self):
        super().__init__()
        self.up = nn.ConvTranspose2d(4, 4, 3, 2, 1, 1)

    def forward(self, x):
        return self.up(x)


def build():
    return Bad()


def takes(width):
    return Bad()


def stops():
    raise SystemExit(0)


class Holder:
    inner = clean
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "some_models.py").write_text(MODEL)
    (tmp_path / "broken.py").write_text("import a_package_that_is_not_there\n")
    (tmp_path / "raises.py").write_text("raise RuntimeError('no weights.')\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield tmp_path
    for name in ("some_models", "broken", "raises"):
        sys.modules.pop(name, None)


def test_solve_explains(capsys):
    assert main(["solve", "7", "15"]) == 0
    assert capsys.readouterr().out == autoup.solve(7, 15).explain() + "\n"


def test_solve_takes_pins_and_a_limit(capsys):
    assert main(["solve", "14", "28", "--kernel-size", "4", "--stride", "2"]) == 0
    assert "kernel_size=4" in capsys.readouterr().out
    assert main(["solve", "14", "28", "--limit", "3"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines == [str(each) for each in autoup.candidates(14, 28, limit=3)]
    assert main(["solve", "7", "14", "--smoothness", "1"]) == 0
    assert "kernel_size=4" in capsys.readouterr().out


@pytest.mark.parametrize(("arguments", "said"), [
    (["10", "25", "--kernel-size", "1"], "cannot be reached with kernel_size=1"),
    (["28", "14"], "out_size must not be smaller than in_size"),
    (["0", "14"], "in_size must be at least 1"),
])  # fmt: skip
def test_solve_says_what_is_wrong(arguments, said, capsys):
    assert main(["solve", *arguments]) == 2
    captured = capsys.readouterr()
    assert said in captured.err
    assert not captured.out


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("target", ["some_models:build", "some_models:Bad", "some_models.py:Bad"])
def test_audit_finds_and_exits_with_1(target, capsys):
    assert main(["audit", target, "--input-size", "1", "4", "16", "16"]) == 1
    out = capsys.readouterr().out
    assert "Bad: 1 upsampling step, 1 not clean." in out
    assert "16 -> 32" in out


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("target", ["some_models:clean", "some_models:Holder.inner"])
def test_audit_of_a_clean_model_exits_with_0(target, capsys):
    assert main(["audit", target]) == 0
    assert "clean" in capsys.readouterr().out


def test_audit_prints_json_and_writes_html(folder, capsys):
    assert main(["audit", "some_models:Bad", "--json", "--html", "report.html"]) == 1
    read = json.loads(capsys.readouterr().out)
    assert read["rows"][0]["name"] == "up"
    page = (folder / "report.html").read_text()
    assert page.startswith("<!doctype html>")
    assert "<svg" in page


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(("arguments", "said"), [
    (["nowhere:Model"], "there is no module 'nowhere'"),
    (["nowhere.py:Model"], "there is no file nowhere.py"),
    (["some_models"], "names no model: write MODULE:NAME"),
    (["some_models:Missing"], "has no 'Missing'; it has Bad, build, clean, stops"),
    (["some_models:number"], "is int, neither a model nor what makes one"),
    (["some_models:Holder"], r"makes Holder, no nn.Module"),
    (["some_models:takes"], "missing 1 required positional argument: 'width'"),
    (["some_models:stops"], "SystemExit"),
    (["broken:Model"], "No module named 'a_package_that_is_not_there'"),
    (["raises:Model"], "importing raises failed: RuntimeError: no weights."),
    (["some_models:Bad", "--input-size", "1", "3", "8", "8"], "model refuses an input"),
    (["some_models:Bad", "--html", "no/such/folder.html"], "cannot write no/such/folder.html"),
])  # fmt: skip
def test_audit_that_cannot_look_exits_with_2(arguments, said, capsys):
    assert main(["audit", *arguments]) == 2
    captured = capsys.readouterr()
    assert said in captured.err
    assert captured.err.startswith("autoup audit: ")
    assert captured.err.count("\n") == 1


@pytest.mark.parametrize(
    "arguments", [[], ["audit"], ["solve", "7"], ["solve", "a", "b"], ["mend"]]
)
def test_wrong_usage_exits_with_2(arguments, capsys):
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    assert exit_.value.code == 2
    assert "usage: python -m autoup" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["solve", "audit"])
def test_help_teaches(command, capsys):
    with pytest.raises(SystemExit) as exit_:
        main([command, "--help"])
    assert exit_.value.code == 0
    out = capsys.readouterr().out
    assert out.count(f"python -m autoup {command}") >= 4
    if command == "audit":
        assert "0 clean, 1 findings" in out


@pytest.mark.slow
def test_it_runs_as_a_module(folder):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-m", "autoup", "audit", "some_models:Bad"],
        capture_output=True,
        text=True,
        env=environment,
        cwd=folder,
    )
    assert done.returncode == 1, done.stderr
    assert "severe" in done.stdout
    assert not done.stderr
