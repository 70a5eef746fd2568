"""``python -m autoup repair``: what is in the file that it writes, and when it writes none."""

import os
import pickle
import re
import subprocess
import sys

import pytest
import safetensors
import torch
from safetensors.torch import load_file, save_file
from support.comparing import quietly

import autoup
from autoup.__main__ import main
from autoup.commands.states import State

MODEL = """
import torch
from torch import nn
from torch.nn.utils import parametrizations


class Generator(nn.Module):
    def __init__(self):
        super().__init__()
        self.up = nn.ConvTranspose2d(8, 6, 3, 2, 1, 1)
        self.norm = nn.BatchNorm2d(6)
        self.more = nn.ConvTranspose2d(6, 4, (3, 4), 2, 1, (1, 0))
        self.resize = nn.Upsample(scale_factor=2)
        self.conv = nn.Conv2d(4, 3, 3, padding=1)

    def forward(self, x):
        return self.conv(self.resize(self.more(self.norm(self.up(x)).relu())))


class Twins(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.two = (nn.ConvTranspose2d(8, 8, 3, 2, 1, 1) for _ in range(2))
        self.two.weight = self.one.weight

    def forward(self, x):
        return self.two(self.one(x))


class Counting(nn.Sequential):
    def __init__(self):
        super().__init__(nn.ConvTranspose2d(8, 4, 3, 2, 1, 1))

    def forward(self, x):
        return super().forward(x) * self[0].kernel_size[0]


def odd():
    return nn.Sequential(nn.ConvTranspose2d(8, 4, 4, 2, 1, 1), nn.ConvTranspose2d(4, 4, 3, 2, 1, 1))


def clean():
    return nn.Sequential(nn.ConvTranspose2d(8, 4, 2, 2))


def normed():
    return nn.Sequential(parametrizations.weight_norm(nn.ConvTranspose2d(8, 4, 3, 2, 1, 1)))


def old_normed():
    return nn.Sequential(nn.utils.weight_norm(nn.ConvTranspose2d(8, 4, 3, 2, 1, 1)))


def empty():
    return Generator().to("meta")


compiled = torch.compile(Generator(), backend="eager")
"""
FULL = """
import resource, signal, sys
import some_generators
from autoup.__main__ import main

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
files = ["--checkpoint", sys.argv[1], "--out", sys.argv[1], "--overwrite"]
sys.exit(main(["repair", "some_generators:Generator", *files]))
"""
SIZE = ["--input-size", "1", "8", "5", "5"]


@pytest.fixture
def models(tmp_path, monkeypatch):
    """Return a module of models that stands in the current folder."""
    (tmp_path / "some_generators.py").write_text(MODEL)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    import some_generators

    yield some_generators
    del sys.modules["some_generators"]


@pytest.fixture
def trained(models):
    """Return a generator unlike a new one, in evaluation mode."""
    return fill(models.Generator())


def fill(model):
    for each in model.state_dict().values():
        if each.is_floating_point():
            each.copy_(torch.rand_like(each))
    return model.eval()


def repair(*arguments, status=0, model="Generator"):
    assert main(["repair", f"some_generators:{model}", *map(str, arguments)]) == status


def load_as_told(told):
    """Run the lines of Python that were printed, and return the model that they make."""
    lines = re.search(r"To load it.*:\n((?:  .*\n)+)", told)[1]
    scope = {}
    quietly(lambda: exec(re.sub("^  ", "", lines, flags=re.MULTILINE), scope))
    return scope["model"].eval()


def assert_same(model, other, limit=1e-5):
    x = torch.randn(2, 8, 5, 5)
    with torch.no_grad():
        wanted, made = model(x), other(x)
    assert torch.allclose(wanted, made, rtol=0, atol=limit * float(wanted.abs().max()))


def prefixed(state, *prefixes):
    return {prefix + name: each for prefix in prefixes for name, each in state.items()}


def inside(state, name):
    return {key.replace("norm.", f"norm.{name}."): each for key, each in state.items()}


