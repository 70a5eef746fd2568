"""What a decoder is made of: its stages, their settings, and what it leaves out."""

import warnings

import pytest
import torch
from support.encoders import Module, conv
from support.oracle import artifacts_allowed
from torch import nn
from torch.nn import functional as F  # noqa: N812

import autoup
from autoup import mirror_decoder
from autoup.capturing.capture import capture
from autoup.capturing.steps import read_steps

SIZE = (2, 3, 32, 32)


def mirrored(encoder, size=SIZE, **options):
    with artifacts_allowed():
        return mirror_decoder(encoder, size, **options)


def names(decoder):
    return [name for name, _ in decoder.named_children()]


def kinds(decoder):
    return [type(each).__name__ for each in decoder.modules()]


class Residual(nn.Module):
    def __init__(self, layers, width=8, norm=nn.BatchNorm2d):
        super().__init__()
        self.layers, self.norm = nn.Sequential(*layers), norm(width) if norm else nn.Identity()

    def forward(self, x):
        return F.elu(x + self.norm(self.layers(x)))


def residual(layers, width=8, **rest):
    return nn.Sequential(conv(3, width), Residual(layers, width, **rest))


def spans(layer):
    return layer.kernel_size, layer.groups


def test_block_is_one_stage_with_its_own_norm_and_activation():
    layers = [conv(8, 8, 3, 1), nn.ELU(), conv(8, 8, 3, 1)]
    decoder = mirrored(residual(layers), residual=False)
    assert names(decoder) == ["layer_1", "layer_0"]
    assert [type(each) for each in decoder[0]] == [
        autoup.AutoConvTranspose2d, nn.BatchNorm2d, nn.ELU,
    ]  # fmt: skip
    assert decoder.layer_1.up.bias is None
    bare = residual([conv(8, 8, 3, 1)], norm=None)
    assert mirrored(bare, residual=False)[0].bias is not None


def test_block_that_sees_neighbours_gets_three_taps_as_dense_as_its_weights_allow():
    dense = mirrored(residual([conv(8, 8, 3, 1)]), residual=False)[0]
    assert spans(dense.up) == ((3, 3), 1)
    apart = mirrored(residual([conv(8, 8, 3, 1, groups=8)]), residual=False)[0]
    assert spans(apart.spread) == ((3, 3), 8)
    assert spans(apart.up) == ((1, 1), 1)
    pointwise = mirrored(residual([conv(8, 8, 1, 1, 0)]), residual=False)[0]
    assert names(pointwise) == ["up", "norm"]
    assert spans(pointwise.up) == ((1, 1), 1)


def test_weights_behind_a_parametrization_count():
    normed = nn.utils.parametrizations.weight_norm(conv(8, 8, 3, 1, bias=False), dim=None)
    (step,) = read_steps(capture(normed, (1, 8, 9, 9), None), normed)
    assert step.weights == 8 * 8 * 9 + 1


def test_block_from_a_map_to_a_vector_is_not_most_of_the_decoder():
    def pool(m, x):
        x = F.relu(m.a(x))
        return torch.cat([x.mean((2, 3)), x.amax((2, 3))], 1)

    decoder = mirrored(Module(pool, a=conv(3, 64)))
    wide, each = decoder.cat.up, decoder.cat.up_2
    assert (wide.in_channels, wide.out_channels, *spans(wide)) == (128, 64, (1, 1), 1)
    assert spans(each) == ((16, 16), 64)


