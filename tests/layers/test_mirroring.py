from itertools import product

import pytest
import torch
from support.oracle import AUTO, CONV, artifacts_allowed
from torch import nn

import autoup
from autoup import AutoConvTranspose1d, AutoConvTranspose2d


def mirror(conv, size, **options):
    dims = len(conv.kernel_size)
    with artifacts_allowed():
        return AUTO[dims].mirror(conv, size, **options)


def restored(conv, layer, size, batch=2):
    sizes = size if isinstance(size, tuple) else (size,) * len(conv.kernel_size)
    x = torch.empty(batch, conv.in_channels, *sizes, device="meta")
    return tuple(layer.to("meta")(conv.to("meta")(x)).shape) == (batch, conv.in_channels, *sizes)


@pytest.mark.parametrize("adjoint", [False, True])
@pytest.mark.parametrize("stride", [1, 2, 3, 4])
def test_mirror_restores_every_size(stride, adjoint):
    for k, p, d in product(range(1, 8), range(4), (1, 2, 3)):
        conv = nn.Conv1d(2, 3, k, stride, p, dilation=d, device="meta")
        for size in range(max(1, d * (k - 1) + 1 - 2 * p), 20):
            layer = mirror(conv, size, adjoint=adjoint)
            assert restored(conv, layer, size)
            if adjoint:
                assert (layer.kernel_size, layer.padding) == ((k,), (p,))
                assert layer.round_trip_shift == (0.0,)


@pytest.mark.parametrize("adjoint", [False, True])
@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("mode", ["zeros", "reflect", "replicate", "circular"])
def test_every_padding_mode(dims, mode, adjoint):
    for size in (8, 9, 10):
        conv = CONV[dims](2, 4, 3, 2, 1, padding_mode=mode, device="meta")
        assert restored(conv, mirror(conv, size, adjoint=adjoint), size)


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("padding", ["same", "valid", 0, 1])
@pytest.mark.parametrize(("kernel", "dilation"), [(1, 1), (2, 1), (3, 1), (3, 2), (4, 1), (4, 3)])
@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
def test_same_and_valid_padding(dims, padding, kernel, dilation):
    conv = CONV[dims](2, 4, kernel, padding=padding, dilation=dilation, device="meta")
    assert restored(conv, mirror(conv, 11), 11)


def test_stride_one_keeps_kernel_dilation_and_padding():
    conv = nn.Conv2d(2, 4, (3, 5), stride=(1, 2), padding=(2, 1), dilation=(2, 1))
    layer = mirror(conv, (12, 13))
    assert (layer.kernel_size, layer.stride) == ((3, 4), (1, 2))
    assert (layer.dilation, layer.padding) == ((2, 1), (2, 1))
    assert layer.output_padding == (0, 1)


def test_an_even_kernel_under_same_padding_grows_by_one_tap():
    layer = mirror(nn.Conv1d(2, 4, 4, padding="same"), 9)
    assert (layer.kernel_size, layer.padding, layer.round_trip_shift) == ((5,), (2,), (-0.5,))


def test_stride_groups_bias_dtype_and_device_come_from_the_encoder():
    conv = nn.Conv2d(4, 8, 3, (2, 3), 1, groups=4, bias=False, dtype=torch.bfloat16, device="meta")
    layer = mirror(conv, (14, 15))
    assert (layer.in_channels, layer.out_channels, layer.groups) == (8, 4, 4)
    assert (layer.stride, layer.bias) == ((2, 3), None)
    assert (layer.weight.dtype, layer.weight.device.type) == (torch.bfloat16, "meta")


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
@pytest.mark.parametrize("groups", [1, 2, 4])
def test_groups_depthwise_and_dtypes_run(groups, dtype):
    conv = nn.Conv2d(4, 4, 3, 2, 1, groups=groups, dtype=dtype)
    x = torch.randn(2, 4, 14, 15).to(dtype)
    for adjoint in (False, True):
        made = mirror(conv, (14, 15), adjoint=adjoint)(conv(x))
        assert (made.shape, made.dtype) == (x.shape, dtype)


def test_a_kernel_smaller_than_the_stride():
    conv = nn.Conv2d(2, 4, 1, stride=2)
    layer = AutoConvTranspose2d.mirror(conv, 14)
    assert (layer.kernel_size, layer.solutions[0].uniform) == ((2, 2), True)
    with pytest.warns(autoup.ArtifactWarning, match="7 dead lines .* adjoint=False"):
        AutoConvTranspose2d.mirror(conv, 14, adjoint=True)


def test_padding_that_enlarges_the_input():
    conv = nn.Conv2d(2, 4, 3, padding=4)
    assert restored(conv, mirror(conv, 5), 5)
    conv = nn.Conv2d(2, 4, 3, stride=2, padding=9)
    for adjoint in (False, True):
        assert restored(conv, mirror(conv, 5, adjoint=adjoint), 5)


def test_constructor_and_classmethod_build_the_same_mirror():
    conv = nn.Conv2d(1, 32, 3, 2, 1)
    by_constructor = AutoConvTranspose2d(32, 1, 14, 28, encoder=conv)
    assert repr(by_constructor) == repr(AutoConvTranspose2d.mirror(conv, 28))
    assert by_constructor.round_trip_shift == (0.5, 0.5)