WRAPPINGS = {
    "plain": lambda state: state,
    "state_dict": lambda state: {"epoch": 3, "state_dict": state},
    "model": lambda state: {"model": state, "best": torch.tensor(0.5)},
    "model_state_dict": lambda state: {"model_state_dict": state, "names": ["a", {"b": 1}]},
    "nested": lambda state: {"models": [{"generator": state}, {"other": torch.ones(2)}]},
    "DDP": lambda state: prefixed(state, "module."),
    "compiled": lambda state: {"state_dict": prefixed(state, "_orig_mod.")},
    "compiled DDP": lambda state: {"model": prefixed(state, "module._orig_mod.")},
    "compiled part": lambda state: inside(state, "_orig_mod"),
    "Lightning": lambda state: {
        "state_dict": prefixed(state, "generator.") | {"critic.weight": torch.ones(3)},
    },
}  # fmt: skip


@pytest.mark.parametrize("wrap", WRAPPINGS.values(), ids=WRAPPINGS)
@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
def test_checkpoint_loads_into_the_repaired_model_as_told(wrap, legacy, trained, capsys):
    torch.save(wrap(trained.state_dict()), "in.pt", _use_new_zipfile_serialization=not legacy)
    repair(*SIZE, "--checkpoint", "in.pt", "--out", "out.pt")
    loaded = load_as_told(capsys.readouterr().out)
    assert loaded.up.kernel_size == loaded.more.kernel_size == (4, 4)
    assert_same(trained, loaded)
    assert_alike_but_for(load("in.pt"), load("out.pt"), ("up.weight", "more.weight"))


def load(path):
    return torch.load(path, weights_only=True)


def assert_alike_but_for(old, new, names):
    """Compare two checkpoints, whose tensors differ where their keys end with one of the names."""
    assert type(old) is type(new)
    if isinstance(old, dict):
        assert [*old] == [*new]
        assert getattr(old, "_metadata", None) == getattr(new, "_metadata", None)
        for key, value in old.items():
            if str(key).replace("_orig_mod.", "").endswith(names):
                assert value.shape != new[key].shape
                assert value.dtype == new[key].dtype
            else:
                assert_alike_but_for(value, new[key], names)
    elif isinstance(old, list):
        for one, other in zip(old, new, strict=True):
            assert_alike_but_for(one, other, names)
    else:
        assert torch.equal(old, new) if isinstance(old, torch.Tensor) else old == new


def test_layers_of_the_source_take_the_numbers_of_the_table(trained, models, capsys):
    torch.save(trained.state_dict(), "in.pt")
    repair(*SIZE, "--checkpoint", "in.pt", "--out", "out.pt")
    rows = re.findall(
        r"^  (\w+) +(kernel_size=.*)  (kernel_size=.*)$", capsys.readouterr().out, re.M
    )
    assert [name for name, *_ in rows] == ["up", "more"]
    model = models.Generator().eval()
    for name, before, after in rows:
        old = getattr(model, name)
        settings = {**eval(f"dict({before})")}
        for setting, value in settings.items():
            assert getattr(old, setting) == (value if isinstance(value, tuple) else (value, value))
        made = torch.nn.ConvTranspose2d(
            old.in_channels, old.out_channels, stride=2, **eval(f"dict({after})")
        )
        setattr(model, name, made)
    model.load_state_dict(load("out.pt"))
    assert_same(trained, model)


def test_every_state_of_the_model_is_converted(trained, models, capsys):
    other = fill(models.Generator())
    states = [each.state_dict() for each in (trained, other)]
    torch.save({"model": states[0], "ema": prefixed(states[1], "module.")}, "in.pt")
    repair(*SIZE, "--checkpoint", "in.pt", "--out", "out.pt")
    told = capsys.readouterr().out
    assert "where they were: ['model']; ['ema'], names keep 'module.'." in " ".join(told.split())
    assert_same(trained, load_as_told(told))
    average = autoup.repair(models.Generator()).eval()
    average.load_state_dict(
        {key.removeprefix("module."): each for key, each in load("out.pt")["ema"].items()}
    )
    assert_same(other, average)