def test_one_stage_a_change_of_resolution():
    body = [conv(8, 8, 3, 1), nn.ReLU(), conv(8, 8, 3, 1), nn.ReLU(), conv(8, 16)]
    encoder = nn.Sequential(conv(3, 8), nn.ReLU(), *body)
    assert len(mirrored(encoder)) == 7
    decoder = mirrored(encoder, stages="resolution", refine=2)
    assert names(decoder) == ["layer_6", "layer_5", "layer_6_refine", "layer_0"]
    assert kinds(decoder.layer_6_refine) == ["Sequential", *["Conv2d", "ReLU"] * 2]
    assert {spans(each) for each in decoder.layer_6_refine[::2]} == {((3, 3), 1)}
    assert names(mirrored(encoder, stages="resolution")) == ["layer_6", "layer_5", "layer_0"]
    head = [nn.Flatten(), nn.Linear(1024, 6), nn.ReLU(), nn.Linear(6, 4)]
    classifier = nn.Sequential(*body, *head)
    assert names(mirrored(classifier, (1, 8, 16, 16), stages="resolution")) == [
        "layer_8", "layer_7", "layer_6", "layer_5", "layer_4", "layer_3", "layer_0",
    ]  # fmt: skip


def test_channel_shuffle_and_channels_last_norm_leave_no_trace():
    def shuffled(m, x):
        x = m.a(x)
        x = x.unflatten(1, (2, 4)).transpose(1, 2).flatten(1, 2)
        x = m.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return m.b(x)

    decoder = mirrored(Module(shuffled, a=conv(3, 8), norm=nn.LayerNorm(8), b=conv(8, 8)))
    assert names(decoder) == ["b", "norm", "a"]
    assert str(decoder.norm) == str(nn.GroupNorm(1, 8))


@pytest.mark.parametrize(
    ("there", "back", "shape"),
    [((0, 2, 3, 1), (0, 3, 2, 1), 8), ((0, 1, 3, 2), (0, 1, 3, 2), 16),
     ((0, 2, 3, 1), (0, 3, 1, 2), (16, 8))],
    ids=["transposed", "over height", "over rows"],
)  # fmt: skip
def test_a_norm_between_permutations_is_not_always_one_of_channels(there, back, shape):
    def permuted(m, x):
        return m.b(m.norm(m.a(x).permute(there)).permute(back))

    encoder = Module(permuted, a=conv(3, 8), norm=nn.LayerNorm(shape), b=conv(8, 4))
    made = mirrored(encoder)[1:-1]
    x = torch.randn(2, 8, 16, 16)
    ahead, behind = ([order.index(axis) for axis in range(4)] for order in (back, there))
    torch.testing.assert_close(made(x), encoder.norm(x.permute(ahead)).permute(behind))


def test_norms_keep_their_settings():
    norm = nn.BatchNorm2d(8, eps=1e-3, momentum=0.03, affine=False)
    made = mirrored(nn.Sequential(conv(3, 8), norm, nn.Sigmoid(), conv(8, 4)))
    assert str(made.layer_1) == str(norm)
    assert kinds(made)[-2:] == ["Sigmoid", "AutoConvTranspose2d"]
    bare = mirrored(nn.Sequential(nn.MaxPool2d(2), nn.BatchNorm2d(3), conv(3, 8)))
    assert [each.groups for each in bare] == [1, 3]


@pytest.mark.parametrize(
    "activation",
    [nn.ReLU(), nn.ReLU6(), nn.LeakyReLU(0.3), nn.ELU(0.5), nn.SELU(), nn.GELU("tanh"), nn.SiLU(),
     nn.Mish(), nn.Hardswish(), nn.Hardtanh(-2, 2), nn.Softplus(), nn.Tanh(), nn.Sigmoid(),
     nn.PReLU(8)],
    ids=str,
)  # fmt: skip
def test_activations_keep_their_settings(activation):
    decoder = mirrored(nn.Sequential(conv(3, 8), activation, conv(8, 4)))
    assert str(decoder.layer_1) == str(activation)


def test_functional_activations_are_those_of_their_names():
    encoder = Module(lambda m, x: m.b(F.relu6(m.a(x))), a=conv(3, 8), b=conv(8, 4))
    assert kinds(mirrored(encoder))[1:] == ["AutoConvTranspose2d", "ReLU6", "AutoConvTranspose2d"]


