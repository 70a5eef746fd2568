"""Repair with smoothness makes layers that hold the guarantee."""

import pytest
import torch
from support import models
from support.comparing import distance, layers_of
from torch import nn
from torch.nn.utils import parametrizations

import autoup
from autoup import audit, repair


def test_plain_layers_become_solved_ones_with_the_guarantee():
    torch.manual_seed(0)
    model = nn.Sequential(nn.ConvTranspose2d(4, 4, 3, 2, 1, 1), nn.ConvTranspose2d(4, 1, 2, 2))
    repaired = repair(model, (1, 4, 32, 32), smoothness=1)
    assert [type(each) for each in repaired] == [autoup.AutoConvTranspose2d] * 2
    assert [each.kernel_size for each in repaired] == [(4, 4), (4, 4)]
    assert all(each.smoothness == 1 for each in repaired)
    assert repaired.state_dict().keys() == model.state_dict().keys()
    report = audit(repaired, (1, 4, 32, 32))
    assert report.clean
    assert report.constants.spread < 1e-5
    assert audit(model, (1, 4, 32, 32)).constants.spread > 0.05


@models.taken_from("monai")
def test_order_0_keeps_the_function():
    model, (size, *_) = models.build("monai AutoEncoder")
    repaired = repair(model, size, smoothness=0)
    assert all(isinstance(each, autoup.AutoConvTranspose2d)
               for each in layers_of(repaired).values())  # fmt: skip
    x = torch.randn(size)
    assert distance([model(x)], [repaired(x)]) <= 1e-5


def test_it_trains_and_keeps_the_guarantee():
    model = nn.Sequential(nn.ConvTranspose2d(2, 2, 3, 2, 1, 1))
    repaired = repair(model, (1, 2, 8, 8), smoothness=2)
    optimiser = torch.optim.SGD(repaired.parameters(), lr=0.1)
    for _ in range(3):
        optimiser.zero_grad()
        (repaired(torch.randn(1, 2, 8, 8)) - 1).square().mean().backward()
        optimiser.step()
    assert autoup.phase_spread(repaired[0]) < 1e-5


def test_hooks_and_names_stay():
    calls = []
    model = nn.Sequential(nn.ConvTranspose2d(2, 2, 2, 2))
    model[0].register_forward_hook(lambda *_: calls.append(1))
    repaired = repair(model.eval(), (1, 2, 8, 8), smoothness=1)
    assert not repaired[0].training
    repaired(torch.zeros(1, 2, 8, 8))
    assert calls == [1]


def test_needs_sizes():
    with pytest.raises(ValueError, match="smoothness needs input_size"):
        repair(nn.ConvTranspose2d(1, 1, 2, 2), smoothness=1)


def test_parametrised_layers_stay():
    model = nn.Sequential(parametrizations.weight_norm(nn.ConvTranspose2d(2, 2, 2, 2)))
    with pytest.warns(autoup.ArtifactWarning, match="without smoothness"):
        repaired = repair(model, (1, 2, 8, 8), smoothness=1)
    assert not isinstance(repaired[0], autoup.AutoConvTranspose2d)