def test_a_mirror_takes_a_pinned_kernel_and_no_bias():
    conv = nn.Conv2d(1, 32, 3, 2, 1)
    layer = AutoConvTranspose2d.mirror(conv, 28, kernel_size=4, bias=False)
    assert (layer.kernel_size, layer.padding, layer.bias) == ((4, 4), (1, 1), None)
    twin = AutoConvTranspose2d(32, 1, 14, 28, encoder=conv, kernel_size=4, bias=False)
    assert repr(twin) == repr(layer)
    assert layer.round_trip_shift == (0.5, 0.5)


def test_a_pinned_kernel_keeps_the_dilation_where_the_stride_is_one():
    conv = nn.Conv2d(1, 4, 3, stride=(1, 2), padding=(2, 1), dilation=(2, 1))
    layer = mirror(conv, 12, kernel_size=(5, 4))
    assert (layer.kernel_size, layer.dilation) == ((5, 4), (2, 1))
    assert restored(conv, layer, 12)


@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "shift"), [(3, 2, 1, 0.5), (7, 2, 3, 0.5), (2, 2, 0, 0.0)]
)
def test_round_trip_shift_of_the_theory(kernel, stride, padding, shift):
    layer = AutoConvTranspose1d.mirror(nn.Conv1d(1, 1, kernel, stride, padding), 32)
    assert layer.round_trip_shift == (shift,)
    assert f"round_trip_shift=({shift},)" in repr(layer)


def test_round_trip_shift_is_where_the_picture_goes():
    """With averaging weights, a ramp comes back as the place where each pixel was read."""
    for kernel, stride, padding in [(3, 2, 1), (7, 2, 3), (4, 4, 0), (5, 3, 1), (1, 2, 0)]:
        conv = nn.Conv1d(1, 1, kernel, stride, padding, bias=False, dtype=torch.float64)
        layer = mirror(conv, 240, bias=False)
        nn.init.constant_(conv.weight, 1 / kernel)
        nn.init.constant_(layer.weight, stride / layer.kernel_size[0])
        places = torch.arange(240, dtype=torch.float64)
        read_at = layer(conv(places[None, None])).flatten()
        moved = (places - read_at)[60:180].mean()
        assert moved.item() == pytest.approx(layer.round_trip_shift[0], abs=1e-9)


def test_a_layer_that_mirrors_nothing_has_no_round_trip_shift():
    layer = AutoConvTranspose2d(4, 2, 7, 14)
    assert layer.round_trip_shift is None
    assert "round_trip" not in repr(layer)


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_tied_adjoint_satisfies_the_inner_product(dims, stride):
    for kernel, padding, dilation, groups in product((1, 3, 4), (0, 1), (1, 2), (1, 2)):
        conv = CONV[dims](
            2, 4, kernel, stride, padding, dilation=dilation, groups=groups, dtype=torch.float64
        )
        nn.init.zeros_(conv.bias)
        for size in (8, 9, 10):
            layer = mirror(conv, size, adjoint=True, tied=True)
            nn.init.zeros_(layer.bias)
            x = torch.randn(1, 2, *(size,) * dims, dtype=torch.float64)
            made = conv(x)
            y = torch.randn_like(made)
            assert torch.allclose((made * y).sum(), (x * layer(y)).sum(), rtol=1e-12, atol=1e-12)


def test_same_padding_has_an_adjoint_where_it_is_symmetric():
    conv = nn.Conv1d(2, 4, 3, padding="same", bias=False, dtype=torch.float64)
    layer = AutoConvTranspose1d.mirror(conv, 9, adjoint=True, tied=True)
    x, y = torch.randn(1, 2, 9, dtype=torch.float64), torch.randn(1, 4, 9, dtype=torch.float64)
    assert torch.allclose((conv(x) * y).sum(), (x * layer(y)).sum())


def test_tied_really_shares_the_parameter():
    conv = nn.Conv2d(1, 8, 3, 2, 1)
    layer = mirror(conv, 28, adjoint=True, tied=True)
    assert layer.weight is conv.weight
    model = nn.Sequential(conv, layer)
    assert len(list(model.parameters())) == 3
    before = conv.weight.detach().clone()
    model(torch.randn(2, 1, 28, 28)).square().sum().backward()
    torch.optim.SGD(model.parameters(), lr=0.1).step()
    assert not torch.equal(conv.weight, before)
    assert torch.equal(layer.weight, conv.weight)


def test_an_untied_adjoint_has_a_weight_of_its_own():
    conv = nn.Conv2d(1, 8, 3, 2, 1)
    layer = mirror(conv, 28, adjoint=True)
    assert layer.weight is not conv.weight
    assert layer.weight.shape == conv.weight.shape


def test_the_encoder_is_left_as_it_was():
    conv = nn.Conv2d(1, 8, 3, 2, 1).eval()
    before = {name: tensor.clone() for name, tensor in conv.state_dict().items()}
    for options in ({}, {"adjoint": True}, {"adjoint": True, "tied": True}):
        mirror(conv, 28, **options)
    assert not conv.training
    assert all(torch.equal(conv.state_dict()[name], before[name]) for name in before)


def test_a_parametrised_encoder_is_mirrored_but_not_tied():
    conv = nn.utils.parametrizations.weight_norm(nn.Conv2d(1, 8, 3, 2, 1))
    assert AutoConvTranspose2d.mirror(conv, 28).kernel_size == (2, 2)
    with pytest.raises(ValueError, match=r"derives it .*leave tied out"):
        mirror(conv, 28, adjoint=True, tied=True)
