import copy
import io
import math
import pickle
from functools import partial
from itertools import product

import pytest
import torch
from support.costs import Operators, count_bytecodes
from support.oracle import AUTO, PLAIN, artifacts_allowed
from torch import nn

import autoup
from autoup import AutoConvTranspose2d
from autoup.init import lecun_uniform_, phase_equal_

SIZES = [(1, 1), (1, 7), (4, 8), (5, 15), (6, 13), (7, 15), (7, 16), (9, 10)]


def build(dims, in_size, out_size, **options):
    with artifacts_allowed():
        return AUTO[dims](4, 2, in_size, out_size, **options)


def plain_like(layer):
    """Return PyTorch's layer with the same arguments, built without autoup's help."""
    dims = len(layer.kernel_size)
    return PLAIN[dims](
        layer.in_channels,
        layer.out_channels,
        layer.kernel_size,
        stride=layer.stride,
        padding=layer.padding,
        output_padding=layer.output_padding,
        groups=layer.groups,
        bias=layer.bias is not None,
        dilation=layer.dilation,
        dtype=layer.weight.dtype,
    )


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_every_layer_gives_exactly_out_size(dims):
    axes = SIZES if dims > 1 else [(i, o) for i in range(1, 30) for o in range(i, 60)]
    for pairs in product(axes, repeat=dims):
        in_size, out_size = zip(*pairs, strict=True)
        layer = build(dims, in_size, out_size, device="meta")
        assert (layer.in_size, layer.out_size) == (in_size, out_size)
        made = layer(torch.empty(2, 4, *in_size, device="meta"))
        assert made.shape == (2, 2, *out_size)


@pytest.mark.parametrize("channels", [(1, 1, 1), (3, 5, 1), (8, 4, 4), (6, 6, 6), (6, 12, 6)])
@pytest.mark.parametrize("bias", [True, False])
def test_channels_and_groups(channels, bias):
    in_channels, out_channels, groups = channels
    layer = AutoConvTranspose2d(in_channels, out_channels, 5, 10, groups=groups, bias=bias)
    assert layer.weight.shape == (in_channels, out_channels // groups, 2, 2)
    assert (layer.bias is not None) == bias
    assert layer(torch.randn(2, in_channels, 5, 5)).shape == (2, out_channels, 10, 10)


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_agrees_with_the_plain_layer_on_every_kind_of_input(dims):
    for (i, o), init in product(SIZES, ("phase_equal", "torch")):
        layer = build(dims, i, o, init=init, dtype=torch.float64)
        plain = plain_like(layer)
        plain.load_state_dict(layer.state_dict(), strict=True)
        batch = torch.randn(3, 4, *(i,) * dims, dtype=torch.float64)
        strided = torch.randn(3, *(2 * i,) * dims, 4, dtype=torch.float64).movedim(-1, 1)
        for x in (batch, batch[0], batch[:0], strided[(..., *(slice(None, None, 2),) * dims)]):
            made = layer(x)
            assert torch.equal(made, plain(x))
            assert made.shape[-dims:] == (o,) * dims


@pytest.mark.parametrize(
    ("init", "fill_"),
    [("damped", partial(lecun_uniform_, grid=0.4)), ("lecun_uniform", lecun_uniform_),
     ("phase_equal", phase_equal_)],
)  # fmt: skip
def test_starts_as_the_function_of_that_name_fills_it(init, fill_):
    for options in ({"groups": 2}, {"stride": 4, "dilation": 2}):
        torch.manual_seed(0)
        with artifacts_allowed():
            layer = AutoConvTranspose2d(4, 2, 7, 28, init=init, **options)
        stride = 4 // math.gcd(4, layer.dilation[0])
        torch.manual_seed(0)
        weight = fill_(torch.empty_like(layer.weight), stride, layer.groups)
        assert torch.equal(layer.weight, weight)
        assert not layer.bias.any()


def test_gradients_agree_with_the_plain_layer():
    layer = build(2, 7, 15, dtype=torch.float64)
    plain = plain_like(layer)
    plain.load_state_dict(layer.state_dict())
    x = torch.randn(2, 4, 7, 7, dtype=torch.float64, requires_grad=True)
    for each in (layer, plain):
        each(x).square().sum().backward()
    assert torch.equal(layer.weight.grad, plain.weight.grad)
    assert torch.equal(layer.bias.grad, plain.bias.grad)


def test_stays_fully_convolutional_and_takes_output_size():
    layer = AutoConvTranspose2d(4, 2, 7, 14)
    assert layer(torch.randn(1, 4, 9, 30)).shape == (1, 2, 18, 60)
    assert layer(torch.randn(1, 4, 7, 7), output_size=(15, 14)).shape == (1, 2, 15, 14)
    assert layer(torch.randn(1, 4, 7, 7), [15, 15]).shape == (1, 2, 15, 15)


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_is_the_plain_layer_to_isinstance_and_to_state_dict(dims):
    layer = build(dims, 5, 10)
    assert isinstance(layer, PLAIN[dims])
    assert PLAIN[dims] in type(layer).__bases__
    assert not list(layer.children())
    assert list(layer.state_dict()) == ["weight", "bias"]
    plain = plain_like(layer)
    layer.load_state_dict(plain.state_dict(), strict=True)
    assert torch.equal(layer.weight, plain.weight)


@pytest.mark.parametrize("mirrored", [False, True])
def test_survives_deepcopy_pickle_and_torch_save(mirrored):
    if mirrored:
        layer = AutoConvTranspose2d.mirror(nn.Conv2d(2, 4, 3, 2, 1), 14)
    else:
        layer = AutoConvTranspose2d(4, 2, 7, 14)
    saved = io.BytesIO()
    torch.save(layer, saved)
    saved.seek(0)
    twins = [
        copy.deepcopy(layer),
        pickle.loads(pickle.dumps(layer)),
        torch.load(saved, weights_only=False),
    ]
    x = torch.randn(2, 4, 7, 7)
    for twin in twins:
        assert repr(twin) == repr(layer)
        assert twin.solutions == layer.solutions
        assert torch.equal(twin(x), layer(x))
        assert twin.weight is not layer.weight


def test_state_loads_with_weights_only():
    layer, other = (AutoConvTranspose2d(4, 2, 7, 14) for _ in range(2))
    saved = io.BytesIO()
    torch.save(layer.state_dict(), saved)
    saved.seek(0)
    other.load_state_dict(torch.load(saved, weights_only=True), strict=True)
    assert torch.equal(other.weight, layer.weight)


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.complex64])
def test_torch_init_draws_the_numbers_of_the_plain_layer(dims, dtype):
    for options in ({}, {"groups": 2}, {"bias": False}, {"kernel_size": 3}, {"dilation": 3}):
        torch.manual_seed(3)
        layer = build(dims, 6, 12, init="torch", dtype=dtype, **options)
        after = torch.rand(1)
        torch.manual_seed(3)
        plain = plain_like(layer)
        assert torch.equal(torch.rand(1), after)
        assert torch.equal(layer.weight, plain.weight)
        assert (layer.bias is None) or torch.equal(layer.bias, plain.bias)


