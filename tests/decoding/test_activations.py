"""What acts between two layers is in the decoder what it was in the encoder."""

import copy
import io
import pickle
import warnings

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.encoders import Module, conv
from support.oracle import CONV, artifacts_allowed
from torch import nn
from torch.nn import functional as F  # noqa: N812

import autoup
from autoup import mirror_decoder
from autoup.layers.formula import Formula

SIZE = (2, 3, 16, 16)
ATEN = torch.ops.aten


def mirrored(function, /, taken=8, **layers):
    """Return the encoder of two convolutions with something between them, and its decoder."""
    encoder = Module(
        lambda m, x: m.b(function(m, m.a(x))), a=conv(3, 8), b=conv(taken, 4), **layers
    )
    with artifacts_allowed():
        return encoder, mirror_decoder(encoder, SIZE)


def between(decoder):
    """Return what stands between the first and the last layer of a decoder."""
    return nn.Sequential(*[*decoder][1:-1])


def assert_same_function(one, other, x):
    """Compare values and gradients in double precision."""
    results = []
    for function in (one, other):
        leaf = x.clone().requires_grad_()
        made = function(leaf)
        weight = torch.arange(made.numel(), dtype=x.dtype).view(made.shape).cos()
        results += [made, torch.autograd.grad((made * weight).sum() + 0 * leaf.sum(), leaf)[0]]
    torch.testing.assert_close(results[2:], results[:2], rtol=1e-10, atol=1e-10)


class Snake(nn.Module):
    """Of audio codecs: a learned frequency for each channel."""

    def __init__(self, channels, dims):
        super().__init__()
        self.alpha = nn.Parameter(torch.rand(1, channels, *[1] * dims) + 0.5)

    def forward(self, x):
        shape = x.shape
        x = x.reshape(shape)
        x = x + (self.alpha + 1e-9).reciprocal() * torch.sin(self.alpha * x).pow(2)
        return x.reshape(shape)


class Swish(nn.Module):
    """Equals SiLU until it has learned."""

    def __init__(self, *_):
        super().__init__()
        self.beta = nn.Parameter(torch.ones(()))

    def forward(self, x):
        return x * torch.sigmoid(self.beta * x)


class Shift(nn.Module):
    """Has a buffer for each channel."""

    def __init__(self, channels, dims):
        super().__init__()
        self.register_buffer("shift", torch.randn(channels, *[1] * dims))

    def forward(self, x):
        return torch.relu(x - self.shift) + self.shift


