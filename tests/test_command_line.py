"""``python -m autoup``: what it prints, where it writes, and how it exits."""

import json
import os
import pkgutil
import re
import subprocess
import sys
import tomllib

import pytest
import torch
from support import consoles

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


def takes(width, *, depth, name="deep"):
    return Bad()


def chatters():
    print("building")
    return Bad()


class Batched(nn.Sequential):
    def __init__(self):
        super().__init__(nn.ConvTranspose2d(4, 4, 2, 2), nn.BatchNorm2d(4))


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 3, 1, 1), nn.BatchNorm2d(4))
        self.middle, self.deep = nn.Conv2d(4, 8, 3, 2, 1), nn.Conv2d(8, 16, 3, 2, 1)

    def forward(self, x):
        return self.deep(self.middle(self.stem(x)))


class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.last = Bad(), Bad()
        self.plain = nn.ConvTranspose2d(4, 4, 2, 2)

    def forward(self, x):
        return self.plain(self.last(self.first(x)))


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
    for name in ("some_models", "broken", "raises", "factory", "one"):
        sys.modules.pop(name, None)


def refused(arguments, capsys):
    """Return what a command that cannot be done says."""
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert not captured.out
    return captured.err


def test_solve_explains(capsys):
    assert main(["solve", "7", "15"]) == 0
    assert capsys.readouterr().out == autoup.solve(7, 15).explain() + "\n"