def test_torch_init_survives_reset_parameters():
    layer = AutoConvTranspose2d(4, 2, 7, 14, init="torch")
    plain = plain_like(layer)
    for each in (layer, plain):
        torch.manual_seed(5)
        each.reset_parameters()
    assert torch.equal(layer.weight, plain.weight)


PINS = [
    (24, {}),
    (24, {"kernel_size": 4}),
    (24, {"kernel_size": 3}),
    (24, {"dilation": 3}),
    (24, {"groups": 2}),
    (36, {"kernel_size": 5}),
    (36, {"kernel_size": 7, "dilation": 2}),
]


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize(("out_size", "pins"), PINS)
def test_phase_equal_layers_turn_a_constant_into_a_constant(dims, out_size, pins):
    layer = build(dims, 12, out_size, dtype=torch.float64, init="phase_equal", **pins)
    made = layer(torch.full((1, 4, *(12,) * dims), 2.0, dtype=torch.float64))
    inner = made[(..., *(slice(10, -10),) * dims)]
    mean = inner.mean(dim=tuple(range(2, 2 + dims)), keepdim=True)
    assert (inner - mean).abs().max() <= 1e-12
    assert mean.abs().min() > 1e-6, "the check is void on an output of zeros"


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("groups", [1, 4])
@pytest.mark.parametrize(("out_size", "pins"), [pins for pins in PINS if "groups" not in pins[1]])
def test_phase_equal_layers_keep_the_variance(dims, groups, out_size, pins):
    torch.manual_seed(0)
    with artifacts_allowed():
        layer = AUTO[dims](32, 32, 12, out_size, groups=groups, init="phase_equal", **pins)
    made = layer(torch.randn(4, 32, *(12,) * dims))
    assert 0.5 < made.var() < 2


def test_phase_equal_draws_by_the_phases_that_a_dilation_leaves():
    torch.manual_seed(0)
    with artifacts_allowed():
        layer = AutoConvTranspose2d(
            32, 32, 12, 48, kernel_size=4, stride=4, dilation=2, init="phase_equal"
        )
    made = layer(torch.randn(4, 32, 12, 12))
    reached = made[..., layer.padding[0] % 2 :: 2, layer.padding[1] % 2 :: 2]
    assert 0.5 < reached.var() < 2
    assert reached.count_nonzero() > 0.9 * made.count_nonzero()


