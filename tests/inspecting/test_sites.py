"""Where a model upsamples: modules, functions, and shuffles by hand."""

import warnings

import pytest
import torch
from support import models
from support.comparing import quietly
from torch import nn

from autoup import audit

FUNCTIONS = {
    "monai SegResNet": [("bilinear", (2.0, 2.0))] * 3,
    "transformers SegFormer": [("bilinear", (2.0,) * 2), ("bilinear", (4.0,) * 2),
                               ("bilinear", (8.0,) * 2)],
    "transformers VitMatte": [("bilinear", (2.0, 2.0))] * 4,
    "transformers DPT": [("bilinear", (2.0, 2.0))] * 5,
    "transformers Mask2Former": [("bilinear", (2.0, 2.0))],
}  # fmt: skip


@pytest.mark.parametrize("name", models.each(FUNCTIONS))
def test_resizes_by_function_are_found_where_the_code_enlarges(name):
    model, sizes = models.build(name)
    report = quietly(lambda: audit(model, sizes[0]))
    found = [(row.mode, row.stride) for row in report if row.kind == "resize"]
    assert found == FUNCTIONS[name]


@models.taken_from("monai")
def test_shuffle_by_hand_is_found_and_a_blur_behind_it_seen():
    with warnings.catch_warnings(action="ignore"):
        from monai.networks.blocks import SubpixelUpsample
    torch.manual_seed(0)
    for dims, blurred in ((2, True), (2, False), (3, False)):
        model = SubpixelUpsample(dims, 4, 4, 2, apply_pad_pool=blurred)
        (row,) = audit(model, (1, 4, *(6,) * dims))
        assert (row.kind, row.partner, row.stride) == ("shuffle", "conv_block", (2.0,) * dims)
        assert (row.in_size, row.out_size) == ((6,) * dims, (12,) * dims)
        if blurred:  # A mean over another block evens nothing out.
            model.pad_pool[1].kernel_size = 3
            assert audit(model, (1, 4, *(6,) * dims))[0].spread > 0
        assert row.spread == 0 if blurred else row.spread > 0.005


def test_neighbours_are_those_of_a_chain_and_of_the_first_of_several():
    class Skips(nn.Sequential):
        def forward(self, x):
            return self[2](self[0](x)) + self[1](x)

    parts = nn.Conv2d(3, 16, 3), nn.Conv2d(3, 4, 3), nn.PixelShuffle(2)
    assert audit(Skips(*parts))[0].partner is None
    assert audit(nn.Sequential(nn.Sequential(*parts[:1]), parts[2]))[0].partner == "0.0"
    up, one, other = nn.Upsample(scale_factor=2), nn.Conv2d(1, 2, 3), nn.Conv2d(2, 1, 3)
    for size in None, (1, 1, 8, 8):
        model = nn.Sequential(nn.Sequential(up, one), nn.Sequential(up, other))
        assert audit(model, size)[0].partner == "0.1"


class ByHand(nn.Module):
    """A shuffle of blocks of 2 written as a pattern of dimensions, phases called p and q."""

    def __init__(self, cut, turned, swapped=False):
        super().__init__()
        self.cut, self.order, self.swapped = cut, [cut.index(name) for name in turned], swapped

    def forward(self, x):
        sizes = dict(zip("nchw", x.shape, strict=False), p=2, q=2)
        sizes["c"] = x.shape[1] // 2 ** (x.ndim - 2)
        x = x.reshape([sizes[name] for name in self.cut])
        x = x.transpose(2, -1) if self.swapped else x.permute(self.order)
        large = [2 * sizes[name] for name in "hw"[: x.ndim // 2 - 1]]
        return x.reshape(sizes["n"], sizes["c"], *large)


@pytest.mark.parametrize("kept", [2, 3])
@pytest.mark.parametrize(
    ("cut", "turned", "neighbours"),
    [
        ("ncpqhw", "nchpwq", True),
        ("ncpqhw", "nchqwp", True),  # The phases in another order are the same channels.
        ("npqchw", "nchpwq", False),  # TensorFlow's depth_to_space.
        ("npcqhw", "nchpwq", False),
    ],
)
def test_phases_of_a_shuffle_by_hand_are_found_in_whatever_order_the_channels_are(
    kept, cut, turned, neighbours
):
    conv = nn.Conv2d(3, 4 * kept, 3, padding=1)
    model = nn.Sequential(conv, ByHand(cut, turned))
    (row,) = audit(model, (1, 3, 6, 7))
    assert (row.kind, row.partner, row.out_size) == ("shuffle", "0", (12, 14))
    assert row.spread > 0.5
    assert ("icnr" in row.remedy) == neighbours
    with torch.no_grad():  # Equal kernels for the phases of each channel, wherever these are.
        numbers = torch.arange(4 * kept, dtype=torch.float32)[None, :, None, None]
        phases = ByHand(cut, turned)(numbers)[0].flatten(1).int()
        for channel in phases:
            conv.weight[channel.long()] = conv.weight[channel[:1].long()]
            conv.bias[channel.long()] = conv.bias[channel[:1].long()]
    assert audit(model, (1, 3, 6, 7))[0].spread < 1e-6


def test_shuffle_by_hand_of_one_axis_may_be_a_transpose():
    conv = nn.Conv1d(3, 4, 3, padding=1)
    (row,) = audit(nn.Sequential(conv, ByHand("ncph", "nchp", swapped=True)), (1, 3, 6))
    assert row.partner == "0"
    assert "icnr" in row.remedy
    (row,) = audit(nn.Sequential(conv, ByHand("npch", "nchp")), (1, 3, 6))
    assert "icnr" not in row.remedy