BY_HAND = {
    "SiLU": lambda x: x * x.sigmoid(),
    "Hardswish": lambda x: x * F.relu6(x + 3) / 6,
    "Mish": lambda x: x * F.softplus(x).tanh(),
    "GELU": lambda x: x * (1 + torch.erf(x / 2**0.5)) / 2,
}


@pytest.mark.parametrize("name", BY_HAND)
def test_activations_of_several_operators_are_known(name):
    encoder = Module(lambda m, x: m.b(BY_HAND[name](m.a(x))), a=conv(3, 8), b=conv(8, 4))
    assert kinds(mirrored(encoder))[1:] == ["AutoConvTranspose2d", name, "AutoConvTranspose2d"]


@pytest.mark.parametrize(("smoothness", "kernel"), [(0, 2), (1, 4)])
def test_pooling_is_undone_channel_by_channel_as_repetition(smoothness, kernel):
    decoder = mirrored(nn.Sequential(nn.AvgPool2d(2), conv(3, 4)), smoothness=smoothness)
    assert spans(decoder[-1]) == ((kernel, kernel), 3)
    x = torch.rand(1, 3, 16, 16)
    torch.testing.assert_close(decoder[-1](x), F.interpolate(x, scale_factor=2))


def test_a_promise_of_ramps_undoes_pooling_as_interpolation():
    decoder = mirrored(nn.Sequential(nn.AvgPool2d(2), conv(3, 4)), smoothness=2)
    y, x = torch.meshgrid(torch.arange(16.0), torch.arange(16.0), indexing="ij")
    ramps = torch.stack([y, x - y, torch.ones(16, 16)])[None]
    wanted = F.interpolate(ramps, scale_factor=2, mode="bilinear")
    middle = slice(2, -2)
    made = decoder[-1](ramps)[..., middle, middle]
    torch.testing.assert_close(made, wanted[..., middle, middle], rtol=0, atol=1e-4)


def test_every_layer_that_enlarges_a_map_holds_the_promise_unless_told_otherwise():
    encoder = nn.Sequential(
        conv(3, 8), nn.ReLU(), nn.MaxPool2d(2), conv(8, 8, 3, 1), conv(8, 8, 8, 8)
    )
    up = [each for each in mirrored(encoder) if isinstance(each, nn.ConvTranspose2d)]
    assert [(each.kernel_size[0], each.stride[0], each.smoothness) for each in up] == [
        (8, 8, 0), (3, 1, 1), (4, 2, 1), (4, 2, 1)  # The first enlarges one pixel.
    ]  # fmt: skip
    for each in up:
        nn.init.normal_(each.weight)
        assert (autoup.phase_spread(each) < 1e-5) == (each.in_size[0] > 1)
    for options in ({"smoothness": 0}, {"adjoint": True}):
        assert {
            each.smoothness for each in mirrored(encoder, **options) if hasattr(each, "stride")
        } == {0}


def test_biases_come_from_the_encoder():
    def encoder(bias):
        return nn.Sequential(conv(3, 4, bias=bias), nn.Flatten(), nn.Linear(1024, 5, bias=bias))

    for bias in (True, False):
        decoder = mirrored(encoder(bias))
        assert [decoder[0].bias is None, decoder[2].bias is None] == [not bias] * 2
    normed = nn.Sequential(conv(3, 4, bias=False), nn.BatchNorm2d(4), conv(4, 4, bias=False))
    assert [each.bias is None for each in mirrored(normed)[::2]] == [True, False]


@pytest.mark.parametrize(
    ("cut", "rows"),
    [(lambda x: x[:, :, -12:], (4, 16)), (lambda x: x[:, :, 3:-1], (3, 15)),
     (lambda x: x[:, :, :10], (0, 10))],
)  # fmt: skip
def test_what_was_cut_off_is_filled_with_zeros_where_it_was(cut, rows):
    decoder = mirrored(Module(lambda m, x: cut(m.a(x)), a=conv(3, 4)))
    crop = decoder[0]
    made = crop(torch.ones(1, 4, rows[1] - rows[0], 16))
    assert made.shape == (1, 4, 16, 16)
    assert made[:, :, rows[0] : rows[1]].min() == 1
    assert made.sum() == 4 * 16 * (rows[1] - rows[0])


