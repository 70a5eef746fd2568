"""One row of a picture comes out in one row, whether the height is odd or even."""

from functools import partial

import pytest
import torch
from support.backbones import import_torchvision
from torch import nn

import autoup

WIDTH = 40


def chain(*layers):
    """Return stages of a layer, normalisation and activation, from 3 channels to 4, 5, 6, ..."""
    stages = []
    for channels, make in enumerate(layers, 3):
        conv = make(channels, channels + 1)
        stages.append(nn.Sequential(conv, nn.BatchNorm2d(channels + 1), nn.GELU()))
    return nn.Sequential(*stages)


def conv(kernel_size, stride, padding=0):
    return partial(nn.Conv2d, kernel_size=kernel_size, stride=stride, padding=padding)


def pooled(kernel_size, stride, padding=0, ceil_mode=False):
    def make(i, o):
        pool = nn.MaxPool2d(kernel_size, stride, padding, ceil_mode=ceil_mode)
        return nn.Sequential(pool, nn.Conv2d(i, o, 3, padding=1))

    return make


def resnet18():
    return import_torchvision().models.resnet18(weights=None)


# An encoder, and a height at which some rows see nothing of the lower border.
ENCODERS = {
    "padded": (lambda: chain(*[conv(3, 2, 1)] * 3), 96),
    "padded at full size first": (lambda: chain(conv(3, 1, 1), *[conv(3, 2, 1)] * 3), 96),
    "valid": (lambda: chain(*[conv(3, 2)] * 3), 96),
    "valid, at full size first": (lambda: chain(conv(3, 1), *[conv(4, 2)] * 2), 96),
    "valid, of five taps": (lambda: chain(conv(5, 2), conv(5, 2)), 96),
    "four taps": (lambda: chain(*[conv(4, 2, 1)] * 3), 96),
    "a stem of stride 4": (lambda: chain(conv(4, 4), conv(2, 2)), 96),
    "a stem of stride 4, overlapping": (lambda: chain(conv(7, 4, 3), conv(3, 2, 1)), 96),
    "a stem of stride 4, valid": (lambda: chain(conv(7, 4), conv(3, 2)), 96),
    "stride 3": (lambda: chain(conv(3, 3, 1), conv(3, 3, 1)), 96),
    "pooled": (lambda: chain(conv(3, 1, 1), *[pooled(2, 2)] * 3), 96),
    "pooled, all rows": (lambda: chain(conv(3, 1, 1), *[pooled(2, 2, ceil_mode=True)] * 3), 96),
    "pooled, overlapping": (lambda: chain(conv(3, 2, 1), pooled(3, 2, 1), conv(3, 2, 1)), 96),
    "resnet18": (resnet18, 640),
}


def build(name):
    torch.manual_seed(0)
    make, height = ENCODERS[name]
    net = autoup.unet(make(), (1, 3, height, WIDTH), 2).double().eval()
    for each in net.modules():
        if isinstance(each, nn.BatchNorm2d):
            nn.init.normal_(each.running_mean, std=0.1)
            nn.init.uniform_(each.weight, 0.5, 2)
    return net, height


def ramp(height):
    return torch.arange(height).double().div(50).view(-1, 1).expand(1, 3, -1, WIDTH)


def impulse(height, row=24):
    return (
        nn.functional.one_hot(torch.tensor(row), height)
        .double()
        .view(-1, 1)
        .expand(1, 3, -1, WIDTH)
    )


def upper_rows(net, height):
    """Return how many rows of the output see nothing of the last rows of the input."""
    x = torch.rand(1, 3, height, WIDTH, dtype=torch.float64).requires_grad_()
    changed = x.detach().clone()
    changed[:, :, -16:] += 1
    with torch.no_grad():
        differs = (net(x) - net(changed)).abs().amax((0, 1, 3)) > 1e-12
    return int(differs.nonzero()[0])


@pytest.mark.parametrize("name", ENCODERS)
@torch.no_grad()
def test_a_row_comes_out_in_the_same_row_at_another_height(name):
    net, height = build(name)
    least = upper_rows(net, height - 3)
    assert least > 30
    for picture in (ramp, impulse):
        one = net(picture(height))[:, :, :least]
        varies = (one[:, :, 1:] - one[:, :, :-1]).abs().amax((0, 1, 3)) > 1e-6
        assert varies.sum() > 20, "rows that are all alike say nothing of where they are"
        for other in (height - 3, height - 2, height - 1, height + 1, height + 8):
            made = net(picture(other))[:, :, :least]
            torch.testing.assert_close(made, one, rtol=0, atol=1e-11)
