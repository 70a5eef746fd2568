"""An audit sees what is run: its steps against a count of the operators that models end in."""

from collections import Counter

import pytest
import torch
from support import backbones, field, models
from support.comparing import quietly
from support.encoders import Module
from support.enlarging import count_steps
from torch import nn
from torch.nn import functional as F  # noqa: N812

from autoup import audit


def several(size):
    return size if isinstance(size, list) else [size]


def audited(model, size):
    """Return how many steps of each kind an audit tells of, save that data came from outside."""
    found = Counter()
    for row in quietly(lambda: audit(model, size)):
        found[row.kind] += (row.calls or 0) if row.type != "from_outside" else 0
    return +found


@pytest.mark.parametrize("name", models.each([*field.FIELD, *models.BUILDERS]))
def test_steps_are_those_that_the_operators_make(name):
    model, size = field.build(name)
    counted, _ = count_steps(model, *several(size))
    assert counted
    assert audited(model, size) == counted


@pytest.mark.slow
@pytest.mark.together("torchvision")
@pytest.mark.parametrize(
    "name", ["alexnet", "densenet121", "r3d_18", "shufflenet_v2_x1_0", "squeezenet1_1"]
)
def test_encoders_enlarge_no_more_than_the_operators_do(name):
    size = (1, 3, 4, 32, 32) if name == "r3d_18" else (1, 3, 64, 64)
    model = backbones.build(name)
    counted, _ = count_steps(model, size)
    assert counted == ({"resize": 1} if name == "alexnet" else {})  # Pooled from 1 x 1 to 6 x 6.
    assert audited(model, size) == counted


# Each takes a layer's output of four channels, and it is told what it ends in.


