"""The grid that a whole model makes of constants."""

import pytest
import torch
from support.comparing import assert_same, snapshot
from support.oracle import PLAIN
from torch import nn
from torch.nn import functional as F  # noqa: N812
from torch.nn.utils import parametrizations

import autoup
from autoup import audit


def test_phase_spread_does_not_step_a_spectral_norm():
    layer = parametrizations.spectral_norm(nn.ConvTranspose2d(4, 4, 3, 2, 1, 1)).train()
    before = snapshot(layer)
    autoup.phase_spread(layer)
    assert_same(layer, before)
    assert layer.parametrizations.weight[0].training


@pytest.mark.parametrize(("dims", "size"), [(1, 64), (2, 48), (3, 24)])
def test_grid_on_constants_is_that_of_the_layer(dims, size):
    """On a constant 1 the phases of one layer are its phase sums."""
    layer = PLAIN[dims](1, 1, 3, 2, 1, 1, bias=False).double()
    nn.init.ones_(layer.weight)
    grid = audit(layer, (1, 1, *(size,) * dims)).constants
    axis = torch.tensor([1.0, 2.0], dtype=torch.float64)
    sums = axis
    for _ in range(dims - 1):
        sums = torch.outer(sums, axis).flatten()
    expected = sums.std(correction=0) / sums.square().mean().sqrt()
    assert grid.spread == pytest.approx(float(expected), rel=1e-6)
    assert grid.period == (2,) * dims


def test_grid_on_constants_is_zero_with_the_guarantee_and_for_nearest():
    torch.manual_seed(0)
    smooth = [autoup.AutoConvTranspose2d(4, 4, n, 2 * n, smoothness=1) for n in (32, 64)]
    nearest = nn.Sequential(nn.Upsample(scale_factor=4), nn.Conv2d(4, 4, 3, padding=1))
    for model in (nn.Sequential(*smooth), nearest):
        assert audit(model, (1, 4, 32, 32)).constants.spread < 1e-5
    plain = nn.Sequential(*(nn.ConvTranspose2d(4, 4, 4, 2, 1) for _ in range(2)))
    report = audit(plain, (1, 4, 32, 32))
    assert report.constants.spread > 0.05
    assert report.constants.period == (4, 4)


def test_slopes_and_borders_are_no_grid():
    class Slope(nn.Module):
        def forward(self, x):
            x = F.interpolate(x, scale_factor=4)
            return x + torch.linspace(0, 30, x.shape[-1])

    model = nn.Sequential(nn.Conv2d(1, 1, 7, padding=3), Slope())
    assert audit(model, (1, 1, 40, 40)).constants.spread < 0.01


def test_model_that_cannot_run_on_constants_is_reported_all_the_same():
    class Refuses(nn.ConvTranspose2d):
        def forward(self, x):
            if not torch.compiler.is_compiling():
                raise RuntimeError("no constants, please.")
            return super().forward(x)

    report = audit(nn.Sequential(Refuses(1, 1, 3, 2, 1, 1)), (1, 1, 16, 16))
    assert report[0].out_size == (32, 32)
    assert "raises RuntimeError: no constants, please." in report.notes[-1]
