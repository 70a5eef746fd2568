"""All goes on without what is private to PyTorch, and nothing else of it is used."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

import autoup
from autoup import internals
from autoup.inspecting.runs import shapes

SOURCE = Path(autoup.__file__).parent
# What has no public name, and why it is used. Without those of `internals` and `versions` all
# goes on, as the tests below and in `test_versions.py` show.
USED = {
    "torch._subclasses.fake_tensor": "A model is looked at without arithmetic; else it runs.",
    "torch.utils._python_dispatch.TorchDispatchMode": "Sees into scripts; else they are unknown.",
    "_is_compiling_flag": "Libraries keep no fake tensors in caches; else they may.",
    "_schema": "Names and defaults of operators; else what the graph holds, and ours.",
    "_unsafe_view": "Spares a copy of the output.",
    "torch._C._functorch.is_batchedtensor": "Outputs of one input tell that channels lie last.",
    "_base": "What a view shows a part of; PyTorch documents it with views.",
    "_compiled_call_impl": "Tells a compiled encoder in an error; else that is general.",
    "_dynamo_marked_constant": "A U-Net compiles into one graph; else into several.",
    "_orig_mod": "Where torch.compile keeps the module; pickles and checkpoints hold the name.",
    # What every nn.Module is made of: modules pickled by any version hold these names.
    "_apply": "nn.Module",
    "_parameters": "nn.Module",
    "_buffers": "nn.Module",
    "_modules": "nn.Module",
    "_forward_hooks": "nn.Module",
    "_forward_pre_hooks": "nn.Module",
}


def private(name):
    return name.startswith("_") and not name.startswith("__") and name != "_"


def names_of_torch():
    """Return the private names of what code can get from PyTorch."""
    compiled = nn.Linear(1, 1)
    compiled.compile(backend="eager")
    owners = (
        torch,
        torch.compiler,
        torch.nn,
        torch.fx,
        torch.jit,
        torch.export,
        torch.ops.aten.add,
    )
    owners += (
        torch.zeros(1),
        compiled,
        torch.compile(compiled, backend="eager"),
        torch.ops.aten.add.Tensor,
    )
    owners += (torch.fx.Graph(), torch.fx.Graph().placeholder("x"), torch.Tag)
    return {name for owner in owners for name in dir(owner) if private(name)} | {*USED}


def used_of(tree, names):
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "torch":
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                if any(map(private, full.split("."))):
                    yield full
        elif isinstance(node, ast.Attribute) and node.attr in names:
            if not (
                isinstance(node.value, ast.Name) and node.value.id in ("self", "cls", "recorder")
            ):
                yield node.attr
        elif isinstance(node, ast.Constant) and node.value in USED:
            yield node.value


def test_what_is_private_to_pytorch_is_listed_with_its_reason():
    names = names_of_torch()
    found = {
        (name, path.name)
        for path in SOURCE.rglob("*.py")
        for name in used_of(ast.parse(path.read_text()), names)
    }
    assert {name for name, _ in found} == {*USED}, found


class Sight(nn.Module):
    """Enlarges in three ways, one of them by a script."""

    def __init__(self):
        super().__init__()
        self.first = nn.ConvTranspose2d(2, 2, 3, 2, 1, 1)
        self.second = nn.Upsample(scale_factor=2)

    def forward(self, x):
        return self.second(self.first(x)).repeat_interleave(2, -1)


def no_fakes(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch._subclasses.fake_tensor", None)
    monkeypatch.delattr(torch._subclasses, "fake_tensor", raising=False)


def test_without_fake_tensors_a_model_is_looked_at_as_it_runs(monkeypatch):
    model = Sight()
    wanted = autoup.audit(model, (1, 2, 6, 6))
    repaired = autoup.repair(model, (1, 2, 6, 6))
    no_fakes(monkeypatch)
    assert not internals.has_fake_tensors()
    assert not internals.is_fake(torch.ones(1))
    assert repr(autoup.audit(model, (1, 2, 6, 6))) == repr(wanted)
    assert repr(autoup.repair(model, (1, 2, 6, 6))) == repr(repaired)
    assert shapes(model, ((1, 2, 6, 6),), numbers=False) == [(1, 2, 24, 48)]


class Counter(nn.Module):
    """Writes into its own Parameter."""

    def __init__(self):
        super().__init__()
        self.calls = nn.Parameter(torch.zeros(1), requires_grad=False)
        self.up = nn.ConvTranspose2d(2, 2, 2, 2)

    def forward(self, x):
        self.calls += 1
        return self.up(x)


def test_without_fake_tensors_nothing_is_written_into_a_model(monkeypatch):
    no_fakes(monkeypatch)
    model = Counter()
    autoup.audit(model, (1, 2, 6, 6))
    assert model.calls.item() == 0


def test_without_the_flag_libraries_hear_nothing(monkeypatch):
    monkeypatch.setattr(internals, "_COMPILING", "_is_gone")
    with internals.without_numbers():
        assert internals.is_fake(torch.ones(1))
        assert not torch.compiler.is_compiling()
    assert not hasattr(torch.compiler, "_is_gone")


def test_with_the_flag_they_hear_that_they_are_exported():
    with internals.without_numbers():
        assert torch.compiler.is_compiling()
    assert not torch.compiler.is_compiling()


@pytest.mark.parametrize("operator", [internals._UNSAFE_VIEW, None])
def test_what_a_layer_returns_can_be_written_to(monkeypatch, operator):
    monkeypatch.setattr(internals, "_UNSAFE_VIEW", operator)
    layer = autoup.AutoConvTranspose2d(16, 1, 128, 256)
    x, plain = torch.randn(1, 16, 128, 128, requires_grad=True), layer.to_plain()
    made = layer(x)
    assert made.grad_fn.name() != plain(x).grad_fn.name()
    made.mul_(2).sum().backward()
    ours, x.grad = x.grad, None
    plain(x).mul(2).sum().backward()
    torch.testing.assert_close(ours, x.grad)


def test_an_operator_that_tells_no_parameters_has_none():
    assert internals.parameters_of(len) == {}
    assert internals.parameters_of(torch.ops.aten.elu.default)["alpha"] == 1


SEED = "\ntorch.manual_seed(0)\nplain"
WITHOUT_A_VIEW = """
import torch
from torch import nn
import torch._subclasses.fake_tensor, torch.export, torch.utils._python_dispatch as dispatch
del dispatch.TorchDispatchMode
import autoup
plain = nn.Sequential(nn.ConvTranspose2d(2, 2, 3, 2, 1, 1), nn.Upsample(scale_factor=2))
print(autoup.audit(plain, (1, 2, 6, 6)))
print("-----", autoup.audit(nn.Sequential(torch.jit.script(plain)), (1, 2, 6, 6)))
"""


@pytest.mark.slow
def test_without_a_view_of_the_operators_a_script_is_an_unknown_step():
    def run(code):
        command = [sys.executable, "-c", code.replace("\nplain", SEED)]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    without, seen = run(WITHOUT_A_VIEW), run(WITHOUT_A_VIEW.replace("del dispatch", "dispatch"))
    plain, scripted = without.split("-----")
    assert seen.startswith(plain)
    assert "conv_transpose  transposed" in seen.split("-----")[1]
    assert "unknown: (model)\n    Seen: what the model returns was not seen to stem" in scripted