class Of(nn.Module):
    """A function, as a module."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


def in_place(x):
    y = x.mul_(0.5)
    y.add_(1).sigmoid_()
    return x * y


def twice(x):
    y = x.clone().relu_()
    return y - 0.1 * x


def gated(x):
    one, other = x.chunk(2, 1)
    return torch.tanh(one) * torch.sigmoid(other)


def parted(x):
    return torch.cat([x[:, :1].abs(), x[:, 1:]], 1)


FUNCTIONS = {
    "sin": torch.sin, "abs": torch.abs, "square": torch.square,
    "quick": lambda x: x * torch.sigmoid(1.702 * x), "filled": lambda x: x.masked_fill(x < 0, -1.0),
    "where": lambda x: torch.where(x > 0, x, 0.3 * torch.expm1(x)), "in place": in_place,
    "zeros": lambda x: torch.where(x > 0.1, x, torch.zeros(x.shape, dtype=x.dtype)),
    "twice": twice, "maximum": lambda x: torch.maximum(x, 0.2 * x), "parted": parted,
    "through": lambda x: x + (x.round() - x).detach(), "clip": lambda x: x.clamp(max=0.5),
    "tanh sigmoid": lambda x: x.tanh() * x.sigmoid(), "scaled": lambda x: F.relu(x) * 1.7139,
    "logarithm": lambda x: x.sign() * x.abs().log1p(), "power": lambda x: (x * x + 1) ** -0.5,
    "shared": lambda x: (lambda t: t * (1 - t) - 2 ** t)(x.tanh()),
    "rms": lambda x: x * torch.rsqrt(x.pow(2).mean(1, keepdim=True) + 1e-5),
    "unit": lambda x: F.normalize(x, dim=1),
}  # fmt: skip
AFFINE = {
    "double": lambda x: x * 2, "centre": lambda x: (x - 0.5) / 0.2, "negative": torch.neg,
    "one": lambda x: x * 1, "add": lambda x: x.add_(0.25), "less": lambda x: 3 - x,
}  # fmt: skip
MODULES = {
    "ReLU": nn.ReLU, "ReLU in place": lambda: nn.ReLU(inplace=True), "SiLU": nn.SiLU,
    "ELU": lambda: nn.ELU(0.7), "Hardtanh": lambda: nn.Hardtanh(-2, 3), "Dropout": nn.Dropout,
    "Softsign": nn.Softsign, "Tanhshrink": nn.Tanhshrink, "GELU": nn.GELU,
    "LogSigmoid": nn.LogSigmoid,
}  # fmt: skip
PER_CHANNEL = {
    "Snake": Snake,
    "Swish": Swish,
    "Shift": Shift,
    "PReLU": lambda c, _: nn.PReLU(c, 0.1),
}
GATES = {
    "GLU": lambda: nn.GLU(1), "gated": lambda: Of(gated),
    "largest": lambda: Of(lambda x: torch.maximum(*x.split(x.shape[1] // 2, 1))),
    "halves": lambda: Of(lambda x: F.silu(x[:, ::2]) * x[:, 1::2]),
}  # fmt: skip
MAKERS = {
    **{name: lambda *_, f=function: Of(f) for name, function in (FUNCTIONS | AFFINE).items()},
    **{name: lambda *_, make=make: make() for name, make in (MODULES | GATES).items()},
    **PER_CHANNEL,
}


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.lists(st.tuples(st.sampled_from([*MAKERS]), st.booleans()), min_size=1, max_size=4),
    st.integers(1, 3),
)
def test_what_acts_between_two_layers_is_kept_as_it_is(drawn, dims):
    channels, pieces = 8 * 2 ** sum(name in GATES for name, _ in drawn), []
    width = channels
    for name, _ in drawn:
        pieces.append(MAKERS[name](channels, dims))
        channels //= 2 if name in GATES else 1

    def act(m, x, before=lambda x: x):
        for (_, inlined), piece in zip(drawn, m.pieces, strict=True):
            x = before(x)
            x = piece.forward(x) if inlined else piece(x)
        return x

    layers = {"a": CONV[dims](2, width, 1), "b": CONV[dims](channels, 3, 1)}
    encoder = Module(
        lambda m, x: m.b(act(m, m.a(x))), pieces=nn.ModuleList(pieces), **layers
    ).double()
    decoder = mirror_decoder(encoder, (2, 2, *[4] * dims))
    kept = between(decoder).eval()
    if all(name in AFFINE or name == "Dropout" for name, _ in drawn):
        assert len(kept) == 0
        return
    x = 3 * torch.randn(5, width, *[3] * dims, dtype=torch.float64)
    assert_same_function(lambda x: act(encoder.eval(), x, torch.clone), kept, x)
    learned = {name for name, _ in drawn if name in PER_CHANNEL}
    assert (len([*kept.state_dict()]) > 0) == bool(learned)


def through_a_view(x):
    x.view(x.shape).tanh_()
    return x * x.contiguous()


def filled(x):
    x *= 2
    x += 1
    x[x < 0] = 0.5
    return x


REGRESSIONS = [
    (lambda x: F.glu(x, 1), "GLU(dim=1)"),
    (lambda x: (lambda a, b: a * b.sigmoid())(*x.chunk(2, 1)), "GLU(dim=1)"),
    (gated, "Formula(tanh((a := chunk(x, 2, 1))[0]) * sigmoid(a[1]))"),
    (lambda x: F.silu(x[:, :4]) * x[:, 4:], "Formula(silu(x[:, :4]) * x[:, 4:])"),
    (lambda x: ATEN.slice(x, -3, 0, 4) * torch.sin(x[:, 4:]), "Formula(x[:, :4] * sin(x[:, 4:]))"),
    (torch.sin, "Formula(sin(x))"),
    (torch.abs, "Formula(abs(x))"),
    (lambda x: x * x, "Formula(x * x)"),
    (lambda x: x**2, "Formula(x ** 2)"),
    (lambda x: F.relu(x) ** 2, "Formula(relu(x) ** 2)"),
    (lambda x: torch.where(x > 0, x, 0.0), "ReLU()"),
    (lambda x: torch.where(x > 0, x, torch.zeros(x.shape)), "ReLU()"),
    (lambda x: torch.where(x > 0, x, x / 4), "LeakyReLU(negative_slope=0.25)"),
    (lambda x: torch.where(x > 0, x, 2 * torch.expm1(x)), "ELU(alpha=2.0)"),
    (lambda x: torch.maximum(x, 0.2 * x), "LeakyReLU(negative_slope=0.2)"),
    (F.softsign, "Softsign()"),
    (lambda x: x.clamp(min=0), "ReLU()"),
    (lambda x: x.clamp(0, 6), "ReLU6()"),
    (lambda x: x.clamp(-1, 2), "Hardtanh(min_val=-1, max_val=2)"),
    (lambda x: x.clamp(max=2), "Formula(clamp(x, None, 2))"),
    (lambda x: x.relu().clamp(max=6), "ReLU6()"),
    (lambda x: x.relu().clamp(max=20), "Hardtanh(min_val=0.0, max_val=20.0)"),
    (lambda x: x.relu().clamp(max=65504), "Hardtanh(min_val=0.0, max_val=65504.0)"),
    (lambda x: x.tanh() * x.sigmoid(), "Formula(tanh(x) * sigmoid(x))"),
    (lambda x: F.relu(x) * 1.7139, "Formula(relu(x) * 1.7139)"),
    (lambda x: F.relu(x) / 1.0 + 0, "ReLU()"),
    (lambda x: x * torch.sigmoid(1.702 * x), "Formula(x * sigmoid(x * 1.702))"),
    (lambda x: x * (1 + torch.erf(x / 2**0.5)) / 2, "GELU(approximate='none')"),
    (lambda x: x + (x.relu() - x).detach(), "Formula(x + detach(relu(x) - x))"),
    (lambda x: x.mul_(2).relu_(), "Formula(relu(x * 2))"),
    (lambda x: torch.cat([x.relu(), (-x).relu()], 1), "Formula(cat([relu(x), relu(-x)], 1))"),
    (lambda x: -(x - 1 - (2 - x) ** 2) * (x < 0), "Formula(-(x - 1 - (2 - x) ** 2) * (x < 0))"),
    (lambda x: x.softmax(1), "Softmax(dim=1)"),
    (lambda x: x * F.softmax(x, 1), "Formula(x * softmax(x, 1))"),
    (lambda x: torch.maximum(x, torch.tensor(0.0)), "ReLU()"),
    (lambda x: torch.maximum(x, torch.tensor(0.5)), "Formula(maximum(x, constant))"),
    (lambda x: torch.maximum(x, x.new_zeros(x.shape)), "ReLU()"),
    (lambda x: torch.minimum(x.new_full(x.shape, 3), x), "Formula(minimum(full_like(x, 3), x))"),
    (lambda x: torch.clamp(x, torch.tensor(0.0), torch.tensor(6.0)), "ReLU6()"),
    (lambda x: torch.max(x[:, ::2], x[:, 1::2]), "Formula(max(x[:, ::2], x[:, 1::2]))"),
    (lambda x: (~(x > 1) & (x > 0)) * x, "Formula((bitwise_not(x > 1) & (x > 0)) * x)"),
    (lambda x: torch.nan_to_num(x).tanh(), "Formula(tanh(nan_to_num(x)))"),
    (lambda x: F.silu(x).clamp(max=1e4), "Formula(clamp(silu(x), None, 10000.0))"),
    (lambda x: x * torch.sigmoid(1.0001 * x), "Formula(x * sigmoid(x * 1.0001))"),
    (lambda x: x.clamp(min=1e-6), "Formula(clamp(x, 1e-06))"),
    (filled, "Formula(masked_fill((a := x * 2 + 1), a < 0, 0.5))"),
    (through_a_view, "Formula((a := tanh(x)) * a)"),
    (torch.nan_to_num, "Formula(nan_to_num(x))"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("function", "written"), REGRESSIONS, ids=[each for _, each in REGRESSIONS]
)
def test_functions_are_what_they_compute(function, written):
    taken = function(torch.zeros(1, 8, 1, 1)).shape[1]
    encoder, decoder = mirrored(lambda _, x: function(x), taken=taken)
    (kept,) = between(decoder)
    assert repr(kept) == written
    x = 4 * torch.randn(3, 8, 5, 5, dtype=torch.float64)
    assert_same_function(lambda x: function(x.clone()), kept, x)
    assert decoder(encoder(torch.randn(3, *SIZE[1:]))).shape == (3, *SIZE[1:])


def test_a_learned_activation_is_copied_with_its_values():
    for act in (Snake(8, 2), nn.PReLU(8, 0.3), Swish()):
        encoder, decoder = mirrored(lambda m, x: m.act(x), act=act)
        (kept,) = between(decoder)
        assert type(kept) is type(act)
        assert kept.training
        for name, value in act.state_dict().items():
            assert torch.equal(kept.state_dict()[name], value)
        shared = {id(each) for each in encoder.parameters()}
        assert not any(id(each) in shared for each in decoder.parameters())


def test_a_function_of_parameters_has_its_own_by_their_names():
    act = Snake(8, 2)
    act.alpha.requires_grad_(False)
    _, decoder = mirrored(lambda m, x: m.act.forward(x), act=act)
    (kept,) = between(decoder)
    assert repr(kept) == "Formula(x + reciprocal(alpha + 1e-09) * sin(alpha * x) ** 2)"
    assert torch.equal(kept.alpha, act.alpha)
    assert kept.alpha is not act.alpha
    assert isinstance(kept.alpha, nn.Parameter)
    assert not kept.alpha.requires_grad


class Sign(torch.autograd.Function):
    """Passes a gradient that is not the function's."""

    @staticmethod
    def forward(_, x):
        return x.sign()

    @staticmethod
    def backward(_, gradient):
        return gradient


