"""The shape that layers make is found out without arithmetic, and what does not fit is refused."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from autoup.decoding.shapes import shape_made

CONVS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


class Halving(nn.BatchNorm2d):
    """A normalisation that makes another shape than it is given."""

    def forward(self, input):
        return super().forward(input)[..., ::2]


class Any2d(nn.BatchNorm2d):
    """A normalisation that takes any number of dimensions."""

    def _check_input_dim(self, input):
        pass


class ByName(nn.Module):
    """Layers that are given their input by its name, and a convolution that is no layer."""

    def __init__(self, channels=4):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(channels)
        self.weight = nn.Parameter(torch.zeros(6, 2, 3, 3))

    def forward(self, x):
        made = self.norm(input=self.conv(input=x))
        return F.conv2d(input=made, weight=self.weight, groups=2)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("dims", [1, 2, 3])
def test_normalisations_make_the_shape_that_they_make_of_numbers(dims, training):
    layers = nn.Sequential(CONVS[dims - 1](3, 5, 3, 2), NORMS[dims - 1](5), nn.ReLU())
    layers.train(training)
    before = {name: each.clone() for name, each in layers.state_dict().items()}
    size = (2, 3, *[9] * dims)
    assert shape_made(layers, size) == layers(torch.zeros(size)).shape == (2, 5, *[4] * dims)
    layers.load_state_dict(before)
    shape_made(layers, size)
    assert all(torch.equal(each, before[name]) for name, each in layers.state_dict().items())


@pytest.mark.parametrize(
    ("layers", "size", "made"),
    [
        (nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)), (2, 3), (2, 4)),
        (nn.Sequential(nn.Conv2d(3, 4, 1), Halving(4)), (2, 3, 8, 8), (2, 4, 8, 4)),
        (nn.Sequential(nn.Conv1d(3, 4, 3), Any2d(4)), (2, 3, 8), (2, 4, 6)),
        (nn.BatchNorm2d(3, affine=False, track_running_stats=False), (2, 3, 4, 4), (2, 3, 4, 4)),
        (nn.Conv2d(6, 4, 1, groups=2), (2, 6, 8, 8), (2, 4, 8, 8)),
        (nn.ConvTranspose2d(6, 4, 2, 2, groups=2), (2, 6, 8, 8), (2, 4, 16, 16)),
        (nn.Conv2d(6, 4, 3), (6, 8, 8), (4, 6, 6)),
        (ByName(), (2, 3, 8, 8), (2, 6, 6, 6)),
    ],
)
def test_layers_make_what_they_make_of_numbers(layers, size, made):
    assert layers(torch.zeros(size)).shape == made
    assert shape_made(layers, size) == made


@pytest.mark.parametrize(
    ("layers", "words"),
    [
        (nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(5)), "5 channels would be given 4"),
        (nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm3d(4)), "got 4D input"),
        (nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(5, 4, 1)), "5 channels would be given 4"),
        (nn.ConvTranspose2d(4, 2, 2, groups=2), "4 channels would be given 3"),
        (nn.Sequential(nn.Conv2d(3, 4, 8), nn.BatchNorm2d(4)), "more than 1 value per channel"),
        (ByName(5), "5 channels would be given 4"),
    ],
)
def test_layers_that_do_not_fit_are_refused(layers, words):
    with pytest.raises((ValueError, RuntimeError)):
        layers(torch.zeros(1, 3, 8, 8))
    with pytest.raises(ValueError, match=words):
        shape_made(layers, (1, 3, 8, 8))
