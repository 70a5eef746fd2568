"""The examples and the benchmarks run, and end in what they promise."""

import os
import re
import runpy
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
from support import versions

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "examples"
BENCHMARKS = ROOT / "benchmarks"
COMPILER = "ignore:`torch.jit"  # What torch.compile says of itself.
SMALL = {
    "quickstart.py": [],
    "torchinfo_summary.py": [],
    "digits_vae.py": ["--steps", "5", "--limit", "200", "--seeds", "2"],
    "unet_on_a_backbone.py": ["--backbone", "own", "--steps", "3"],
    "from_two_sizes.py": ["--photographs", "3", "--digits", "3"],
    "mirror_a_backbone.py": ["--backbone", "own", "--steps", "3"],
    "evidence/run.py": ["--quick", "--steps", "1", "--workers", "1", "--kinds", "k2 s2", "k4 s2"],
    "mirror_or_own/run.py": [
        "--quick",
        "--steps",
        "2",
        "--time",
        "--count",
        "1",
        "--together",
        "2",
        "--models",
        "DCGAN",
    ],
    "unets/run.py": ["--quick", "--steps", "2", "--time", "--count", "1"],
    "smoothness_cost.py": ["--rounds", "1", "--sizes", "8"],
    "mirror_or_resize.py": ["--steps", "2", "--seeds", "0"],
    "fold_cost.py": ["--quick"],
    "repair_a_generator.py": ["--steps", "2", "--more", "1"],
    "distributed_train.py": ["--steps", "2", "--batch", "16"],
}


def grouped(names):
    """Put together what looks at the run of one example."""
    return [pytest.param(name, marks=pytest.mark.together(name)) for name in names]


