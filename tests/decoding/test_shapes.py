"""The shape that layers make is found out without arithmetic, and nothing of them changes."""

import pytest
import torch
from torch import nn

from autoup.decoding.shapes import shape_made

CONVS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


class Halving(nn.BatchNorm2d):
    """A normalisation that makes another shape than it is given."""

    def forward(self, input):
        return super().forward(input)[..., ::2]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("dims", [1, 2, 3])
def test_normalisations_make_the_shape_that_they_make_of_numbers(dims, training):
    layers = nn.Sequential(CONVS[dims - 1](3, 5, 3, 2), NORMS[dims - 1](5), nn.ReLU())
    layers.train(training)
    before = {name: each.clone() for name, each in layers.state_dict().items()}
    size = (2, 3, *[9] * dims)
    assert shape_made(layers, size) == (2, 5, *[4] * dims)
    assert "forward" not in vars(layers[1])
    assert all(torch.equal(each, before[name]) for name, each in layers.state_dict().items())
    assert layers(torch.zeros(size)).shape == (2, 5, *[4] * dims)


def test_a_normalisation_of_vectors_takes_two_dimensions():
    assert shape_made(nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)), (2, 3)) == (2, 4)


def test_a_normalisation_with_a_forward_of_its_own_is_run():
    layers = nn.Sequential(nn.Conv2d(3, 4, 1), Halving(4))
    assert shape_made(layers, (2, 3, 8, 8)) == (2, 4, 8, 4)


def test_a_forward_that_somebody_set_is_run_and_stays():
    norm = nn.BatchNorm2d(3)
    norm.forward = lambda x: x[:, :, 1:]
    assert shape_made(norm, (2, 3, 8, 8)) == (2, 3, 7, 8)
    assert "forward" in vars(norm)


@pytest.mark.parametrize(
    ("layers", "words"),
    [
        (nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(5)), "BatchNorm2d of 5 .* given 4"),
        (nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm3d(4)), "BatchNorm3d .* 4 dimensions"),
        (nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm1d(4)), "BatchNorm1d .* 4 dimensions"),
        (nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(5, 4, 1)), "5 channels .* given 4"),
    ],
)
def test_layers_that_do_not_fit_are_refused_and_left_as_they_were(layers, words):
    with pytest.raises(ValueError, match=words):
        shape_made(layers, (2, 3, 8, 8))
    assert not any("forward" in vars(each) for each in layers)
    assert not any(each._forward_pre_hooks for each in layers)