def test_what_is_cut_off_or_added_before_a_convolution_is_undone_by_itself():
    cut = mirrored(Module(lambda m, x: m.b(m.a(x)[..., 2:-2, 2:-2]), a=conv(3, 4), b=conv(4, 4)))
    assert kinds(cut[1:-1])[1:] == ["ConstantPad1d", "ConstantPad2d"]
    assert cut[1:-1](torch.ones(1, 4, 12, 12)).sum() == 4 * 12 * 12
    wider = Module(lambda m, x: m.b(F.pad(x, (0, 0, 0, 0, 2, 2))), b=conv(7, 4))
    decoder = mirrored(wider, adjoint=True, tied=True)
    assert decoder.b.weight is wider.b.weight
    assert decoder(torch.randn(1, 4, 16, 16)).shape == (1, *SIZE[1:])


def test_uneven_padding_before_pooling_is_part_of_it():
    pool = nn.Sequential(nn.ZeroPad2d((0, 1, 0, 1)), nn.MaxPool2d(3, 2))
    assert kinds(mirrored(nn.Sequential(conv(3, 4), *pool, conv(4, 4))))[1:] == [
        "AutoConvTranspose2d"
    ] * 3  # fmt: skip


@pytest.mark.parametrize("padding", [0, 2, "same"])
@pytest.mark.parametrize(("k", "d"), [(3, 1), (4, 1), (2, 3), (5, 2)])
def test_one_convolution_is_shifted_as_its_mirror_is(k, d, padding):
    convolution = nn.Conv2d(3, 4, k, padding=padding, dilation=d)
    mirror = autoup.AutoConvTranspose2d.mirror(convolution, SIZE[2:], smoothness=1)
    (made,) = mirrored(convolution)
    assert made.round_trip_shift == mirror.round_trip_shift


def test_uneven_padding_of_stride_one_keeps_the_kernel():
    decoder = mirrored(nn.Sequential(nn.ZeroPad2d((1, 2, 1, 2)), conv(3, 4, 4, 1, 0), conv(4, 4)))
    assert (decoder[-1].kernel_size, decoder[-1].padding) == ((5, 5), (2, 2))
    odd = mirrored(nn.Sequential(nn.ZeroPad2d((0, 1, 0, 1)), conv(3, 4, 4, 1, 1), conv(4, 4)))[-1]
    assert (odd.kernel_size, odd.padding) == ((5, 5), (2, 2))
    wide = mirrored(nn.Sequential(nn.ZeroPad2d((0, 2, 0, 2)), conv(3, 4, 5, 1, 1), conv(4, 4)))[-1]
    assert (wide.kernel_size, wide.padding) == ((5, 5), (2, 2))
    even = mirrored(nn.Sequential(nn.ZeroPad2d(2), conv(3, 4, 5, 1, 0), conv(4, 4)))[-1]
    assert (even.kernel_size, even.padding) == ((5, 5), (2, 2))


def test_settings_reach_every_layer():
    encoder = nn.Sequential(conv(3, 4), nn.BatchNorm2d(4), conv(4, 4)).double()
    decoder = mirrored(encoder, output_activation=nn.Tanh())
    assert {each.dtype for each in decoder.parameters()} == {torch.float64}
    assert names(decoder)[-1] == "output_activation"
    assert decoder(torch.rand(1, 4, 8, 8, dtype=torch.float64)).abs().max() <= 1
    (phases,) = decoder[0].weight.flatten(2).std(2).min().view(1)
    assert phases > 0
    equal = mirrored(encoder, smoothness=0, init="phase_equal")[0]
    assert equal.weight.flatten(2).std(2).max() == 0


