"""Looking at a model leaves no trace: not in its caches, its Parameters, nor in random numbers."""

import functools
import random

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from autoup import audit, repair

KEPT = {}


@functools.lru_cache
def ramp(n):
    return torch.linspace(0, 1, n)


def mask(n):
    if n not in KEPT:  # Made in place, as causal masks are.
        KEPT[n] = torch.full((n, n), -1.0)
        KEPT[n].triu_(1)
        KEPT[n][0] = 2.0
    return KEPT[n]


class Act(nn.Module):
    def __init__(self, act, **children):
        super().__init__()
        self.act = act
        for name, child in children.items():
            setattr(self, name, child)

    def forward(self, x):
        return self.act(self, x)


def up():
    return nn.ConvTranspose2d(3, 3, 3, 2, 1, 1)


@pytest.mark.parametrize("look", [audit, repair])
def test_what_a_model_keeps_of_no_data_has_its_numbers(look):
    ramp.cache_clear()
    KEPT.clear()
    look(Act(lambda m, x: m.up(x) + ramp(48) + mask(48), up=up()), (1, 3, 24, 24))
    assert torch.equal(ramp(48), torch.linspace(0, 1, 48))
    wanted = torch.full((48, 48), -1.0).triu(1)
    wanted[0] = 2.0
    assert type(mask(48)) is torch.Tensor
    assert torch.equal(mask(48), wanted)


class Averages(nn.Module):
    """A code whose running mean is a Parameter."""

    def __init__(self):
        super().__init__()
        self.up, self.mean = up(), nn.Parameter(torch.zeros(3), requires_grad=False)

    def forward(self, x):
        self.mean.data.mul_(0.9).add_(0.1 * x.mean((0, 2, 3)) + 1)
        return self.up(x) + self.mean.view(1, 3, 1, 1)


class Spectral(nn.Module):
    """A spectral normalisation by hand, which makes its layer's weight in the forward pass."""

    def __init__(self):
        super().__init__()
        self.module = up()
        weight = self.module._parameters.pop("weight")
        self.module.register_parameter("weight_bar", nn.Parameter(weight.data))
        self.u = nn.Parameter(torch.ones(3), requires_grad=False)

    def forward(self, x):
        self.u.data = F.normalize(self.u.data + torch.arange(3), dim=0)
        self.module.weight = self.module.weight_bar / self.u.sum()
        return self.module(x)


@pytest.mark.parametrize("make", [Averages, Spectral])
def test_parameters_that_a_model_writes_stay(make):
    model = make()
    before = {name: each.clone() for name, each in model.state_dict().items()}
    report = audit(model, (1, 3, 24, 24))
    assert (len(report), report[0].severity) == (1, "severe")
    assert report.constants.spread > 0.01
    assert report[0].spread > 0.01
    for name, each in model.state_dict().items():
        assert torch.equal(each, before[name]), name


def test_random_numbers_of_python_and_numpy_stay():
    model = Act(lambda m, x: m.up(x * random.random() + float(np.random.rand())), up=up())
    states = random.getstate(), np.random.get_state()[1].copy()
    audit(model, (1, 3, 24, 24))
    assert random.getstate() == states[0]
    assert (np.random.get_state()[1] == states[1]).all()