class Guided(torch.autograd.Function):
    @staticmethod
    def forward(_, x):
        return x.relu()

    @staticmethod
    def backward(_, gradient):
        return gradient.relu()


@pytest.mark.parametrize("function", [Sign, Guided])
def test_a_module_with_a_gradient_of_its_own_stays_that_module(function):
    _, decoder = mirrored(lambda m, x: m.act(x), act=Of(function.apply))
    (kept,) = between(decoder)
    x = torch.randn(2, 8, 3, 3, dtype=torch.float64)
    assert_same_function(function.apply, kept, x)


def test_a_module_that_is_bound_to_a_device_becomes_a_formula():
    act = Of(lambda x: torch.where(x > 0.1, x, torch.zeros(x.shape)))
    _, decoder = mirrored(lambda m, x: m.act(x), act=act)
    assert repr(between(decoder)[0]) == "Formula(where(x > 0.1, x, 0.0))"


def test_what_has_hooks_is_copied_without():
    act = Snake(8, 2)
    act.register_forward_hook(lambda *_: None)
    _, decoder = mirrored(lambda m, x: m.act(x), act=act)
    assert len(between(decoder)[0]._forward_hooks) == 0


def handwritten(i, m, o):
    """Return a decoder of Demucs: the layer in front of the gate makes twice the channels."""
    return [
        nn.ConvTranspose2d(o, 2 * m, 4, 2, 1), nn.BatchNorm2d(2 * m), nn.GLU(1),
        nn.ConvTranspose2d(m, i, 4, 2, 1),
    ]  # fmt: skip


