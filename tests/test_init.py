from itertools import product
from math import prod

import pytest
import torch
from support.comparing import quietly
from support.oracle import CONV, phase_sums
from torch import nn
from torch.nn.utils import parametrizations, prune

from autoup.init import icnr_, lecun_uniform_, phase_equal_
from autoup.layers.smoothness import make_projectors, project

BOTH = pytest.mark.parametrize("fill_", [phase_equal_, lecun_uniform_])


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("stride", [1, 2, 3, 4, 5])
def test_all_phases_have_the_same_sum(dims, stride):
    for kernel in range(stride, min(4 * stride, 12 if dims == 3 else 20) + 1):
        weight = phase_equal_(torch.empty(4, 3, *(kernel,) * dims, dtype=torch.float64), stride)
        sums = phase_sums(weight, (stride,) * dims)
        assert (sums - sums[0]).abs().max() <= 1e-12 * sums.abs().max()
        assert sums.abs().min() > 0


def test_float32_sums_are_equal_to_a_millionth():
    for kernel, stride in product(range(2, 17), range(2, 5)):
        if kernel >= stride:
            sums = phase_sums(
                phase_equal_(torch.empty(16, 8, kernel, kernel), stride), (stride,) * 2
            )
            assert (sums - sums[0]).abs().max() <= 1e-6 * sums.abs().max()


def test_anisotropic_strides():
    weight = phase_equal_(torch.empty(4, 3, 4, 9, dtype=torch.float64), (2, 3))
    sums = phase_sums(weight, (2, 3))
    assert (sums - sums[0]).abs().max() <= 1e-12


def test_where_the_stride_divides_the_kernel_every_tap_fills_its_own_box():
    weight = phase_equal_(torch.empty(4, 3, 6, 4), (3, 2))
    taps = weight[:, :, ::3, ::2]
    repeated = taps.repeat_interleave(3, 2).repeat_interleave(2, 3)
    assert torch.equal(weight, repeated)
    assert taps.unique().numel() == taps.numel()


def test_stride_one_draws_every_tap():
    weight = phase_equal_(torch.empty(4, 3, 5, 5, dtype=torch.float64), 1)
    assert weight.unique().numel() == weight.numel()