def test_the_start_reaches_every_layer_and_no_shared_weight():
    encoder = nn.Sequential(nn.AvgPool2d(2), conv(3, 8), nn.ReLU(), conv(8, 8))

    def spread(**options):
        torch.manual_seed(0)
        *_, last, pool = mirrored(encoder, **options)
        assert pool.weight.sum() == 3 * 4
        return float(last.weight.detach().std()) / last.in_channels**-0.5

    assert spread(smoothness=0, init="lecun_uniform") == pytest.approx(1, abs=0.1)
    assert 0.5 < spread(smoothness=0) < 0.75, "damped, which takes variance"
    plain = nn.ConvTranspose2d(8, 3, 4, 2)
    assert mirrored(encoder, init="torch")[-2].weight.std() > 0.7 * plain.weight.std()
    normed = nn.Sequential(conv(3, 8), nn.BatchNorm2d(8), nn.ReLU(), conv(8, 8))
    last = [mirrored(normed, smoothness=0, init=init)[-1] for init in ("lecun_uniform", "torch")]
    assert float(last[0].weight.detach().std()) * 8**0.5 == pytest.approx(0.1, abs=0.02)
    assert last[1].weight.std() > 0.1 * 8**-0.5
    before = encoder[1].weight.clone()
    assert mirrored(encoder, adjoint=True, tied=True)[-2].weight is encoder[1].weight
    assert torch.equal(encoder[1].weight, before)


def test_layers_with_names_of_sequential_get_others():
    encoder = Module(lambda m, x: m.append(m.down(x)), append=conv(4, 4), down=conv(3, 4))
    assert names(mirrored(encoder)) == ["append_", "down"]


class Careless(nn.Module):
    """Does in its forward pass all that must not reach the encoder."""

    def __init__(self):
        super().__init__()
        self.conv, self.drop = conv(3, 4), nn.Dropout()
        self.register_buffer("calls", torch.zeros(()))
        self.seen = []

    def forward(self, x):
        torch.manual_seed(7)
        self.calls += 1
        self.seen.append(x.shape)
        x = self.drop(self.conv(x))
        return (x, x) if self.training else x


def test_a_careless_encoder_is_left_as_it_was():
    encoder = Careless()
    torch.manual_seed(3)
    state = torch.get_rng_state()
    program = capture(encoder, SIZE, None)
    assert torch.equal(torch.get_rng_state(), state)
    assert names(mirrored(encoder)) == ["conv"]
    assert encoder.training
    assert encoder.calls == 0
    assert encoder.seen == []
    shared = program.state_dict["encoder.conv.weight"]
    assert shared.data_ptr() == encoder.conv.weight.data_ptr()


def test_an_encoder_that_warns_is_mirrored_without_a_word():
    def warned(m, x):
        warnings.warn("of the encoder", stacklevel=1)
        return m.a(x)

    assert names(mirror_decoder(Module(warned, a=conv(3, 4)), SIZE)) == ["a"]


def test_an_encoder_with_integers_as_its_first_parameter_is_mirrored():
    steps = nn.Parameter(torch.zeros(1, dtype=torch.int64), requires_grad=False)
    encoder = Module(lambda m, x: m.a(x), steps=steps, a=conv(3, 4).double())
    assert mirrored(encoder)[0].weight.dtype == torch.float64


def test_pooling_alone_has_nothing_between():
    assert len(mirrored(nn.Sequential(nn.MaxPool2d(2), nn.Tanh(), nn.MaxPool2d(2)))) == 2


def test_an_encoder_that_mixes_its_batch_is_told():
    encoder = Module(lambda m, x: m.a(x).mean(0, keepdim=True), a=conv(3, 4))
    with pytest.raises(ValueError, match="mix the batch"):
        mirror_decoder(encoder, SIZE)