def test_state_of_an_optimizer_is_kept_and_told_of(trained, capsys):
    optimizer = torch.optim.Adam(trained.parameters())
    trained(torch.randn(1, 8, 5, 5)).sum().backward()
    optimizer.step()
    other = torch.optim.SGD([torch.nn.Parameter(torch.ones(3))], momentum=0.9)
    other.param_groups[0]["params"][0].square().sum().backward()
    other.step()
    states = [other.state_dict(), optimizer.state_dict()]
    torch.save({"model": trained.state_dict(), "opts": states}, "in.pt")
    repair("--checkpoint", "in.pt", "--out", "out.pt")
    told = " ".join(capsys.readouterr().out.split())
    assert "of an optimiser, ['opts'][1], is kept and has shapes of the old kernels" in told
    assert_alike_but_for(load("in.pt")["opts"], load("out.pt")["opts"], ("nothing",))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_checkpoint_keeps_its_dtype_and_every_digit(dtype, trained):
    state = {
        name: torch.rand_like(each, dtype=dtype) if each.is_floating_point() else each
        for name, each in trained.state_dict().items()
    }
    torch.save(state, "in.pt")
    repair("--checkpoint", "in.pt", "--out", "out.pt")
    made = load("out.pt")
    assert {each.dtype for each in made.values()} == {dtype, torch.int64}
    assert torch.equal(made["up.weight"][..., :3, :3], state["up.weight"])
    assert made["up.weight"].count_nonzero() == state["up.weight"].count_nonzero()


def test_folded_kernels_of_half_precision_are_not_rounded(trained):
    state = {name: each.half() for name, each in trained.state_dict().items()}
    torch.save(state, "in.pt")
    repair(*SIZE, "--fold-resize", "--checkpoint", "in.pt", "--out", "out.pt")
    made = load("out.pt")
    assert made["conv.weight"].dtype == torch.float32
    assert made["up.weight"].dtype == torch.float16


def test_tensors_that_stay_the_same_are_not_copied(models):
    model = models.Generator()
    held = {name: each.clone() for name, each in model.state_dict().items()}
    state = State((), {**held}, "", {name: name for name in held})
    state.take(model.state_dict(), autoup.repair(model).state_dict())
    changed = {name for name, each in held.items() if state.entries[name] is not each}
    assert changed == {"up.weight", "more.weight"}


def test_shared_weights_stay_shared_in_the_file(models):
    torch.save(fill(models.Twins()).state_dict(), "in.pt")
    repair(*SIZE, "--checkpoint", "in.pt", "--out", "out.pt", model="Twins")
    made = load("out.pt")
    assert made["one.weight"].shape[2:] == (4, 4)
    assert made["one.weight"].data_ptr() == made["two.weight"].data_ptr()


def test_keys_of_the_old_weight_norm_become_those_of_the_model(models, capsys):
    old = quietly(models.old_normed)
    torch.save(old.state_dict(), "in.pt")
    assert "0.weight_g" in old.state_dict()
    repair(*SIZE, "--checkpoint", "in.pt", "--out", "out.pt", model="normed")
    assert {*load("out.pt")} == {*models.normed().state_dict()}
    assert_same(old, load_as_told(capsys.readouterr().out))


def test_options_are_those_of_the_function(trained, capsys):
    torch.save(trained.state_dict(), "in.pt")
    for words, name, value in (
        (["--fold-resize"], "fold_resize", True),
        (["--output-padding-only"], "even", False),
        (["--smoothness", "1"], "smoothness", 1),
    ):
        out = f"{words[0]}.pt"
        repair(*SIZE, *words, "--checkpoint", "in.pt", "--out", f"./{out}")
        told = capsys.readouterr().out
        assert f"{name}={value})" in told
        wanted = autoup.repair(trained, (1, 8, 5, 5), **{name: value}).eval()
        assert_same(wanted, load_as_told(told))
        assert ("changes the outputs" in told) == (words == ["--smoothness", "1"])
        shapes = {name: each.shape for name, each in wanted.state_dict().items()}
        assert shapes == {name: each.shape for name, each in load(out).items()}