def test_phase_equal_bias_starts_at_zero():
    assert not AutoConvTranspose2d(4, 2, 7, 14, init="phase_equal").bias.any()


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_to_plain_is_the_exact_type_with_a_copy_of_the_parameters(dims):
    for i, o in SIZES:
        layer = build(dims, i, o, bias=i % 2 == 0, dtype=torch.float64).eval()
        layer.weight.requires_grad_(False)
        plain = layer.to_plain()
        x = torch.randn(2, 4, *(i,) * dims, dtype=torch.float64)
        assert type(plain) is PLAIN[dims]
        assert torch.equal(plain(x), layer(x))
        assert (plain.training, plain.weight.requires_grad) == (False, False)
        with torch.no_grad():
            plain.weight.zero_()
        assert layer.weight.any()


def test_to_plain_draws_no_random_numbers():
    layer = AutoConvTranspose2d(4, 2, 7, 14)
    state = torch.get_rng_state()
    layer.to_plain()
    assert torch.equal(torch.get_rng_state(), state)


def test_device_and_dtype():
    layer = AutoConvTranspose2d(
        64, 32, (7, 13), (14, 26), bias=False, groups=2, dtype=torch.float64
    )
    assert layer.weight.dtype == torch.float64
    assert AutoConvTranspose2d(4, 2, 7, 14, device="meta").weight.is_meta
    skipped = nn.utils.skip_init(AutoConvTranspose2d, 4, 2, 7, 14)
    assert skipped(torch.zeros(1, 4, 7, 7)).shape == (1, 2, 14, 14)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_works_on_cuda():
    layer = AutoConvTranspose2d(4, 2, 7, 14, device="cuda")
    made = layer(torch.randn(2, 4, 7, 7, device="cuda"))
    assert made.shape == (2, 2, 14, 14)
    cpu = copy.deepcopy(layer).double().cpu()
    x = torch.randn(2, 4, 7, 7, dtype=torch.float64)
    assert torch.allclose(layer.double()(x.cuda()).cpu(), cpu(x))


def test_exports_as_one_transposed_convolution():
    layer, x = AutoConvTranspose2d(4, 2, 7, 14), torch.randn(2, 4, 7, 7)
    exported = torch.export.export(layer, (x,))
    assert torch.equal(exported.module()(x), layer(x))
    calls = [str(node.target) for node in exported.graph.nodes if node.op == "call_function"]
    assert calls == ["aten.conv_transpose2d.input"]


@pytest.mark.filterwarnings("ignore:.*torch.jit")
@pytest.mark.parametrize("mirrored", [False, True])
def test_scripts_and_traces_like_the_plain_layer(mirrored):
    if mirrored:
        layer = AutoConvTranspose2d.mirror(nn.Conv2d(2, 4, 3, 2, 1), 14)
    else:
        layer = AutoConvTranspose2d(4, 2, 7, 14)
    x = torch.randn(2, 4, 7, 7)
    assert torch.equal(torch.jit.script(layer)(x), layer(x))
    assert torch.equal(torch.jit.trace(layer, x)(x), layer(x))


def test_sizes_are_taken_as_int_tuple_list_or_torch_size():
    x = torch.zeros(1, 4, 7, 7)
    for in_size in (7, (7, 7), [7, 7], x.shape[2:]):
        assert AutoConvTranspose2d(4, 2, in_size, 14).in_size == (7, 7)


def test_pins_per_axis():
    layer = AutoConvTranspose2d(4, 2, 7, (14, 21), kernel_size=(4, 3), stride=(2, 3))
    assert (layer.kernel_size, layer.stride) == ((4, 3), (2, 3))
    assert [str(each) for each in layer.solutions] == [
        str(autoup.solve(7, 14, kernel_size=4)),
        str(autoup.solve(7, 21)),
    ]


def test_repr_tells_the_call_and_what_was_solved():
    with artifacts_allowed():
        layer = AutoConvTranspose2d(8, 4, 7, (15, 14), groups=2, bias=False, init="phase_equal")
        assert repr(layer) == (
            "AutoConvTranspose2d(8, 4, in_size=(7, 7), out_size=(15, 14), kernel_size=(4, 2), "
            "stride=(2, 2), padding=(1, 0), output_padding=(1, 0), groups=2, bias=False, "
            "init='phase_equal')"
        )


@pytest.mark.parametrize("channels", [(32, 1), (64, 32)])
def test_construction_costs_little_more_than_that_of_the_plain_layer(channels):
    """Sizes that were solved once are not solved again, and torch does the same for both."""

    def plain():
        nn.ConvTranspose2d(*channels, 2, stride=2)

    def auto():
        AutoConvTranspose2d(*channels, 14, 28, init="torch")

    auto()
    with Operators() as ours:
        auto()
    with Operators() as theirs:
        plain()
    assert ours.names == theirs.names != []
    assert count_bytecodes(auto) < 1.15 * count_bytecodes(plain)


def test_subclasses_keep_their_own_constructor():
    class Named(AutoConvTranspose2d):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            self.note = "kept"

    mirrored = Named.mirror(nn.Conv2d(1, 4, 3, 2, 1), 28, adjoint=False)
    assert (type(mirrored), mirrored.note) == (Named, "kept")