@BOTH
@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize(("kernel", "stride"), [(2, 2), (4, 2), (3, 1), (9, 3)])
def test_variance_follows_the_fan_in_of_a_transposed_convolution(groups, kernel, stride, fill_):
    torch.manual_seed(0)
    weight = fill_(torch.empty(64, 64 // groups, kernel, kernel), stride, groups)
    fan_in = 64 / groups * prod([kernel / stride] * 2)
    assert weight.var() * fan_in == pytest.approx(1, rel=0.1)


@pytest.mark.parametrize(("kernel", "stride"), [(3, 2), (5, 3), (2, 3)])
def test_lecuns_variance_holds_where_the_stride_does_not_divide_the_kernel(kernel, stride):
    torch.manual_seed(0)
    layer = nn.ConvTranspose2d(256, 8, kernel, stride, bias=False)
    lecun_uniform_(layer.weight, stride)
    assert layer.weight.unique().numel() > 0.99 * layer.weight.numel(), "every tap is its own"
    inside = layer(torch.randn(2, 256, 40, 40)).detach()[..., 3 * stride : -3 * stride, :]
    inside = inside[..., 3 * stride : -3 * stride]
    size = inside.shape[-1] // stride * stride
    assert float(inside[..., :size, :size].var()) == pytest.approx(1, rel=0.1)


@pytest.mark.parametrize("grid", [0, 0.4, 1.0])
@pytest.mark.parametrize(
    ("kernel", "stride"), [((4,), (2,)), ((3, 4), (2, 2)), ((5, 2), (3, 1)), ((4, 4, 3), (2, 2, 2))]
)
def test_damping_leaves_that_share_of_the_deviation_of_the_phase_sums(kernel, stride, grid):
    drawn, damped = (
        lecun_uniform_(torch.empty(4, 3, *kernel, dtype=torch.float64), stride, grid=share,
                       generator=torch.Generator().manual_seed(0))
        for share in (1, grid)
    )  # fmt: skip
    before, after = phase_sums(drawn, stride), phase_sums(damped, stride)
    torch.testing.assert_close(after - after[0], grid * (before - before[0]))
    nearest = project(drawn, kernel, make_projectors(kernel, stride, 1, drawn))
    torch.testing.assert_close(damped, grid * drawn + (1 - grid) * nearest)


def test_damping_leaves_a_kernel_smaller_than_the_stride_finite():
    assert lecun_uniform_(torch.empty(4, 3, 2), 5, grid=0.4).isfinite().all()


@pytest.mark.parametrize(
    ("grid", "error"), [(1.5, ValueError), (-0.1, ValueError), ("0", TypeError), (True, TypeError)]
)
def test_a_share_out_of_range_is_refused(grid, error):
    weight = torch.zeros(4, 3, 2)
    with pytest.raises(error, match=f"grid must be .* got {grid!r}"):
        lecun_uniform_(weight, 2, grid=grid)
    assert not weight.any()


@BOTH
def test_returns_the_tensor_and_follows_the_generator(fill_):
    weight = torch.empty(4, 3, 4, 4)
    drawn = [fill_(weight, 2, generator=torch.Generator().manual_seed(s)) for s in (1, 1, 2)]
    assert all(each is weight for each in drawn)
    first, second, third = (
        fill_(torch.empty(4, 3, 4, 4), 2, generator=torch.Generator().manual_seed(s))
        for s in (1, 1, 2)
    )
    assert torch.equal(first, second)
    assert not torch.equal(first, third)


@pytest.mark.parametrize("grid", [0.4, 1.0])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_the_numbers_are_the_same_however_the_weight_lies(dtype, grid):
    shape, bound = (8, 3, 4, 4), (3 / (8 * 2 * 2)) ** 0.5
    drawn = torch.empty(shape, dtype=dtype)
    drawn.uniform_(-bound, bound, generator=torch.Generator().manual_seed(0))
    for weight in (
        torch.empty(shape, dtype=dtype),
        torch.empty(shape, dtype=dtype).contiguous(memory_format=torch.channels_last),
        torch.empty(3, 8, 4, 4, dtype=dtype).transpose(0, 1),
    ):
        stride = weight.stride()
        lecun_uniform_(weight, 2, grid=grid, generator=torch.Generator().manual_seed(0))
        if grid < 1:
            projected = project(drawn, (4, 4), make_projectors((4, 4), (2, 2), 1, drawn))
            expected = grid * drawn.double() + (1 - grid) * projected.double()
            torch.testing.assert_close(weight.double(), expected, rtol=0, atol=2e-3)
        else:
            assert torch.equal(weight, drawn)
        assert weight.stride() == stride


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.complex64])
def test_other_dtypes(dtype):
    weight = phase_equal_(torch.empty(4, 3, 4, 4, dtype=dtype), 2)
    assert torch.equal(weight[:, :, ::2], weight[:, :, 1::2])


@BOTH
def test_works_on_meta_parameters_that_need_gradients(fill_):
    weight = torch.nn.Parameter(torch.empty(4, 3, 3, 3, device="meta"))
    assert fill_(weight, 2) is weight


def test_a_kernel_smaller_than_the_stride_is_filled_evenly():
    weight = phase_equal_(torch.empty(4, 3, 2), 5)
    assert torch.equal(weight[..., 0], weight[..., 1])


@BOTH
@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda fill_: fill_([1.0], 2), TypeError, "weight must be a tensor, got .1.0."),
        (lambda fill_: fill_(torch.empty(4, 3), 2), ValueError, r"got \(4, 3\)"),
        (lambda fill_: fill_(torch.empty(4, 3, 2), 0), ValueError, "stride must be at least 1"),
        (lambda fill_: fill_(torch.empty(4, 3, 2), 2.0), TypeError, "stride must be an int"),
        (lambda fill_: fill_(torch.empty(4, 3, 2), (2, 2)), ValueError, "stride .* 1 entries"),
        (lambda fill_: fill_(torch.empty(4, 3, 2), 2, 3), ValueError, r"groups \(3\) .* \(4\)"),
        (lambda fill_: fill_(torch.empty(4, 3, 2), 2, 0), ValueError, "groups must be at least 1"),
    ],
)
def test_bad_input(call, error, words, fill_):
    with pytest.raises(error, match=words):
        call(fill_)