def test_model_without_a_checkpoint_gives_its_own_weights(models, capsys):
    repair(*SIZE, "--out", "out.pt", model="compiled")
    told = capsys.readouterr().out
    assert "compiled._orig_mod, (1, 8, 5, 5)" in told
    assert "the weights that MODEL comes with" in told
    assert_same(models.compiled._orig_mod.eval(), load_as_told(told))


def test_safetensors_are_read_and_written(trained, capsys):
    save_file(trained.state_dict(), "in.safetensors", {"format": "pt", "step": "7"})
    repair(*SIZE, "--checkpoint", "in.safetensors", "--out", "out.safetensors")
    assert_same(trained, load_as_told(capsys.readouterr().out))
    with safetensors.safe_open("out.safetensors", "pt") as file:
        assert file.metadata() == {"format": "pt", "step": "7"}
    torch.save({"model": prefixed(trained.state_dict(), "module."), "epoch": 3}, "in.pt")
    repair("--checkpoint", "in.pt", "--out", "from_pt.safetensors")
    told = capsys.readouterr().out
    assert "Left out, as .safetensors holds tensors alone: epoch." in told
    assert "The weights are where they were: names keep 'module.'." in told
    assert_same(trained, load_as_told(told))
    assert {*load_file("from_pt.safetensors")} == {*prefixed(trained.state_dict(), "module.")}
    torch.save({"model": trained.state_dict(), "ema": trained.state_dict()}, "two.pt")
    repair("--checkpoint", "two.pt", "--out", "two.safetensors", status=2)
    assert "2 states of this model (['model']; ['ema'])" in capsys.readouterr().err


def test_safetensors_that_are_not_installed(trained, monkeypatch, capsys):
    save_file(trained.state_dict(), "in.safetensors")
    monkeypatch.setitem(sys.modules, "safetensors.torch", None)
    repair("--checkpoint", "in.safetensors", status=2)
    assert "reading in.safetensors takes the safetensors package: pip install safe" in (
        capsys.readouterr().err
    )
    repair("--out", "out.safetensors", status=2)
    assert "writing out.safetensors takes" in capsys.readouterr().err


def test_without_out_nothing_is_written(trained, tmp_path, capsys):
    torch.save(trained.state_dict(), "in.pt")
    before = contents(tmp_path)
    repair(*SIZE, "--checkpoint", "in.pt")
    assert contents(tmp_path) == before
    told = capsys.readouterr().out
    assert "2 layers change." in told
    assert "Nothing was written" in told
    repair()
    assert "Nothing was proved: with --input-size" in capsys.readouterr().out


def contents(folder):
    return {each.name: each.read_bytes() for each in folder.iterdir() if each.is_file()}


@pytest.mark.usefixtures("models")
def test_what_stays_is_told_and_the_status_is_1(capsys):
    repair("--input-size", "1", "8", "7", "7", status=1, model="odd")
    told = capsys.readouterr().out
    assert "Sequential: 1 layer changes." in told
    assert "1 layer not repaired, or not wholly.\n  0: height and width: output_padding 1" in told
    repair(*SIZE, "--output-padding-only", model="odd")
    assert "not repaired" not in capsys.readouterr().out


def test_nothing_to_do_still_gives_the_file(models, capsys):
    torch.save(models.clean().state_dict(), "in.pt")
    repair(*SIZE, "--checkpoint", "in.pt", "--out", "out.pt", model="clean")
    assert capsys.readouterr().out == "Sequential: no layer changes.\n\nWritten to out.pt.\n"
    assert_alike_but_for(load("in.pt"), load("out.pt"), ("nothing",))