def run(name, *arguments, cwd, folder=EXAMPLES):
    return subprocess.run(
        [sys.executable, "-W", "error", "-W", COMPILER, *versions.FLAGS, folder / name, *arguments],
        cwd=cwd,
        env={**os.environ},
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.fixture(scope="module")
def example(tmp_path_factory):
    """Return a function that runs an example once, and tells how it ended and where."""

    @cache
    def run_once(name):
        folder = tmp_path_factory.mktemp("example")
        done = run(name, *SMALL[name], cwd=folder)
        assert done.returncode == 0, done.stderr
        return done, folder

    return run_once


def test_every_example_is_run():
    folders = {"evidence/run.py", "mirror_or_own/run.py", "unets/run.py"}
    assert {path.name for path in EXAMPLES.glob("*.py")} | folders == set(SMALL)


@pytest.mark.parametrize("name", grouped(SMALL))
def test_example_runs(name, example):
    done, _ = example(name)
    assert "nan" not in done.stdout


@pytest.mark.parametrize("options", [[], ["--compiled", "--dtypes", "float32"]])
def test_the_speed_benchmark_checks_and_ends_in_tables(options, tmp_path):
    done = run("speed.py", "--quick", *options, cwd=tmp_path, folder=BENCHMARKS)
    assert done.returncode == 0, done.stderr
    dtypes = 1 if options else 2
    assert len(re.findall(r"^\| 64, 32→1, 14², k2 s2 \| ", done.stdout, re.MULTILINE)) == 4 * dtypes
    assert done.stdout.count("Geometric mean, and the lowest, of the cases: all") == dtypes


@pytest.mark.parametrize(
    "name", ["alternatives.py", "construction.py", "decoders.py", "depthwise.py", "growth.py"]
)
def test_benchmark_runs(name, tmp_path):
    done = run(name, "--quick", cwd=tmp_path, folder=BENCHMARKS)
    assert done.returncode == 0, done.stderr
    assert "nan" not in done.stdout


def test_the_limits_are_all_measured(tmp_path):
    """Whether they are kept, a busy machine cannot tell."""
    done = run("limits.py", "--quick", cwd=tmp_path, folder=BENCHMARKS)
    assert done.returncode in (0, 1), done.stderr
    rows = re.findall(r"^\| (\w+).* \| (yes|NO) \|$", done.stdout, re.MULTILINE)
    whats = [what for what, _ in rows]
    assert whats == [
        "import",
        *["solve"] * 4,
        *["construction"] * 6,
        "audit",
        "repair",
        *["mirror"] * 3,
        "U",
    ]
    assert done.returncode == any(kept == "NO" for _, kept in rows)


@pytest.mark.together("digits_vae.py")
def test_the_digits_end_in_a_table_a_picture_and_what_they_say(example):
    done, folder = example("digits_vae.py")
    rows = re.findall(r"^(\S.*?)  .*\d ± \d.*$", done.stdout, re.MULTILINE)
    assert rows == ["k3 s2, output padding", "autoup", "plain k2 s2"]
    grids = re.findall(r"(\d\.\d{4}) ± ", done.stdout)
    assert len(grids) == 6
    for n, step in enumerate((1, 5)):
        for other in (grids[n], grids[4 + n]):
            said = rf"^After {step} batches .*\({other}, with autoup {grids[2 + n]}\)\.$"
            assert re.search(said, done.stdout, re.MULTILINE)
    picture = folder / "output" / "digits_vae.png"
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.fixture(scope="module")
def demo():
    return runpy.run_path(str(EXAMPLES / "digits_vae.py"))


@pytest.mark.parametrize(
    ("other", "ours", "said"),
    [
        (0.08, 0.004, "the grid is seen with k9, and gone with autoup"),
        (0.0151, 0.005, "the grid is seen with k9, and gone with autoup"),
        (0.009, 0.0001, "the grid of k9 is too small to call it seen"),
        (0.05, 0.02, "the grid is seen with k9, and with autoup"),
        (0.0074, 0.0054, "the grid of k9 is too small to call it seen"),
        (0.015, 0.008, "autoup's grid is not half of that of k9"),
        (0.004, 0.08, "autoup's grid is not half of that of k9"),
    ],
)
def test_the_demo_says_gone_only_where_its_numbers_do(demo, other, ours, said):
    words = demo["judge_grid"]("k9", other, ours)
    assert words == f"{said} ({other:.4f}, with autoup {ours:.4f})"


@pytest.mark.parametrize(
    ("ours", "said"),
    [
        ([112.0, 113.0], r"2\.0 nats ahead of k3 .*, more than"),
        ([116.0, 117.0], r"2\.0 nats behind k3 .*, more than"),
        ([112.0, 116.0], "level with k3 .* within the spread"),
        ([112.0], r"2\.0 nats ahead of k3 .* one seed"),
        ([117.0], r"3\.0 nats behind k3 .* one seed"),
    ],
)
def test_the_demo_says_ahead_or_behind_as_its_numbers_do(demo, ours, said):
    others = {"k3 s2, output padding": [114.0, 115.0], "plain k2 s2": [118.0, 118.0]}
    bounds = {name: values[: len(ours)] for name, values in others.items()}
    assert re.search(said, demo["judge_quality"]({**bounds, "autoup": ours}))


@pytest.mark.together("evidence/run.py")
def test_the_evidence_goes_on_where_it_was_and_is_remade_from_its_results_alone(example):
    _, cwd = example("evidence/run.py")
    folder = cwd / "output" / "evidence_quick"
    results = (folder / "results.jsonl").read_text()
    cut_off = results[: results.rindex("{") + 20]
    (folder / "results.jsonl").write_text(cut_off)
    again = run("evidence/run.py", *SMALL["evidence/run.py"], cwd=cwd)
    assert again.returncode == 0, again.stderr
    assert "1/1" in again.stderr
    tables = (folder / "tables.md").read_text()
    assert tables.count("### All kinds") == 6
    assert "The rule takes: **" in tables
    for path in (cwd / "data.py", cwd / "tasks.py"):  # Nothing is loaded, nothing trained.
        path.write_text("raise ImportError")
    code = f"import sys; sys.path[:0] = {[str(cwd), str(EXAMPLES / 'evidence')]!r}; import report, "
    code += f"pathlib; p = pathlib.Path; report.write(p({str(folder / 'results.jsonl')!r}), p('r'))"
    done = subprocess.run([sys.executable, "-c", code], cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (cwd / "r" / "tables.md").read_text() == tables
    pictures = {path.name for path in folder.glob("*.png")}
    assert len(pictures) == 9
    for name in pictures:
        assert (cwd / "r" / name).read_bytes().startswith(b"\x89PNG")


@pytest.mark.together("mirror_or_own/run.py")
def test_mirrors_and_own_decoders_end_in_tables_that_are_remade_from_the_results(example):
    done, cwd = example("mirror_or_own/run.py")
    assert re.search(
        r"^\| DCGAN \| own \| 378,080 \| 5 \| 0 \| 4 \| none \|", done.stdout, re.MULTILINE
    )
    assert re.search(r"^\| DCGAN \| mirror \|.* \| yes \| exact \|$", done.stdout, re.MULTILINE)
    results = cwd / "output" / "mirror_or_own_quick.jsonl"
    code = f"import sys; sys.path.insert(0, {str(EXAMPLES / 'mirror_or_own')!r}); import tables; "
    code += (
        f"sys.argv = ['tables', {str(results)!r}]; tables.main(); assert 'torch' not in sys.modules"
    )
    again = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=cwd)
    assert again.returncode == 0, again.stderr
    assert again.stdout == done.stdout


@pytest.mark.together("unets/run.py")
def test_both_unets_end_in_tables_that_are_remade_from_the_results(example):
    done, cwd = example("unets/run.py")
    for size, way in (("64 x 64", "as it is"), ("71 x 97", "padded with zeros")):
        row = rf"^\| {size} \| segmentation_models\.pytorch \| {way} \| 0\.\d{{3}} ± 0\.000 \|"
        assert re.search(row, done.stdout, re.MULTILINE)
    assert re.search(r"^\| `autoup\.unet` \| 14,332,757 \|", done.stdout, re.MULTILINE)
    results = cwd / "output" / "unets_quick.jsonl"
    folder = str(EXAMPLES / "unets")
    code = f"import sys; sys.path.insert(0, {folder!r}); import comparison; "
    code += (
        f"sys.argv = ['c', {str(results)!r}]; comparison.main(); assert 'torch' not in sys.modules"
    )
    again = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=cwd)
    assert again.returncode == 0, again.stderr
    assert again.stdout == done.stdout


@pytest.mark.parametrize("source", ["torchvision", "timm"])
def test_a_real_backbone_is_mirrored_and_drawn(source, tmp_path):
    code = (
        "import runpy, sys; from support import backbones; backbones.import_torchvision(); "
        f"sys.argv = ['m', '--backbone', {source!r}, '--steps', '2']; "
        f"runpy.run_path({str(EXAMPLES / 'mirror_a_backbone.py')!r}, run_name='__main__')"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "tests")}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, env=environment
    )
    assert done.returncode == 0, done.stderr
    assert f"Backbone: {source}." in done.stdout
    assert "AutoConvTranspose2d" in done.stdout
    picture = tmp_path / "output" / "mirror_a_backbone.png"
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_the_readme_starts_with_code_and_names_both_commands():
    text = (ROOT / "README.md").read_text()
    assert ">>> " in "\n".join(text.splitlines()[:10])
    assert "make demo" in text
    assert "make test" in text