@pytest.mark.parametrize("act", [nn.GLU(1), Of(lambda x: F.glu(x, 1))])
def test_a_gate_keeps_its_channels_as_by_hand(act):
    encoder = nn.Sequential(conv(3, 16), nn.BatchNorm2d(16), act, conv(8, 4))
    by_hand = handwritten(3, 8, 4)
    decoder = mirror_decoder(encoder, SIZE)
    for made, hand in zip(decoder, by_hand, strict=True):
        assert isinstance(made, type(hand))
        assert [each.shape for each in made.parameters()] == [
            each.shape for each in hand.parameters()
        ]


class Last(nn.Sequential):
    """Layers of channels that come last."""

    def forward(self, x):
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def parallel(m, x):
    return torch.cat([m.a(x), m.b(x).relu()], 1)


@pytest.mark.parametrize(
    ("build", "widened"),
    [(lambda: [nn.MaxPool2d(2), nn.GLU(1), conv(8, 4)], 1),
     (lambda: [nn.GLU(1), nn.MaxPool2d(2), conv(8, 4)], 1),
     (lambda: [nn.GLU(1), nn.Flatten(), nn.Linear(8 * 64, 5)], 1),
     (lambda: [nn.Flatten(), nn.Linear(16 * 64, 6), nn.GLU(1), nn.Linear(3, 2)], 0),
     (lambda: [nn.GLU(1), conv(8, 8, groups=8), nn.GLU(1), conv(4, 4)], 0),
     (lambda: [nn.GLU(1), nn.ConvTranspose2d(8, 4, 3, 2, 1)], 0),
     (lambda: [nn.GLU(1)], 0), (lambda: [nn.GLU(1), nn.AvgPool2d(2)], 1),
     (lambda: [nn.GLU(1), Module(parallel, a=conv(8, 4), b=conv(8, 4)), conv(8, 4)], 0),
     (lambda: [nn.GLU(1), Last(nn.LayerNorm(8), nn.Linear(8, 6)), conv(6, 4)], 1),
     (lambda: [nn.GLU(1), nn.BatchNorm2d(8), Last(nn.Tanh()), conv(8, 4)], 1),
     (lambda: [nn.Tanh(), Last(nn.GLU(-1)), conv(8, 4)], 3),
     (lambda: [nn.GLU(1), Of(lambda x: x.permute(0, 2, 3, 1))], 1),
     (lambda: [Of(lambda x: F.glu(x.permute(0, 2, 3, 1), -1))], 0)],
)  # fmt: skip
def test_layers_that_cannot_widen_get_one_that_does(build, widened):
    torch.manual_seed(0)
    encoder = nn.Sequential(conv(3, 16), *build())
    with artifacts_allowed():
        decoder = mirror_decoder(encoder, SIZE)
    names = [name.rpartition(".")[2] for name, _ in decoder.named_modules()]
    assert sum(name.startswith("widen") for name in names) == widened
    code = encoder(torch.randn(5, *SIZE[1:]))
    assert decoder(code).shape == (5, *SIZE[1:])


@pytest.mark.parametrize(
    ("layers", "channels", "count"),
    [([nn.GLU(1), conv(3, 8), nn.GLU(1)], 6, 1), ([Last(nn.GLU(-1)), conv(3, 8)], 6, 3),
     ([nn.MaxPool2d(2), nn.GLU(1), conv(3, 4)], 6, 2),
     ([nn.GLU(1), nn.MaxPool2d(2), nn.GLU(1), conv(3, 4)], 12, 2),
     ([nn.GLU(1), nn.MaxPool2d(2), nn.GLU(1), nn.AvgPool2d(2), nn.GLU(1)], 24, 2)],
    ids=["around", "permuted", "pool", "pools", "pools alone"],
)  # fmt: skip
def test_a_gate_before_the_first_layer_and_behind_the_last_restores_the_shape(
    layers, channels, count
):
    encoder, size = nn.Sequential(*layers), (2, channels, 16, 16)
    with artifacts_allowed():
        decoder = mirror_decoder(encoder, size)
    assert not any(isinstance(each, nn.GLU) for each in decoder.modules())
    assert len(decoder) == count
    assert decoder(encoder(torch.randn(3, *size[1:]))).shape == (3, *size[1:])