@pytest.mark.parametrize("alias", ["in.pt", "./in.pt", "link.pt", "hard.pt", "whole", "other.pt"])
def test_no_file_is_overwritten_without_being_asked(alias, trained, tmp_path, capsys):
    torch.save(trained.state_dict(), "in.pt")
    os.symlink("in.pt", "link.pt")
    os.link("in.pt", "hard.pt")
    (tmp_path / "other.pt").write_bytes(b"other")
    out = tmp_path / "in.pt" if alias == "whole" else alias
    before = contents(tmp_path)
    repair("--checkpoint", "in.pt", "--out", out, status=2)
    assert contents(tmp_path) == before
    said = "exists already" if alias == "other.pt" else "is the checkpoint in.pt itself"
    assert f"{said}: name another file, or add --overwrite." in capsys.readouterr().err


@pytest.mark.parametrize("alias", ["in.pt", "link.pt", "other.pt"])
def test_overwriting_replaces_the_file_and_keeps_links_and_modes(alias, trained, tmp_path, capsys):
    torch.save(trained.state_dict(), "in.pt")
    os.symlink("in.pt", "link.pt")
    (tmp_path / "other.pt").write_bytes(b"other")
    os.chmod(alias, 0o640)
    repair(*SIZE, "--checkpoint", "in.pt", "--out", alias, "--overwrite")
    assert_same(trained, load_as_told(capsys.readouterr().out))
    assert os.stat(alias).st_mode & 0o777 == 0o640
    assert os.path.islink("link.pt")
    names = {each.name for each in tmp_path.iterdir() if each.is_file()}
    assert names == {"in.pt", "link.pt", "other.pt", "some_generators.py"}


@pytest.mark.parametrize(("error", "said"), [
    (OSError(28, "No space left on device"), "cannot write out.pt: No space left on device."),
    (RuntimeError("writer failed."), "cannot write out.pt: writer failed."),
    (KeyboardInterrupt(), "interrupted"),
])  # fmt: skip
def test_failure_while_writing_leaves_all_files_as_they_were(
    error, said, trained, tmp_path, monkeypatch, capsys
):
    def save(_, file):
        file.write(b"half")
        raise error

    torch.save(trained.state_dict(), "in.pt")
    before = contents(tmp_path)
    monkeypatch.setattr(torch, "save", save)
    status = 130 if isinstance(error, KeyboardInterrupt) else 2
    repair("--checkpoint", "in.pt", "--out", "in.pt", "--overwrite", status=status)
    repair("--checkpoint", "in.pt", "--out", "out.pt", status=status)
    assert contents(tmp_path) == before
    assert said in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