def shuffle(y):
    n, c, h, w = y.shape
    return y.view(n, c // 4, 2, 2, h, w).permute(0, 1, 4, 2, 5, 3).reshape(n, c // 4, 2 * h, -1)


def patches(y):
    n, c, h, w = y.shape
    tokens = y.flatten(2).transpose(1, 2).reshape(n, h, w, 2, 2, c // 4)
    return torch.einsum("nhwpqc->nchpwq", tokens).reshape(n, c // 4, 2 * h, 2 * w)


def interleave(y):
    made = y.new_zeros(*y.shape[:2], 2 * y.shape[2], 2 * y.shape[3])
    made[..., ::2, ::2], made[..., ::2, 1::2] = y, y.relu()
    made[..., 1::2, ::2], made[..., 1::2, 1::2] = y.tanh(), -y
    return made


def insert_zeros(y):
    made = torch.zeros(*y.shape[:2], 2 * y.shape[2], 2 * y.shape[3])
    made[..., ::2, ::2] = y
    return made


def pad_and_reshape(y):
    n, c, h, w = y.shape
    return F.pad(y.view(n, c, h, 1, w, 1), (0, 1, 0, 0, 0, 1)).reshape(n, c, 2 * h, 2 * w)


def expand(y):
    n, c, h, w = y.shape
    return y[:, :, :, None, :, None].expand(n, c, h, 2, w, 2).reshape(n, c, 2 * h, 2 * w)


def windows(y):
    n, c, h, w = y.shape
    cut = y.view(n, c, h // 3, 3, w // 3, 3).permute(0, 2, 4, 3, 5, 1).reshape(-1, 9, c)
    back = cut.relu().view(n, h // 3, w // 3, 3, 3, c).permute(0, 5, 1, 3, 2, 4)
    return back.reshape(y.shape)


def merge_patches(y):
    y = y.permute(0, 2, 3, 1)
    parts = y[:, ::2, ::2], y[:, 1::2, ::2], y[:, ::2, 1::2], y[:, 1::2, 1::2]
    return F.linear(torch.cat(parts, -1), torch.ones(4, 16)).permute(0, 3, 1, 2)


def merge_patches_by_reshape(y):
    n, c, h, w = y.shape
    y = y.view(n, c, h // 2, 2, w // 2, 2).permute(0, 2, 4, 3, 5, 1).reshape(n, h // 2, w // 2, -1)
    return F.linear(y, torch.ones(4, 4 * c)).permute(0, 3, 1, 2)


def attend(y):
    tokens = y.flatten(2).transpose(1, 2)
    heads = tokens.view(*tokens.shape[:2], 2, 2).transpose(1, 2)
    made = F.scaled_dot_product_attention(heads, heads, heads)
    return made.transpose(1, 2).reshape(tokens.shape).transpose(1, 2).view(y.shape)


def unpool(y):
    return F.max_unpool2d(*F.max_pool2d(y, 2, return_indices=True), 2)


def sample(y):
    grid = F.affine_grid(torch.eye(2, 3)[None], [1, 4, 9, 9], align_corners=False)
    return F.grid_sample(y, grid, align_corners=False)


ENDS = {
    "transposed": (lambda y: F.conv_transpose2d(y, torch.ones(4, 1, 3, 3)), {"transposed": 1}),
    "resize": (lambda y: F.interpolate(y, scale_factor=2), {"resize": 1}),
    "resize to the same size": (lambda y: F.interpolate(y, size=(6, 6)), {}),
    "resize to a smaller one": (lambda y: F.interpolate(y, scale_factor=0.5), {}),
    "pool to a larger size": (lambda y: F.adaptive_max_pool2d(y, (9, 6)), {"resize": 1}),
    "pixel shuffle": (lambda y: F.pixel_shuffle(y, 2), {"shuffle": 1}),
    "pixel unshuffle": (lambda y: F.pixel_unshuffle(y, 2), {}),
    "shuffle by hand": (shuffle, {"shuffle": 1}),
    "shuffle by hand, then two layers": (
        lambda y: F.avg_pool2d(shuffle(y), 2) + F.max_pool2d(shuffle(y)[:], 2), {"shuffle": 2}
    ),
    "shuffle by hand, read twice": (
        lambda y: (made := shuffle(y)).relu() + F.avg_pool2d(made, 3, 1, 1), {"shuffle": 1}
    ),
    "shuffle by hand, joined to a resize": (
        lambda y: F.avg_pool2d(torch.cat([shuffle(y), F.interpolate(y, scale_factor=2)], 1), 2),
        {"shuffle": 1, "resize": 1},
    ),
    "patches of tokens": (patches, {"shuffle": 1}),
    "four written side by side": (interleave, {"shuffle": 1}),
    "two stacked": (lambda y: torch.stack([y, y.relu()], -1).flatten(-2), {"shuffle": 1}),
    "zeros by setitem": (insert_zeros, {"zeros": 1}),
    "zeros by pad and reshape": (pad_and_reshape, {"zeros": 1}),
    "repeat_interleave": (lambda y: y.repeat_interleave(2, -1), {"repeat": 1}),
    "repeated channels": (lambda y: y.repeat_interleave(2, 1), {}),
    "expand and reshape": (expand, {"repeat": 1}),
    "nearest by index": (lambda y: y[..., torch.arange(12) // 2], {"repeat": 1}),
    "tiled": (lambda y: y.repeat(1, 1, 2, 2), {}),
    "fold": (lambda y: F.fold(F.unfold(y, 2, stride=2), 6, 2, stride=2), {"fold": 1}),
    "inverse STFT": (
        lambda y: torch.istft(torch.complex(y[0, 0, :5], y[0, 1, :5]), 8, window=torch.ones(8)),
        {"fold": 1},
    ),
    "unpool": (unpool, {"unpool": 1}),
    "grid_sample": (sample, {"sample": 1}),
    "padded": (lambda y: F.pad(y, (1, 2, 3, 4)), {}),
    "padded by mirroring": (lambda y: F.pad(y, (2, 2, 2, 2), mode="reflect"), {}),
    "padded by repeating": (lambda y: F.pad(y, (2, 2, 2, 2), mode="replicate"), {}),
    "padded in a circle": (lambda y: F.pad(y, (2, 2, 2, 2), mode="circular"), {}),
    "windows and back": (windows, {}),
    "patches merged": (merge_patches, {}),
    "patches merged by reshape": (merge_patches_by_reshape, {}),
    "attention": (attend, {}),
    "flattened": (lambda y: y.permute(0, 2, 3, 1).flatten(1), {}),
    "through numpy": (
        lambda y: F.interpolate(torch.from_numpy(y.numpy()), scale_factor=2), {"resize": 1}
    ),
}  # fmt: skip


def ending(name):
    return Module(lambda m, x: ENDS[name][0](m.conv(x)), conv=nn.Conv2d(1, 4, 3, padding=1))


@pytest.mark.parametrize("name", ENDS)
def test_operators_are_counted_by_what_they_do_to_pixels(name):
    counted, of_constants = count_steps(ending(name), (1, 1, 6, 6))
    assert counted == ENDS[name][1]
    assert of_constants == ({"fold": 1} if name == "inverse STFT" else {})  # Its window.


@pytest.mark.parametrize("name", ENDS)
def test_what_enlarges_is_found_in_all_forms(name):
    assert audited(ending(name), (1, 1, 6, 6)) == ENDS[name][1]


def test_constants_are_no_steps():
    model = Module(
        lambda m, x: m.conv(x) + F.interpolate(m.table, scale_factor=2),
        conv=nn.Conv2d(1, 4, 3, padding=1),
        table=nn.Parameter(torch.ones(1, 4, 3, 3)),
    )
    assert count_steps(model, (1, 1, 6, 6)) == ({}, {"resize": 1})
    assert audited(model, (1, 1, 6, 6)) == {}
