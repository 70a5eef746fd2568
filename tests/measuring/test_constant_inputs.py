"""The grid that a whole model makes of constants."""

import pytest
import torch
from support.comparing import assert_same, snapshot
from support.costs import Operators
from support.oracle import PLAIN
from torch import nn
from torch.nn import functional as F  # noqa: N812
from torch.nn.utils import parametrizations

import autoup
from autoup import audit
from autoup.measuring.constant_inputs import measure_constants


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


class Returns(nn.Module):
    """A model that returns one picture, whatever it is given."""

    def __init__(self, picture):
        super().__init__()
        self.picture = nn.Parameter(picture)

    def forward(self, *_):
        return self.picture


def a_grid(shape, period, depth):
    """Return ones with a grid on them: the first pixel of each period stands out by that."""
    picture = torch.ones(1, 1, *shape, dtype=torch.float64)
    picture[(..., *(slice(None, None, s) for s in period))] += depth
    return picture


def spread_of(period, depth):
    """Return the standard deviation of the phases over the rms of the whole, by hand."""
    phases = a_grid(period, period, depth)
    return float(phases.std(correction=0) / phases.square().mean().sqrt())


@pytest.mark.parametrize("depth", [1e-9, 0.1, 3.0])
@pytest.mark.parametrize("period", [(2,), (3,), (8,), (2, 2), (3, 4), (1, 5), (2, 3, 2)])
def test_a_known_grid_is_measured(period, depth):
    model = Returns(a_grid([11 * s for s in period], period, depth))
    found = measure_constants(model, ((1, 1, *period),), [period])
    assert found.period == period
    assert found.spread == pytest.approx(spread_of(period, depth), rel=1e-5)


@pytest.mark.parametrize("power", [1, 2])
@pytest.mark.parametrize("period", [(1,), (2,), (3,), (4, 5), (2, 2, 2)])
def test_neither_a_slope_nor_a_bow_is_a_grid(period, power):
    slopes = [torch.linspace(1, 100, 12 * s, dtype=torch.float64) ** power for s in period]
    picture = sum(torch.meshgrid(*slopes, indexing="ij")).expand(1, 1, *[12 * s for s in period])
    assert measure_constants(Returns(picture), ((1, 1, 4, 4),), [period]).spread < 1e-14


@pytest.mark.parametrize("shape", [(4096,), (256, 256)])
def test_long_periods_cost_no_more_than_short_ones(shape):
    model, runs = Returns(torch.rand(1, 1, *shape)), []
    for period in (2, shape[0] // 8):
        with Operators() as operators:
            measure_constants(model, ((1, 1, *shape),), [[period] * len(shape)])
        runs.append(operators)
    short, long = runs
    assert long.names == short.names
    assert long.largest <= short.largest <= 1.1 * model.picture.numel()
