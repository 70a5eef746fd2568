from collections import OrderedDict

import pytest
import torch
import torchinfo
from support.oracle import AUTO, artifacts_allowed
from torch import nn

from autoup import AutoConvTranspose2d, mirror_decoder


def summarise(layer, dims):
    model = nn.Sequential(layer)
    columns = ("input_size", "output_size", "kernel_size", "num_params", "mult_adds")
    return torchinfo.summary(model, (2, 8, *(7,) * dims), col_names=columns, verbose=0)


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("out_size", [14, 15])
@pytest.mark.parametrize("bias", [True, False])
def test_one_row_with_the_numbers_of_the_plain_layer(dims, out_size, bias):
    with artifacts_allowed():
        layer = AUTO[dims](8, 4, 7, out_size, bias=bias)
    ours, plain = summarise(layer, dims), summarise(layer.to_plain(), dims)
    (row,) = [info for info in ours.summary_list if info.depth == 1]
    (expected,) = [info for info in plain.summary_list if info.depth == 1]
    assert row.class_name == f"AutoConvTranspose{dims}d"
    assert row.kernel_size == list(layer.kernel_size) == expected.kernel_size
    assert row.num_params == expected.num_params == sum(p.numel() for p in layer.parameters())
    assert row.macs == expected.macs > 0
    assert row.output_size == [2, 4, *(out_size,) * dims]
    assert len(str(ours).splitlines()) == len(str(plain).splitlines())


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_a_smooth_layer_stays_a_leaf(dims):
    layer = AUTO[dims](8, 4, 7, 14, smoothness=1)
    ours, plain = summarise(layer, dims), summarise(layer.to_plain(), dims)
    assert [info.depth for info in ours.summary_list] == [0, 1]
    assert ours.total_params == plain.total_params
    assert ours.total_mult_adds == plain.total_mult_adds > 0


def test_the_columns_add_up():
    decoder = nn.Sequential(
        AutoConvTranspose2d(64, 32, 7, 14), nn.ReLU(), AutoConvTranspose2d(32, 1, 14, 28)
    )
    summary = torchinfo.summary(decoder, (1, 64, 7, 7), verbose=0)
    assert summary.total_params == sum(p.numel() for p in decoder.parameters())
    assert summary.total_mult_adds == sum(info.macs for info in summary.summary_list[1:])


def test_multiply_adds_are_counted_by_output_positions_as_for_every_transposed_convolution():
    """What torchinfo does with any class name with "Conv" in it: about stride squared high."""
    layer = AutoConvTranspose2d(8, 4, 7, 14, bias=False)
    counted = summarise(layer, 2).total_mult_adds
    true = 2 * 7 * 7 * layer.weight.numel()
    assert counted == 4 * true
    assert layer(torch.zeros(2, 8, 7, 7)).shape == (2, 4, 14, 14)


def test_a_decoder_shows_every_layer_by_the_name_of_what_it_mirrors():
    stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU())
    encoder = nn.Sequential(OrderedDict(stem=stem, down=nn.Conv2d(8, 16, 4, 4)))
    decoder = mirror_decoder(encoder, (1, 3, 64, 64))
    result = torchinfo.summary(decoder, (1, 16, 8, 8), row_settings=("var_names",), verbose=0)
    names = [layer.var_name for layer in result.summary_list]
    assert names == ["Sequential", "down", "stem_1", "stem_2", "stem_0"]
    assert result.summary_list[-1].output_size == [1, 3, 64, 64]
    assert result.total_params == sum(p.numel() for p in decoder.parameters())
