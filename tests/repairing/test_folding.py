"""A resize and the convolution behind it become one layer where they can."""

import pytest
import torch
from support.comparing import distance
from support.oracle import PLAIN
from torch import nn
from torch.nn.utils import parametrizations

import autoup
from autoup import repair


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_nearest_and_convolution_become_one_layer(dims):
    conv = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[dims - 1]
    for k, s, p, d, g in [(3, 2, 1, 1, 1), (5, 3, 2, 1, 2), (3, 2, 2, 2, 2), (1, 4, 0, 1, 1),
                          (2, 2, 0, 1, 1)]:  # fmt: skip
        model = nn.Sequential(
            nn.Upsample(scale_factor=s), conv(4, 6, k, 1, p, d, g), nn.ReLU()
        ).double()
        size = (2, 4, *(5, 4, 6)[:dims])
        folded = repair(model, size, fold_resize=True)
        assert type(folded[0]) is nn.Identity
        assert type(folded[1]) is PLAIN[dims]
        x = torch.randn(size, dtype=torch.float64, requires_grad=True)
        y, z = model(x), folded(x)
        assert distance([y], [z]) <= 1e-12
        grads = [torch.autograd.grad(each.square().sum(), x) for each in (y, z)]
        assert distance(*grads) <= 1e-12


def test_without_sizes_chains_alone_are_folded():
    model = nn.Sequential(nn.Sequential(nn.Upsample(scale_factor=2)), nn.Conv2d(1, 2, 3))
    x = torch.randn(1, 1, 5, 5)
    folded = repair(model, fold_resize=True)
    assert isinstance(folded[1], nn.ConvTranspose2d)
    assert torch.allclose(model(x), folded(x), atol=1e-6)
    assert list(folded.state_dict()) == list(model.state_dict())


@pytest.mark.parametrize(("resize", "conv", "reason"), [
    (nn.Upsample(scale_factor=2, mode="bilinear"), nn.Conv2d(1, 1, 3), "mode 'bilinear'"),
    (nn.Upsample(scale_factor=1.5), nn.Conv2d(1, 1, 3), "no integer"),
    (nn.Upsample(size=(8, 8)), nn.Conv2d(1, 1, 3), "bound to one size"),
    (nn.Upsample(scale_factor=2), nn.Conv2d(1, 1, 3, stride=2), "strided"),
    (nn.Upsample(scale_factor=2), nn.Conv2d(1, 1, 3, padding="same"), "number of zeros"),
    (nn.Upsample(scale_factor=2), nn.Conv2d(1, 1, 3, 1, 1, padding_mode="reflect"), "alone"),
    (nn.Upsample(scale_factor=2), nn.Conv2d(1, 1, 3, padding=3), "pads more"),
    (nn.Upsample(scale_factor=2), nn.ReLU(), "no convolution"),
    (nn.Upsample(scale_factor=2), parametrizations.weight_norm(nn.Conv2d(1, 1, 3)), "no plain"),
])  # fmt: skip
def test_what_cannot_be_folded_is_said(resize, conv, reason):
    with pytest.warns(autoup.ArtifactWarning, match=reason):
        repaired = repair(nn.Sequential(resize, conv), (1, 1, 4, 4), fold_resize=True)
    assert isinstance(repaired[0], nn.Upsample)


def test_layers_in_several_places_stay():
    up, conv = nn.Upsample(scale_factor=2), nn.Conv2d(1, 1, 3, padding=1)
    for shared in (nn.Sequential(up, conv, up), nn.Sequential(conv, up, conv)):
        with pytest.warns(autoup.ArtifactWarning, match="several places"):
            repaired = repair(shared, (1, 1, 4, 4), fold_resize=True)
        assert str(repaired) == str(shared)


def test_layers_called_more_than_once_stay():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.up = nn.Sequential(nn.Upsample(scale_factor=2), nn.Conv2d(1, 1, 3, padding=1))
            self.also = nn.Upsample(scale_factor=2)

        def forward(self, x):
            return self.up[0](x) + self.up(x) + self.up[1](self.also(x))

    with pytest.warns(autoup.ArtifactWarning, match="also: stays, as it is called more than once"):
        repaired = repair(Twice(), (1, 1, 4, 4), fold_resize=True)
    assert isinstance(repaired.up[0], nn.Upsample)
    assert isinstance(repaired.also, nn.Upsample)


def test_watched_layers_stay():
    model = nn.Sequential(nn.Upsample(scale_factor=2), nn.Conv2d(1, 1, 3, padding=1))
    model[0].register_forward_hook(lambda *_: None)
    with pytest.warns(autoup.ArtifactWarning, match="hooks watch"):
        assert isinstance(repair(model, fold_resize=True)[0], nn.Upsample)


def test_enlargement_that_others_read_too_stays():
    class Skip(nn.Module):
        def __init__(self):
            super().__init__()
            self.up, self.conv = nn.Upsample(scale_factor=2), nn.Conv2d(1, 1, 3, padding=1)

        def forward(self, x):
            y = self.up(x)
            return y + self.conv(y)

    with pytest.warns(autoup.ArtifactWarning, match="alone"):
        assert isinstance(repair(Skip(), (1, 1, 4, 4), fold_resize=True).up, nn.Upsample)
