"""Parts that torch.jit compiled are copied and run; what is in them stays and is named."""

import gc
import warnings

import pytest
import torch
from support.comparing import distance, quietly
from torch import nn
from torch.nn import functional as F  # noqa: N812

import autoup
from autoup import repair

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit")


class Up(nn.Module):
    def __init__(self, kernel_size=3):
        super().__init__()
        self.up = nn.ConvTranspose2d(2, 2, kernel_size, 2, kernel_size // 2, kernel_size % 2)

    def forward(self, x):
        return torch.relu(self.up(x))


class Calls(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(2, 2, 3, 3))

    def forward(self, x):
        return F.conv_transpose2d(x, self.weight, stride=2, padding=1, output_padding=1)


def script(module):
    return quietly(lambda: torch.jit.script(module))


def trace(module):
    return quietly(lambda: torch.jit.trace(module, torch.randn(1, 2, 4, 4)))


def freeze(module):
    return quietly(lambda: torch.jit.freeze(torch.jit.script(module.eval())))


def around(part):
    """A layer that can be repaired on either side of a part."""
    return nn.Sequential(
        nn.ConvTranspose2d(2, 2, 3, 2, 1, 1), part, nn.ConvTranspose2d(2, 2, 3, 2, 1, 1)
    )


@pytest.mark.parametrize(("part", "name"), [
    (lambda: script(Up()), "1.up: stays, as it is scripted"),
    (lambda: script(nn.ConvTranspose2d(2, 2, 3, 2, 1, 1)), "1: stays, as it is scripted"),
    (lambda: script(Calls()), "1: stays, as it holds a transposed convolution and is scripted"),
    (lambda: trace(Up()), "1: stays, as it holds a transposed convolution and is scripted"),
    (lambda: trace(Calls()), "1: stays, as it holds a transposed convolution and is scripted"),
    (lambda: freeze(Up()), "1: stays, as it holds a transposed convolution and is scripted"),
])  # fmt: skip
def test_layers_around_are_repaired_and_those_inside_named(part, name):
    model = around(part())
    with pytest.warns(autoup.ArtifactWarning) as caught:
        repaired = repair(model, (1, 2, 4, 4))
    text = str(caught[0].message)
    assert text.startswith("repair: 1 layer not repaired")
    assert f"{name}: repair the module that it was made from" in text
    assert [repaired[n].kernel_size for n in (0, 2)] == [(4, 4)] * 2
    x = torch.randn(1, 2, 5, 5)
    assert distance([model(x)], [repaired(x)]) <= 1e-5


@pytest.mark.parametrize("part", [
    lambda: script(Up(2)), lambda: script(nn.Conv2d(2, 2, 1)), lambda: trace(nn.Conv2d(2, 2, 1)),
])  # fmt: skip
def test_parts_without_what_stays_are_not_named(part):
    model = around(part())
    with warnings.catch_warnings(action="error"):
        repaired = repair(model, (1, 2, 4, 4))
    assert repaired[0].kernel_size == (4, 4)


def test_inner_parts_are_named_once_by_their_path():
    model = nn.Sequential(nn.Sequential(script(nn.Sequential(Up(), Up(2)))))
    with pytest.warns(autoup.ArtifactWarning) as caught:
        repair(model)
    assert str(caught[0].message).splitlines()[1:] == [
        "  0.0.0.up: stays, as it is scripted: repair the module that it was made from"
    ]


def test_copy_shares_nothing_with_the_original():
    model = around(script(Up()))
    repaired = quietly(lambda: repair(model, (1, 2, 4, 4)))
    with torch.no_grad():
        repaired[1].up.weight.zero_()
    assert model[1].up.weight.abs().sum() > 0
    assert model.training
    assert model[1].training
    assert model[1].up.training


def test_guarantee_reaches_layers_behind_a_scripted_function():
    scripted = script(doubled)

    class Behind(nn.Module):
        def __init__(self):
            super().__init__()
            self.up = nn.ConvTranspose2d(2, 2, 3, 2, 1, 1)

        def forward(self, x):
            return self.up(scripted(x))

    repaired = repair(Behind(), (1, 2, 8, 8), smoothness=1)
    assert repaired.up.smoothness == 1
    assert autoup.phase_spread(repaired.up) < 1e-5


def doubled(x: torch.Tensor) -> torch.Tensor:
    return 2 * x


def test_model_that_is_scripted_is_refused():
    with pytest.raises(TypeError, match="pass the module that it was made from"):
        repair(script(Up()))


LIBRARY = torch.library.Library("autoup_overloads", "DEF")


def test_torch_jit_knows_no_operator_that_died():
    for overload in ("one", "two"):
        LIBRARY.define(f"grow.{overload}(Tensor x) -> Tensor")
        assert torch.ops.autoup_overloads.grow
    gc.collect()
    alive = {id(thing) for thing in gc.get_objects()}
    alive |= {id(operator) for operator, _ in torch.jit._builtins._builtin_ops}
    known = torch.jit._builtins._get_builtin_table()
    assert [name for where, name in known.items() if where not in alive] == []
