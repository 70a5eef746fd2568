"""PyTorch has several names for one thing: each is read as one, with the arguments it was given."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from autoup import audit
from autoup.inspecting.recording import record

ATEN = torch.ops.aten
WEIGHT = torch.randn(4, 4, 3, 3)


class Only(nn.Module):
    def __init__(self, act):
        super().__init__()
        self.act = act

    def forward(self, x):
        return self.act(x)


NAMES = {
    "upsample": (lambda x: F.upsample(x, scale_factor=2), "interpolate", 2),
    "reflection_pad": (lambda x: ATEN.reflection_pad2d(x, [1] * 4), "pad", 2),
    "replication_pad": (lambda x: ATEN.replication_pad2d.default(x, [1] * 4), "pad", 2),
    "constant_pad_nd": (lambda x: ATEN.constant_pad_nd.default(x, [1] * 4), "pad", None),
    "convolution": (
        lambda x: ATEN.convolution.default(x, WEIGHT, None, [1] * 2, [0] * 2, [1] * 2, False,
                                           [0] * 2, 1), "conv", 2),
    "_convolution": (
        lambda x: torch._convolution(x, WEIGHT, None, [1] * 2, [0] * 2, [1] * 2, False, [0] * 2, 1,
                                     False, False, True, True), "conv", 2),
    "max_pool with indices": (lambda x: ATEN.max_pool2d_with_indices(x, [2, 2])[0], "max_pool", 2),
    "adaptive_max_pool": (lambda x: F.adaptive_max_pool2d(x, 4), "adaptive_pool", 2),
    "adaptive_max_pool with indices": (
        lambda x: F.adaptive_max_pool2d_with_indices(x, 4)[0], "adaptive_pool", 2),
    "_adaptive_avg_pool": (lambda x: ATEN._adaptive_avg_pool2d(x, [4, 4]), "adaptive_pool", 2),
    "grid_sampler": (
        lambda x: torch.grid_sampler(x, torch.zeros(1, 4, 4, 2), 0, 0, False), "grid_sample", None),
    "col2im": (
        lambda x: ATEN.col2im(x.reshape(1, 16, 16), [8, 8], [2, 2], [1, 1], [0, 0], [2, 2]),
        "fold", 2),
    "_unsafe_view": (lambda x: ATEN._unsafe_view(x, [1, 256]), "view", None),
    "swapaxes": (lambda x: x.swapaxes(2, 3), "transpose", None),
    "swapdims": (lambda x: torch.swapdims(x, 2, 3), "transpose", None),
}  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_other_names_of_a_function_are_read_as_its_own(name):
    act, wanted, axes = NAMES[name]
    call = record(Only(act), ((1, 4, 8, 8),)).calls[-1]
    assert (call.name, call.axes) == (wanted, axes)


@pytest.mark.parametrize("name", ["upsample_bilinear2d", "upsample_bicubic2d"])
@pytest.mark.parametrize("aligned", [True, False])
def test_operators_of_a_resize_keep_its_corners(name, aligned):
    mode = name[9:-2]
    acts = [
        lambda x: F.interpolate(x, (13, 17), mode=mode, align_corners=aligned),
        lambda x: getattr(torch._C._nn, name)(x, [13, 17], aligned),
        lambda x: getattr(ATEN, name)(x, [13, 17], aligned),
        lambda x: getattr(ATEN, name).default(x, [13, 17], aligned),
    ]
    found = [audit(nn.Sequential(nn.MaxPool2d(3, 2, 1), Only(act)), (1, 1, 13, 17)) for act in acts]
    assert found[0].stretched == ((0.0, 0.0) if aligned else pytest.approx((-3 / 7, -4 / 9)))
    for each in found[1:]:
        assert (each[0].mode, each.stretched) == (mode, found[0].stretched)


@pytest.mark.parametrize("pad", ["reflection_pad2d", "replication_pad2d", "constant_pad_nd"])
def test_operators_of_padding_are_followed(pad):
    model = nn.Sequential(Only(lambda x: getattr(ATEN, pad)(x, [3, 1, 0, 2])), nn.Upsample(None, 2))
    assert audit(model, (1, 1, 9, 9)).displaced == ((-2.0, -2.0), (2.0, 2.0))


def test_a_convolution_by_operator_is_that_of_a_resize():
    def act(x):
        x = F.interpolate(x, scale_factor=2)
        return ATEN.convolution.default(x, WEIGHT, None, [1, 1], [1, 1], [1, 1], False, [0, 0], 1)

    (row,) = audit(Only(act), (1, 4, 8, 8))
    assert (row.partner, row.kernel_size) == ("conv", (3, 3))