def test_full_disk_leaves_the_file_as_it_was(suffix, trained, tmp_path):
    state = trained.state_dict()
    torch.save(state, "in.pt") if suffix == "pt" else save_file(state, "in.safetensors")
    before = contents(tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", FULL, f"in.{suffix}"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2, done.stderr
    assert f"cannot write in.{suffix}: " in done.stderr
    assert "too large" in done.stderr
    assert contents(tmp_path) == before


@pytest.mark.usefixtures("models")
def test_repair_that_changes_the_outputs_writes_nothing(tmp_path, capsys):
    before = contents(tmp_path)
    repair(*SIZE, "--out", "out.pt", status=2, model="Counting")
    captured = capsys.readouterr()
    assert "repair changed the output on random input" in captured.err
    assert not captured.out
    assert contents(tmp_path) == before


@pytest.mark.usefixtures("models")
def test_model_without_numbers_is_not_written(tmp_path, capsys):
    torch.save({}, "in.pt")
    for words in (["--out", "out.pt"], ["--checkpoint", "in.pt"]):
        repair(*words, status=2, model="empty")
        assert "has no weights to read or write" in capsys.readouterr().err
    assert not (tmp_path / "out.pt").exists()


def test_checkpoint_that_does_not_fit(trained, capsys):
    state = trained.state_dict()
    shown = state.pop("norm.weight"), state.pop("norm.bias")
    state["extra"] = state["up.weight"] = shown[0]
    torch.save({"net": state}, "in.pt")
    repair("--checkpoint", "in.pt", status=2)
    assert capsys.readouterr().err == (
        "autoup repair: in.pt does not fit the model: 2 keys missing: norm.weight, norm.bias; "
        "1 key unknown: extra; 1 key of another shape than the model's: up.weight [6] for "
        "[8, 6, 3, 3].\n"
    )
    torch.save({"a": 1, "b": {"c": torch.ones(1)}}, "in.pt")
    repair("--checkpoint", "in.pt", status=2)
    assert "it holds no weights of this model, as up.weight, up.bias, … (11); it has a, b." in (
        capsys.readouterr().err
    )
    torch.save(torch.ones(2), "in.pt")
    repair("--checkpoint", "in.pt", status=2)
    assert "it is Tensor." in capsys.readouterr().err


def test_checkpoint_that_is_repaired_already(models, capsys):
    torch.save(autoup.repair(models.Generator()).state_dict(), "in.pt")
    for command in ("repair", "audit"):
        assert main([command, "some_generators:Generator", "--checkpoint", "in.pt"]) == 2
        assert "it is repaired already" in capsys.readouterr().err


class Trap:
    """Makes a folder when it is unpickled."""

    def __reduce__(self):
        return os.mkdir, ("sprung",)


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
def test_no_code_of_a_checkpoint_is_run_and_what_is_refused_is_named(
    legacy, trained, tmp_path, capsys
):
    content = {"state_dict": trained.state_dict(), "extra": Trap()}
    torch.save(content, "in.pt", _use_new_zipfile_serialization=not legacy)
    repair("--checkpoint", "in.pt", status=2)
    told = capsys.readouterr().err
    assert f"in.pt holds more than weights: {os.mkdir.__module__}.mkdir. " in told
    assert not (tmp_path / "sprung").exists()
    exec(re.sub("^  ", "", told.partition("give that:\n")[2], flags=re.MULTILINE))
    assert (tmp_path / "sprung").exists()  # These lines are for files that one trusts.
    repair(*SIZE, "--checkpoint", "in_weights.pt")


@pytest.mark.parametrize(("name", "write", "said"), [
    ("in.pt", lambda _: None, "there is no file in.pt: a checkpoint is one file."),
    ("in.pt", lambda file: file.mkdir(), "in.pt is a folder: a checkpoint is one file."),
    ("in.pt", lambda file: file.touch(), "it is empty."),
    ("in.pt", lambda file: file.write_text("version https://git-lfs"), "no file of torch.save"),
    ("in.pt", lambda file: torch.jit.script(torch.nn.ReLU()).save(file), "a TorchScript archive"),
    ("in.pt", lambda file: file.write_bytes(pickle.dumps([1])), "no file of torch.save"),
    ("in.pt", lambda file: cut(file), "failed finding central directory."),
    ("in.safetensors", lambda file: file.write_text("nothing"), "cannot read in.safetensors as a"),
])  # fmt: skip
@pytest.mark.usefixtures("models")
def test_files_that_are_no_checkpoints(name, write, said, tmp_path, capsys):
    quietly(lambda: write(tmp_path / name))
    repair("--checkpoint", name, status=2)
    told = capsys.readouterr().err
    assert said in told
    assert told.count("\n") == 1


def cut(file):
    torch.save(torch.ones(1000), file)
    file.write_bytes(file.read_bytes()[:2000])


@pytest.mark.parametrize(("out", "said"), [
    ("missing/out.pt", "has no folder: there is no missing."), (".", "is a folder."),
])  # fmt: skip
@pytest.mark.usefixtures("models")
def test_places_where_nothing_can_be_written(out, said, capsys):
    repair("--out", out, status=2)
    assert said in capsys.readouterr().err