def test_channels_last_gates_pass_permutations():
    def act(_, x):
        return F.glu(x.permute(0, 2, 3, 1), -1).permute(0, 3, 1, 2)

    encoder, decoder = mirrored(act, taken=4)
    assert [type(each).__name__ for each in between(decoder)] == ["Permute", "GLU", "Permute"]
    assert decoder(encoder(torch.randn(SIZE))).shape == SIZE


def block(act, **layers):
    encoder = nn.Sequential(conv(3, 8), Module(act, **layers), conv(8, 4))
    with artifacts_allowed():
        decoder = mirror_decoder(encoder, SIZE, residual=False)
    assert decoder(encoder(torch.randn(SIZE))).shape == SIZE
    return [each for each in decoder.modules() if type(each).__name__ != "Sequential"], decoder[1]


def one(k=3):
    return conv(8, 8, k, 1, k // 2)


def gated_by_half(x):
    first, second = x.chunk(2, 1)
    return first * torch.tanh(second)


@pytest.mark.parametrize(
    ("act", "written"),
    [(lambda m, x: torch.tanh(m.a(x)) * torch.sigmoid(m.b(x)),
      "Formula(tanh((a := chunk(x, 2, 1))[0]) * sigmoid(a[1]))"),
     (lambda m, x: m.a(x) * torch.sigmoid(m.b(x)), "GLU(dim=1)"),
     (lambda m, x: m.a(x) * F.silu(m.b(x)), "Formula((a := chunk(x, 2, 1))[0] * silu(a[1]))"),
     (lambda m, x: torch.tanh(m.a(x) + m.c(x)) * torch.sigmoid(m.b(x)),
      "Formula(tanh((a := chunk(x, 2, 1))[0]) * sigmoid(a[1]))"),
     (lambda m, x: x + m.a(m.b(x).sin().tanh()), "Formula(tanh(sin(x)))"),
     (lambda m, x: x + m.a(F.silu(m.b(x)) * m.c(x)), "SiLU()"),
     (lambda m, x: torch.cat([F.silu(m.a(x)[:, :4]), torch.ones_like(x)[:, :4].cos()], 1), "SiLU"),
     (lambda m, x: x + m.a(torch.sigmoid(m.b(x)) * m.c(x)), "GLU"),
     (lambda m, x: torch.sigmoid(m.a(x)) * F.silu(m.b(x)).mean((2, 3), True), "SiLU()"),
     (lambda m, x: m.a(x) * torch.sigmoid(m.b(x.mean((2, 3), True))), "Sigmoid()"),
     (lambda m, x: F.gelu(m.a(x)) / (m.b(x).pow(2).mean(1, True) + 1e-6).sqrt(), "GELU"),
     (lambda m, x: torch.cat([m.a(x)[:, :4], F.relu(m.b(x)[:, :4]) * 2], 1), "(relu(x) * 2)"),
     (lambda m, x: x + m.d(gated_by_half(m.a(x))), "x, 2, 1))[0] * tanh(a[1])")],
)  # fmt: skip
def test_the_stage_of_a_block_has_its_last_activation(act, written):
    _, stage = block(act, a=one(), b=one(), c=one(), d=conv(4, 8, 3, 1))
    assert written in repr(stage)


def test_known_activations_that_follow_each_other_keep_their_names():
    one = nn.Sequential(conv(3, 8), nn.Dropout(), nn.ReLU(), nn.Dropout())
    two = nn.Sequential(*one, Snake(8, 2), nn.Dropout())
    for encoder, wanted in (
        (one, {"layer_2": nn.ReLU}),
        (two, {"layer_2": nn.ReLU, "layer_4": Snake}),
    ):
        decoder = mirror_decoder(encoder.append(conv(8, 4)), SIZE)
        assert {name: type(each) for name, each in [*decoder.named_children()][1:-1]} == wanted


def test_a_mask_is_no_activation():
    def masked(m, x):
        mask = x.new_zeros(8, 8)
        mask[:4] = 1
        mask = mask.unsqueeze(0) - mask.unsqueeze(1)
        return x + m.a(F.silu(m.b(x)) + mask.masked_fill(mask != 0, -9.0))

    _, stage = block(masked, a=one(), b=one())
    assert repr(stage.activation) == "SiLU()"


@pytest.mark.parametrize("build", [lambda c: nn.BatchNorm2d(c), lambda c: nn.GroupNorm(2, c)])
def test_a_normalisation_before_the_gate_of_a_block_has_its_channels(build):
    def star(m, x):
        x = m.norm(m.c(x))
        return m.e(F.relu6(m.a(x)) * m.b(x))

    layers = {"a": one(), "b": one(), "c": one(), "e": one(), "norm": build(8)}
    star_of_chain, star_beside = (
        Module(star, **layers),
        Module(lambda m, x: x + star(m, x), **layers),
    )
    for each in (star_of_chain, star_beside):
        encoder = nn.Sequential(conv(3, 8), each, conv(8, 4))
        decoder = mirror_decoder(encoder, SIZE)
        (norm,) = [each for each in decoder.modules() if isinstance(each, type(build(8)))]
        assert norm.weight.numel() == 16
        assert "Formula(relu6((a := chunk(x, 2, 1))[1]) * a[0])" in repr(decoder)
        assert decoder(encoder(torch.randn(SIZE))).shape == SIZE


def divided(m, x):
    return x * torch.rsqrt(m.a(x * x))


def divided_by_abs(m, x):
    return x / m.a(x.abs())


@pytest.mark.parametrize("act", [divided, divided_by_abs])
def test_the_root_of_a_variance_is_no_activation(act):
    weights = nn.Conv2d(8, 8, 1)
    nn.init.constant_(weights.weight, 0.1)
    encoder = nn.Sequential(conv(3, 8), Module(act, a=weights), conv(8, 4))
    with warnings.catch_warnings(record=True, action="always") as caught:
        decoder = mirror_decoder(encoder, SIZE)
    assert [type(each) for each in decoder] == [autoup.AutoConvTranspose2d] * 3
    assert decoder(10 * torch.randn(2, 4, 4, 4)).isfinite().all()
    assert ["none fits its stage" in str(each.message) for each in caught] == [True]


def test_an_activation_is_fitted_to_the_channels_of_its_stage():
    act = Snake(12, 2)
    wide = Module(
        lambda m, x: torch.cat([m.a(x), m.b(m.act(m.c(x)))], 1),
        a=conv(8, 4, 1, 1, 0), b=conv(12, 4, 1, 1, 0), c=conv(8, 12, 1, 1, 0), act=act,
    )  # fmt: skip
    decoder = mirror_decoder(nn.Sequential(conv(3, 8), wide, conv(8, 4)), SIZE)
    (kept,) = [each for each in decoder.modules() if isinstance(each, Snake)]
    assert torch.equal(kept.alpha, act.alpha[:, :8])


def test_refining_takes_an_activation_that_fits():
    encoder = nn.Sequential(conv(3, 16), nn.GLU(1), conv(8, 4), Snake(4, 2), conv(4, 4))
    decoder = mirror_decoder(encoder, SIZE, refine=1)
    fitted = [each.alpha for each in decoder.modules() if isinstance(each, Snake)]
    assert [each.shape[1] for each in fitted] == [4, 4, 8]
    assert torch.equal(fitted[2], encoder[3].alpha.repeat(1, 2, 1, 1))


def told(act, encoder=None, size=SIZE, **options):
    if encoder is None:
        encoder = Module(lambda m, x: m.b(act(m, m.a(x))), a=conv(3, 8), b=conv(8, 4))
    with warnings.catch_warnings(record=True, action="always") as caught:
        warnings.simplefilter("ignore", autoup.ArtifactWarning)
        decoder = mirror_decoder(encoder, size, **options)
    assert [each.category for each in caught] == [autoup.MirrorWarning] * len(caught)
    assert len(caught) <= 1
    return decoder, str(caught[0].message) if caught else ""


@pytest.mark.parametrize(
    ("act", "words"),
    [(lambda _, x: x.flip(2), "  flip: flip depends on position; it is left out"),
     (lambda _, x: x.cumsum(1), "cumsum joins several values"),
     (lambda _, x: x.cumsum_(2), "cumsum_ joins several values"),
     (lambda _, x: F.max_pool2d(x, 3, 1, 1), "max_pool2d joins several values"),
     (lambda _, x: torch.where(torch.arange(8) > 3, x, x.relu()), "where depends on position"),
     (lambda _, x: x + torch.randn_like(x), "randn_like draws random numbers"),
     (lambda _, x: x - x.mean(0, keepdim=True), "mean joins several values"),
     (lambda _, x: F.scaled_dot_product_attention(x, x, x), "attention joins several values")],
)  # fmt: skip
@pytest.mark.parametrize("batch", [1, 2])
def test_what_is_left_out_is_told_once_with_its_layer(act, words, batch):
    decoder, message = told(act, size=(batch, *SIZE[1:]))
    assert words in message
    assert message.startswith("mirror_decoder: 1 step of the encoder is not")
    assert len(decoder) == 2


def test_the_warning_tells_all_and_where_they_are_called():
    _, message = told(lambda _, x: turned(turned(x)))
    assert message.startswith("mirror_decoder: 2 steps of the encoder are not")
    assert message.count("test_activations.py") == 2 or message.count("encoders.py") == 2


def turned(x):
    return x.flip(2)


@pytest.mark.parametrize(
    "act",
    [lambda _, x: x.flip(1), lambda _, x: x[:, torch.tensor([7, 6, 5, 4, 3, 2, 1, 0])],
     lambda _, x: F.adaptive_avg_pool2d(x, 8), lambda _, x: F.dropout(x, 0.5),
     lambda _, x: x * 2 - 1, lambda _, x: x.float().contiguous().detach(),
     lambda _, x: x + torch.arange(8.0)],
)  # fmt: skip
def test_what_the_next_weights_can_do_vanishes_without_a_word(act):
    decoder, message = told(act)
    assert (len(decoder), message) == (2, "")


def pooled(m, x):
    """A block whose last activation is one of vectors."""
    return torch.cat([m.b(m.act(m.a(x.mean((2, 3))))), x.amax((2, 3))], 1)


def test_a_block_whose_activations_fit_nowhere_is_told():
    layers = {"a": nn.Linear(8, 8), "b": nn.Linear(8, 4), "act": nn.PReLU(8)}
    decoder, message = told(None, nn.Sequential(conv(3, 8), Module(pooled, **layers)))
    assert "1: has activations of which none fits its stage; that has none" in message
    assert not any(isinstance(each, nn.PReLU) for each in decoder.modules())


def test_a_product_of_layers_within_a_block_is_no_activation():
    found, _ = block(lambda m, x: x + m.c(m.a(x) * m.b(x)), a=one(), b=one(), c=one())
    assert {type(each).__name__ for each in found} == {"AutoConvTranspose2d"}


def test_a_block_that_is_one_stage_loses_nothing():
    def pooled(m, x):
        return x + m.pool(m.norm(x))

    encoder, decoder = mirrored(pooled, pool=nn.AvgPool2d(3, 1, 1), norm=nn.BatchNorm2d(8))
    wanted = ["AutoConvTranspose2d", "AutoConvTranspose2d", "BatchNorm2d"]
    assert [type(each).__name__ for each in decoder[1]] == wanted
    assert decoder(encoder(torch.randn(SIZE))).shape == SIZE


def test_an_adjoint_names_the_gate_that_it_cannot_carry():
    encoder = nn.Sequential(conv(3, 16), nn.GLU(1), conv(8, 4))
    words = "1: a gate changes the number of channels.*one tap"
    with artifacts_allowed(), pytest.warns(autoup.MirrorWarning, match=words):
        decoder = mirror_decoder(encoder, SIZE, adjoint=True)
    assert decoder(encoder(torch.randn(SIZE))).shape == SIZE
    assert not any(isinstance(each, nn.GLU) for each in decoder)


def test_an_encoder_without_numbers_keeps_its_activations():
    def act(m, x):
        return m.prelu(m.snake.forward(m.snake(torch.where(x > 0, x, 0.1 * x) * m.beta)))

    layers = {"snake": Snake(8, 2), "prelu": nn.PReLU(8), "beta": nn.Parameter(torch.ones(8, 1, 1))}
    encoder = Module(lambda m, x: m.b(act(m, m.a(x))), a=conv(3, 8), b=conv(8, 4), **layers)
    wanted = [type(each).__name__ for each in between(mirror_decoder(encoder, SIZE))]
    decoder = mirror_decoder(encoder.to("meta"), SIZE)
    assert [type(each).__name__ for each in between(decoder)] == wanted
    assert {each.device.type for each in decoder.parameters()} == {"meta"}


def written_to(m, x):
    y = m.a(x)
    y.relu_()
    return m.b(y)


def viewed(m, x):
    y = m.a(x).relu_()
    return m.b(y.view(y.shape))


@pytest.mark.parametrize("run", [written_to, viewed])
def test_what_is_written_in_place_is_a_layer_of_its_own(run):
    decoder = mirror_decoder(Module(run, a=conv(3, 8), b=conv(8, 4)), SIZE)
    assert [type(each).__name__ for each in between(decoder)] == ["ReLU"]


def test_casts_that_change_nothing_vanish():
    _, decoder = mirrored(lambda _, x: F.silu(x.float()).type_as(x))
    assert repr(between(decoder)[0]) == "SiLU()"


def test_a_cast_that_changes_something_stays():
    act = Of(lambda x: torch.sin(x.double()).to(x.dtype))
    _, decoder = mirrored(lambda _, x: act(x))
    (kept,) = between(decoder)
    assert repr(kept) == "Formula(to(sin(to(x, float64)), float32))"


SLOPES = torch.linspace(0.5, 2, 8).view(8, 1, 1)
FORMULAS = {
    "learned": lambda: Formula("x + sin(alpha * x) ** 2", {"alpha": nn.Parameter(SLOPES)}),
    "gate": lambda: Formula("tanh((a := chunk(x, 2, 1))[0]) * sigmoid(a[1])", {}),
    "parts": lambda: Formula("silu(x[:, :4]) * x[:, 4:]", {}),
    "where": lambda: Formula("where(x > 0, x, slope * x) + zeros_like(x)", {"slope": SLOPES}),
    "joined": lambda: Formula("cat([relu(x), relu(-x)], 1)", {}),
    "cast": lambda: Formula("to(round(detach(x)), float32) + clamp(x, None, 6.0)", {}),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:.torch.jit")
@pytest.mark.parametrize("name", FORMULAS)
def test_a_formula_is_copied_saved_and_scripted(name):
    formula, x = FORMULAS[name](), torch.randn(2, 8, 3, 3)
    formula.eval().register_forward_hook(passing)
    wanted = formula(x)
    file = io.BytesIO()
    torch.save(nn.Sequential(formula), file)
    file.seek(0)
    for made in (
        copy.deepcopy(formula), copy.copy(formula), pickle.loads(pickle.dumps(formula)),
        torch.load(file, weights_only=False)[0],
    ):  # fmt: skip
        assert torch.equal(made(x), wanted)
        assert repr(made) == str(made) == repr(formula)
        assert (made.training, len(made._forward_hooks)) == (False, 1)
    assert copy.deepcopy(formula).state_dict().keys() == formula.state_dict().keys()
    assert all(
        one is not other
        for one, other in zip(copy.deepcopy(formula).buffers(), formula.buffers(), strict=True)
    )
    one, same = copy.deepcopy([formula, formula])
    assert one is same
    scripted = torch.jit.script(FORMULAS[name]())
    scripted.load_state_dict(formula.state_dict())
    assert torch.equal(scripted(x), wanted)
    if name != "cast":
        assert formula.half()(x.half()).dtype == torch.float16
    assert formula.to("meta")(x.to("meta")).shape == wanted.shape


def passing(_module, _inputs, made):
    return made


@pytest.mark.parametrize("name", FORMULAS)
@pytest.mark.parametrize("strict", [True, False])
def test_a_formula_is_exported_at_any_batch_size(name, strict):
    formula, x = FORMULAS[name](), torch.randn(2, 8, 3, 3)
    batch = {0: torch.export.Dim("batch", min=1, max=64)}
    program = torch.export.export(
        nn.Sequential(formula), (x,), dynamic_shapes=(batch,), strict=strict
    )
    x = torch.randn(5, 8, 3, 3)
    torch.testing.assert_close(program.module()(x), formula(x))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("name", FORMULAS)
def test_a_formula_compiles_and_exports_to_onnx(name):
    import onnxruntime

    formula, x = FORMULAS[name]().eval(), torch.randn(2, 8, 3, 3)
    compiled = torch.compile(formula, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x), formula(x))
    proto = torch.onnx.export(formula, (x,), dynamo=True, verbose=False).model_proto
    session = onnxruntime.InferenceSession(proto.SerializeToString())
    (made,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    torch.testing.assert_close(torch.from_numpy(made), formula(x).detach())


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_audio_codecs_keep_their_activations():
    from support.backbones import import_torchvision

    import_torchvision()
    from transformers.models.dac.modeling_dac import DacConfig, DacEncoder

    encoder = DacEncoder(DacConfig(encoder_hidden_size=8, downsampling_ratios=[2, 4]))
    for name, value in encoder.named_parameters():
        if name.endswith("alpha"):
            nn.init.uniform_(value, 0.5, 2)
    decoder = mirror_decoder(encoder, (1, 1, 512))
    assert torch.equal(decoder.block_1_snake1.alpha, encoder.block[1].snake1.alpha)
    assert torch.equal(decoder.snake1.alpha, encoder.snake1.alpha)
    snakes = [each for each in encoder.modules() if type(each).__name__ == "Snake1d"]
    kept = [each for each in decoder.modules() if type(each).__name__ == "Snake1d"]
    assert len(kept) >= 3 + 6 - 1
    assert len(snakes) == 2 * 6 + 3


@pytest.mark.parametrize(
    ("act", "told"),
    [(lambda m, x: m.a(x) + torch.randn_like(x) * torch.exp(m.b(x) / 2), "draws random numbers"),
     (lambda m, x: x + torch.randn(len(x), 8, 1, 1) * m.a(x).sigmoid(), "draws random numbers"),
     (lambda m, x: torch.fft.rfft2(m.a(x)).abs(), "works on frequencies")],
)  # fmt: skip
def test_chance_and_spectra_are_told_and_no_activation_comes_of_them(act, told):
    encoder = nn.Sequential(conv(3, 8), Module(act, a=one(), b=one()), conv(8, 4))
    with artifacts_allowed(), pytest.warns(autoup.MirrorWarning, match=told):
        decoder = mirror_decoder(encoder, SIZE)
    assert decoder(encoder(torch.randn(SIZE))).shape == SIZE
    assert not any(each for each in repr(decoder).split() if each in ("exp", "Sigmoid()"))


def test_a_code_that_is_sampled_is_told():
    def sample(m, x):
        mean, log_variance = m.a(x).chunk(2, 1)
        return mean + torch.randn_like(mean) * torch.exp(log_variance / 2)

    with pytest.warns(autoup.MirrorWarning, match="draws random numbers"):
        decoder = mirror_decoder(Module(sample, a=conv(3, 8)), SIZE)
    assert decoder(torch.randn(2, 4, 8, 8)).shape == SIZE


def test_copied_parameters_learn_where_the_encoder_is_frozen():
    layers = [conv(3, 8), nn.PReLU(8), conv(8, 8), Snake(8, 2), conv(8, 4)]
    encoder = nn.Sequential(*layers).requires_grad_(False)
    decoder = mirror_decoder(encoder, SIZE)
    assert all(each.requires_grad for each in decoder.parameters())
    assert not any(each.requires_grad for each in encoder.parameters())
    with artifacts_allowed():
        tied = mirror_decoder(encoder, SIZE, adjoint=True, tied=True)
    assert not tied[0].weight.requires_grad