def shuffle(x, factors):
    """Lay channel ``c * phases + phase`` out pixel by pixel; phases count like a row of digits."""
    n, channels, *size = x.shape
    phases = [*product(*map(range, factors))]
    large = [i * r for i, r in zip(size, factors, strict=True)]
    made = torch.full((n, channels // len(phases), *large), torch.nan, dtype=x.dtype)
    for c in range(channels):
        offsets = phases[c % len(phases)]
        places = [slice(o, None, r) for o, r in zip(offsets, factors, strict=True)]
        made[:, c // len(phases), *places] = x[:, c]
    return made


def enlarge(x, factors):
    for axis, r in enumerate(factors, start=2):
        x = x.repeat_interleave(r, axis)
    return x


def test_the_slow_shuffle_is_pytorchs():
    x = torch.randn(2, 18, 3, 4)
    assert torch.equal(shuffle(x, (3, 3)), nn.PixelShuffle(3)(x))


FACTORS = [(2,), (5,), (2, 2), (3, 3), (2, 3), (1, 4), (2, 2, 2), (1, 2, 3), (3, 1, 1), (1, 1)]


@pytest.mark.parametrize("factors", FACTORS, ids=str)
@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("bias", [False, True])
def test_icnr_and_a_shuffle_are_nearest_enlargement_of_a_smaller_convolution(
    factors, kernel, groups, bias
):
    dims, drawn = len(factors), []
    settings = {"groups": groups, "padding": kernel // 2, "dtype": torch.float64}
    conv = CONV[dims](8, 4 * prod(factors), kernel, bias=bias, **settings)
    icnr_(conv, factors, lambda taps: drawn.append(taps.normal_().clone()))
    small = CONV[dims](8, 4, kernel, bias=False, **settings)
    small.weight.data.copy_(drawn[0])
    x = torch.randn(2, 8, *(4, 5, 3)[:dims], dtype=torch.float64)
    with torch.no_grad():
        expected = enlarge(small(x), factors)
        torch.testing.assert_close(shuffle(conv(x), factors), expected, rtol=0, atol=1e-13)
    assert conv.weight.unique().numel() == drawn[0].numel()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.complex64])
def test_icnr_repeats_neighbours_exactly_in_any_dtype(dtype):
    conv = icnr_(nn.Conv2d(4, 12, 3, dtype=dtype), 2)
    cells = conv.weight.unflatten(0, (3, 4))
    assert torch.equal(cells, cells[:, :1].expand_as(cells))
    assert not torch.equal(cells[0, 0], cells[1, 0])
    assert not conv.bias.any()


@pytest.mark.parametrize("groups", [1, 4])
@pytest.mark.parametrize("kernel", [1, 3])
def test_icnr_keeps_the_variance(groups, kernel):
    torch.manual_seed(0)
    conv = icnr_(nn.Conv2d(64, 256, kernel, groups=groups), 2)
    x = torch.randn(16, 64, 8, 8)
    with torch.no_grad():
        assert float(conv(x).var()) == pytest.approx(1, rel=0.1)
    assert conv.weight.abs().max() <= (3 / conv.weight[0].numel()) ** 0.5


def test_icnr_asks_the_initializer_for_the_smaller_kernel():
    shapes = []
    conv = nn.Conv2d(8, 36, (3, 5), groups=2)
    icnr_(conv, (2, 3), lambda taps: shapes.append(taps.shape) or nn.init.ones_(taps))
    assert shapes == [(6, 4, 3, 5)]
    torch.manual_seed(3)
    icnr_(conv, (2, 3), nn.init.kaiming_normal_)
    torch.manual_seed(3)
    drawn = nn.init.kaiming_normal_(torch.empty(6, 4, 3, 5))
    assert torch.equal(conv.weight, drawn.repeat_interleave(6, 0))


@pytest.mark.parametrize("initializer", [None, nn.init.orthogonal_])
def test_icnr_follows_the_generator_and_leaves_the_parameters_where_they_are(initializer):
    made = []
    for seed in (1, 1, 2):
        conv = nn.Conv1d(2, 4, 3)
        weight, bias, numbers = conv.weight, conv.bias.requires_grad_(False), torch.get_rng_state()
        done = icnr_(conv, 2, initializer, torch.Generator().manual_seed(seed))
        assert done is conv
        assert (conv.weight is weight, conv.bias is bias) == (True, True)
        assert (weight.requires_grad, bias.requires_grad) == (True, False)
        assert torch.equal(torch.get_rng_state(), numbers)
        made.append(weight)
    assert torch.equal(made[0], made[1])
    assert not torch.equal(made[0], made[2])


def test_icnr_works_on_the_meta_device():
    assert icnr_(nn.Conv2d(2, 4, 3, device="meta"), 2).weight.is_meta


DERIVED = {
    "weight norm": lambda conv: parametrizations.weight_norm(conv),
    "spectral norm": lambda conv: parametrizations.spectral_norm(conv),
    "parametrised bias": lambda conv: parametrizations.weight_norm(conv, "bias"),
    "old weight norm": lambda conv: quietly(lambda: nn.utils.weight_norm(conv)),
    "old spectral norm": lambda conv: quietly(lambda: nn.utils.spectral_norm(conv)),
    "pruning": lambda conv: prune.l1_unstructured(conv, "weight", 3),
    "pruned bias": lambda conv: prune.l1_unstructured(conv, "bias", 1),
}


@pytest.mark.parametrize("way", DERIVED)
def test_icnr_refuses_what_is_derived_and_changes_nothing(way):
    conv = nn.Conv2d(2, 8, 3)
    DERIVED[way](conv)
    before = {name: value.clone() for name, value in conv.state_dict().items()}
    name = "bias" if "bias" in way else "weight"
    with pytest.raises(ValueError, match=rf"conv.{name} is derived.*call icnr_ before"):
        icnr_(conv, 2)
    assert all(torch.equal(value, before[name]) for name, value in conv.state_dict().items())


@pytest.mark.parametrize("way", ["weight norm", "spectral norm", "old weight norm"])
def test_icnr_before_a_norm_is_put_on_lasts(way):
    conv = icnr_(nn.Conv2d(3, 8, 3).double(), 2)
    DERIVED[way](conv)
    made = conv(torch.randn(1, 3, 6, 6, dtype=torch.float64)).unflatten(1, (2, 4))
    assert (made - made[:, :1].mean(2, keepdim=True)).abs().max() > 0.01
    assert (made - made[:, :, :1]).abs().max() <= 1e-14


def raising(_):
    raise RuntimeError("no numbers today")


@pytest.mark.parametrize(
    ("conv", "arguments", "error", "words"),
    [
        (nn.Conv2d(2, 6, 3), (2,), ValueError, r"out_channels \(6\) .* 4 \(4 phases\) .* 4 and 8"),
        (nn.Conv2d(2, 6, 3), (3,), ValueError, r"6\) .* upscale_factor=3. The nearest is 9"),
        (nn.Conv1d(4, 4, 3, groups=4), (2,), ValueError, r"8 \(2 phases \* 4 groups\).*inputs.* 8"),
        (nn.Conv2d(2, 8, 3), ((2, 2, 2),), ValueError, "upscale_factor .* 2 entries"),
        (nn.Conv2d(2, 8, 3), (2.0,), TypeError, "upscale_factor must be an int, got 2.0"),
        (nn.Conv2d(2, 8, 3), (0,), ValueError, "upscale_factor must be at least 1"),
        (
            nn.Conv2d(2, 8, 3),
            (2, torch.rand_like),
            ValueError,
            r"initializer \(rand_like\) .* place",
        ),
        (nn.Conv2d(2, 8, 3), (2, raising), RuntimeError, "no numbers today"),
        (nn.LazyConv2d(8, 3), (2,), ValueError, "lazy"),
        (nn.ConvTranspose2d(2, 8, 3), (2,), TypeError, "got ConvTranspose2d"),
        (nn.Sequential(nn.Conv2d(2, 8, 3)), (2,), TypeError, "got Sequential"),
        (nn.Conv2d(2, 8, 3).weight, (2,), TypeError, "got Parameter: pass the module"),
    ],
)
def test_icnr_refuses_bad_input_and_changes_nothing(conv, arguments, error, words):
    state = conv.state_dict() if isinstance(conv, nn.Module) else {"": conv.data}
    before = {name: each if nn.parameter.is_lazy(each) else each.clone()
              for name, each in state.items()}  # fmt: skip
    with pytest.raises(error, match=words):
        icnr_(conv, *arguments)
    for name, each in state.items():
        assert nn.parameter.is_lazy(each) or torch.equal(each, before[name])