@pytest.mark.parametrize(("words", "pins"), [
    (["--kernel-size", "8", "--stride", "3"], {"kernel_size": 8, "stride": 3}),
    (["-k", "5", "-s3", "-d=2"], {"kernel_size": 5, "stride": 3, "dilation": 2}),
    (["--kernel", "6"], {"kernel_size": 6}),
    (["--smoothness", "1"], {"smoothness": 1}),
])  # fmt: skip
def test_solve_takes_pins_and_a_limit(words, pins, capsys):
    assert main(["solve", "14", "45", *words]) == 0
    assert capsys.readouterr().out == autoup.solve(14, 45, **pins).explain() + "\n"
    assert main(["solve", "14", "45", *words, "--limit", "3"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines == [str(each) for each in autoup.candidates(14, 45, **pins, limit=3)]


@pytest.mark.parametrize("sizes", ["7x13x7", "7,13,7", "(7, 13, 7)", "7 13 7", "[7,13,7]"])
def test_solve_takes_one_number_for_all_axes_or_one_per_axis(sizes, capsys):
    assert main(["solve", sizes, "28", "--kernel-size", "4x6x4", "--stride", "4x2x4"]) == 0
    depth, height = (
        autoup.solve(7, 28, kernel_size=4, stride=4), autoup.solve(13, 28, kernel_size=6, stride=2)
    )  # fmt: skip
    wanted = f"depth and width\n{depth.explain()}\n\nheight\n{height.explain()}\n"
    assert capsys.readouterr().out == wanted


@pytest.mark.parametrize(("arguments", "said"), [
    (["10", "25", "--kernel-size", "1"], "cannot be reached with kernel_size=1"),
    (["7x10", "14x25", "--kernel-size", "2x1"], "autoup solve: width: 10 -> 25 cannot be reached"),
    (["0", "14"], "in_size must be at least 1"),
    (["14x14", "28", "-k", "2x2x2"], "in_size 14x14 has 2 axes, kernel_size 2x2x2 has 3"),
    (["1x3x14x14", "28"], "in_size 1x3x14x14 has 4 axes; transposed convolutions have 1 to 3"),
])  # fmt: skip
def test_solve_says_what_is_wrong(arguments, said, capsys):
    told = refused(["solve", *arguments], capsys)
    assert said in told
    assert "Try" not in told


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("target", ["some_models:build", "some_models:Bad", "some_models.py:Bad"])
@pytest.mark.parametrize("size", [
    ["1", "4", "16", "16"], ["1,4,16,16"], ["1x4x16x16"], ["(1, 4, 16, 16)"], ["1,", "4,", "16x16"],
])  # fmt: skip
def test_audit_finds_and_exits_with_1(target, size, capsys):
    assert main(["audit", target, "--input-size", *size]) == 1
    out = capsys.readouterr().out
    assert "Bad: 1 upsampling step, 1 not clean." in out
    assert "16 -> 32" in out


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("target", ["some_models:clean", "some_models:Holder.inner"])
def test_audit_of_a_clean_model_exits_with_0(target, capsys):
    assert main(["audit", target]) == 0
    assert "clean" in capsys.readouterr().out


def test_audit_prints_json_and_writes_html(folder, capsys):
    assert main(["audit", "some_models:chatters", "--json", "--html", "report.html"]) == 1
    captured = capsys.readouterr()
    read = json.loads(captured.out)
    assert captured.err == "building\n"
    assert read["rows"][0]["name"] == "up"
    assert (read["rows"][0]["ignored"], read["clean"], read["passed"]) == (False, False, False)
    page = (folder / "report.html").read_text()
    assert page.startswith("<!doctype html>")
    assert "<svg" in page
    assert "ignored" not in page


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(("patterns", "ignored", "status"), [
    (["first.up"], ["first.up"], 1),
    (["first.up", "last.*"], ["first.up", "last.up"], 0),
    (["*"], ["first.up", "last.up"], 0),
    (["[fp]*"], ["first.up"], 1),
])  # fmt: skip
def test_audit_counts_what_is_not_ignored(patterns, ignored, status, capsys):
    words = [word for pattern in patterns for word in ("--ignore", pattern)]
    assert main(["audit", "some_models:Two", *words, "--html", "report.html"]) == status
    told = capsys.readouterr().out
    marked = re.findall(r"^  (\S+) \(ignored\) +transposed.*severe$", told, re.MULTILINE)
    assert marked == ignored
    assert "Two: 3 upsampling steps, 2 not clean" in told
    assert f"request: {', '.join(ignored)}. The exit status counts the rest: {status} not" in told
    with open("report.html") as page:
        assert page.read().count("(ignored)</td>") == len(ignored)
    assert main(["audit", "some_models:Two", *words, "--json"]) == status
    read = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in read["rows"] if row["ignored"]] == ignored
    assert (read["clean"], read["passed"]) == (False, status == 0)


@pytest.mark.usefixtures("folder")
def test_ignoring_what_is_not_there_is_an_error_and_what_is_clean_is_told(capsys):
    told = refused(["audit", "some_models:Two", "--ignore", "first.ub"], capsys)
    assert "--ignore first.ub matches none of the steps: first.up, last.up, plain." in told
    assert told.endswith("Try: python -m autoup audit some_models:Two --ignore first.up\n")
    assert "matches nothing: there is no step." in refused(
        ["audit", "torch.nn:ReLU", "--ignore", "up"], capsys
    )
    assert main(["audit", "some_models:Two", "--ignore", "pl*"]) == 1
    captured = capsys.readouterr()
    assert captured.err == (
        "autoup audit: --ignore pl* can go: what it matches needs no ignoring.\n"
    )
    assert "(ignored)" not in captured.out
    assert main(["audit", "torch.nn:Upsample", "--ignore", "(model)"]) == 0


@pytest.mark.usefixtures("folder")
def test_audit_looks_at_the_weights_of_a_checkpoint(capsys):
    model = torch.nn.Sequential(torch.nn.ConvTranspose2d(4, 4, 2, 2))
    torch.nn.init.ones_(model[0].weight)
    torch.save({"model": model.state_dict()}, "flat.pt")
    spreads = []
    for words in ([], ["--checkpoint", "flat.pt"]):
        assert main(["audit", "some_models:clean", "--json", *words]) == 0
        spreads += [row["spread"] for row in json.loads(capsys.readouterr().out)["rows"]]
    assert spreads[0] > 0.1 > 1e-6 > spreads[1]


@pytest.mark.parametrize(("words", "options"), [
    ([], {}),
    (["--skips", "1"], {"skips": 1}),
    (["--skips", "stem", "middle"], {"skips": ["stem", "middle"]}),
    (["--skips", "stem", "--image-skip"], {"skips": ["stem"], "image_skip": True}),
    (["--out-channels", "5", "--deep-supervision=1"], {"out_channels": 5, "deep_supervision": 1}),
])  # fmt: skip
def test_unet_prints_and_draws_the_net(words, options, folder, capsys):
    words += ["--draw", "net.svg"]
    assert main(["unet", "some_models:Encoder", "--input-size", "1", "3", "9", "14", *words]) == 0
    import some_models

    net = autoup.unet(some_models.Encoder(), (1, 3, 9, 14), **{"out_channels": 1, **options})
    assert capsys.readouterr() == (f"{net}\n", "")
    assert (folder / "net.svg").read_text(encoding="utf-8") == net.draw().svg


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(("words", "said"), [
    (["--skips", "stem.9"], "skips names 'stem.9'"),
    (["--skips", "3"], "skips=3 asks for more maps than the encoder has"),
    (["--out-channels", "0"], "out_channels must be at least 1, got 0"),
    (["--deep-supervision", "2"], "deep_supervision must be at most 1"),
    (["--input-size", "1", "3", "8", "8"], "an encoder takes one input: give one --input-size."),
    (["--draw", "no/net.svg"], "cannot write no/net.svg: "),
])  # fmt: skip
def test_unet_that_cannot_be_built_exits_with_2(words, said, capsys):
    told = refused(["unet", "some_models:Encoder", "--input-size", "1,3,8,8", *words], capsys)
    assert told.startswith(f"autoup unet: {said}")
    assert told.count("\n") == 1


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(("arguments", "said"), [
    (["nowhere:Model"], "there is no module 'nowhere'"),
    (["nowhere.py:Model"], "there is no file nowhere.py"),
    (["nowhere"], "names no model: write MODULE:NAME"),
    (["no.where"], "names no model: write MODULE:NAME"),
    (["some_models"], "write some_models:NAME. It has Bad, Batched, Encoder, Two, build, "),
    (["some_models:Missing"], "has no 'Missing'; it has Bad, Batched, Encoder, Two, build, "),
    (["some_models:number"], "is int, neither a model nor what makes one"),
    (["some_models:Holder"], r"makes Holder, no nn.Module"),
    (["some_models:stops"], "SystemExit"),
    (["broken:Model"], "No module named 'a_package_that_is_not_there'"),
    (["raises:Model"], "importing raises failed: RuntimeError: no weights."),
    (["some_models:Bad", "--input-size", "1", "3", "8", "8"], "model refuses an input"),
    (["some_models:Bad", "--input-size", "3", "8"], "model refuses an input"),
    (["some_models:Bad", "--input-size", "1", "a"], "'1 a' is no size: write whole numbers"),
    (["some_models:Bad", "--input-size", "1", "4", "0", "8"], "must be at least 1, got 0."),
    (["some_models:Bad", "--html", "no/such/folder.html"], "cannot write no/such/folder.html"),
])  # fmt: skip
def test_audit_that_cannot_look_exits_with_2(arguments, said, capsys):
    told = refused(["audit", *arguments], capsys)
    assert said in told
    assert told.startswith("autoup audit: ")
    assert told.count("\n") == 1


def test_class_that_takes_arguments_is_told_how_to_make_it(folder, capsys):
    told = refused(["audit", "some_models.py:takes"], capsys)
    assert "some_models.py:takes is called without arguments, and needs width, depth." in told
    lines = re.findall(r"^(?:  (.*))?$", told, re.MULTILINE)
    code = "\n".join(lines).replace("width=...", "width=1").replace("depth=...", "depth=2")
    (folder / "factory.py").write_text(code)
    assert main(["audit", "factory.py:build"]) == 1


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(("given", "meant"), [
    ("check some_models:clean", "audit some_models:clean"),
    ("adit some_models:clean", "audit some_models:clean"),
    ("some_models:clean --json", "audit some_models:clean --json"),
    ("--json audit some_models:clean", "audit --json some_models:clean"),
    ("fix some_models:clean", "repair some_models:clean"),
    ("sovle 14 28", "solve 14 28"),
    ("14x20 28", "solve 14x20 28"),
    ("solve 28 14", "solve 14 28"),
    ("solve 28x7 14x7 -k 2x1", "solve 14x7 28x7 -k 2x1"),
    ("solve 14 28 --kernal_size=4", "solve 14 28 --kernel-size=4"),
    ("audit some_models.clean", "audit some_models:clean"),
    ("audit some_models.py.clean", "audit some_models.py:clean"),
    ("audit models/one:clean", "audit models/one.py:clean"),
    ("audit models/one.py", "audit models/one.py:clean"),
    ("audit --input-size 1 4 8 8 some_models:clean",
     "audit some_models:clean --input-size 1 4 8 8"),
    ("audit some_models:Batched --input-size 4 8 8",
     "audit some_models:Batched --input-size 1 4 8 8"),
    ("repair some_models:Batched --input-size 4,8,8",
     "repair some_models:Batched --input-size 1 4 8 8"),
    ("skips some_models:Encoder --input-size 1 3 8 8",
     "unet some_models:Encoder --input-size 1 3 8 8"),
    ("unet some_models:Encoder --input-size 3 8 8",
     "unet some_models:Encoder --input-size 1 3 8 8"),
    ("unet some_models:Encoder --input-size 1 3 8 8 --draw net.png",
     "unet some_models:Encoder --input-size 1 3 8 8 --draw net.svg"),
])  # fmt: skip
def test_slips_are_answered_with_a_command_that_works(given, meant, folder, capsys):
    (folder / "models").mkdir()
    (folder / "models" / "one.py").write_text("from some_models import clean\n")
    told = refused(given.split(), capsys)
    assert told.endswith(f"\nTry: python -m autoup {meant}\n")
    assert main(meant.split()) == 0


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("given", [
    "explode 14 28", "solve 14", "solve 28 14 --kernel-size 1 --stride 1", "solve 1 2 --limt 2 --x",
    "audit no_models.clean", "audit models/none:clean",
    "audit some_models:Batched --input-size 3 8 8",
])  # fmt: skip
def test_nothing_is_proposed_that_does_not_work(given, capsys):
    assert "Try" not in refused(given.split(), capsys)


@pytest.mark.parametrize("arguments", [
    [], ["audit"], ["solve", "7"], ["solve", "a", "b"], ["mend"], ["solve", "7", "9", "--limit=x"],
])  # fmt: skip
def test_wrong_usage_exits_with_2_and_shows_the_usage(arguments, capsys):
    assert refused(arguments, capsys).startswith("usage: python -m autoup")


@pytest.mark.parametrize("command", ["solve", "audit", "repair", "unet"])
def test_help_teaches(command, capsys):
    for words in ([command, "--help"], [command, "-h"]):
        assert main(words) == 0
        captured = capsys.readouterr()
        assert captured.out.count(f"python -m autoup {command}") >= 3
        assert "Exit status" in captured.out
        assert not captured.err
    assert max(map(len, captured.out.splitlines())) <= 92
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"autoup {autoup.__version__}\n"


def test_the_installed_command_is_this_one():
    project = tomllib.loads((consoles.ROOT / "pyproject.toml").read_text())["project"]
    assert {name: pkgutil.resolve_name(each) for name, each in project["scripts"].items()} == {
        "autoup": main
    }


def test_whoever_interrupts_sees_no_traceback(monkeypatch, capsys):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("autoup.commands.solve_command.candidates", interrupt)
    assert main(["solve", "7", "15"]) == 130
    assert capsys.readouterr() == ("", "\nautoup: interrupted.\n")


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


@pytest.mark.slow
def test_whoever_stops_reading_sees_no_traceback(folder):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        [sys.executable, "-m", "autoup", "audit", "some_models:Bad", "--json"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, cwd=folder,
    ) as process:  # fmt: skip
        process.stdout.close()
        assert not process.stderr.read()
    assert process.returncode == 1
