from itertools import product
from math import prod

import pytest
import torch
from support.oracle import phase_sums

from autoup.init import phase_equal_


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


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize(("kernel", "stride"), [(2, 2), (4, 2), (3, 1), (9, 3)])
def test_variance_follows_the_fan_in_of_a_transposed_convolution(groups, kernel, stride):
    torch.manual_seed(0)
    weight = phase_equal_(torch.empty(64, 64 // groups, kernel, kernel), stride, groups)
    fan_in = 64 / groups * prod([kernel / stride] * 2)
    assert weight.var() * fan_in == pytest.approx(1, rel=0.1)


def test_returns_the_tensor_and_follows_the_generator():
    weight = torch.empty(4, 3, 4, 4)
    drawn = [phase_equal_(weight, 2, generator=torch.Generator().manual_seed(s)) for s in (1, 1, 2)]
    assert all(each is weight for each in drawn)
    first, second, third = (
        phase_equal_(torch.empty(4, 3, 4, 4), 2, generator=torch.Generator().manual_seed(s))
        for s in (1, 1, 2)
    )
    assert torch.equal(first, second)
    assert not torch.equal(first, third)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.complex64])
def test_other_dtypes(dtype):
    weight = phase_equal_(torch.empty(4, 3, 4, 4, dtype=dtype), 2)
    assert torch.equal(weight[:, :, ::2], weight[:, :, 1::2])


def test_works_on_meta_parameters_that_need_gradients():
    weight = torch.nn.Parameter(torch.empty(4, 3, 3, 3, device="meta"))
    assert phase_equal_(weight, 2) is weight


def test_a_kernel_smaller_than_the_stride_is_filled_evenly():
    weight = phase_equal_(torch.empty(4, 3, 2), 5)
    assert torch.equal(weight[..., 0], weight[..., 1])


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: phase_equal_([1.0], 2), TypeError, "weight must be a tensor, got .1.0."),
        (lambda: phase_equal_(torch.empty(4, 3), 2), ValueError, r"got \(4, 3\)"),
        (lambda: phase_equal_(torch.empty(4, 3, 2), 0), ValueError, "stride must be at least 1"),
        (lambda: phase_equal_(torch.empty(4, 3, 2), 2.0), TypeError, "stride must be an int"),
        (lambda: phase_equal_(torch.empty(4, 3, 2), (2, 2)), ValueError, "stride .* 1 entries"),
        (lambda: phase_equal_(torch.empty(4, 3, 2), 2, 3), ValueError, r"groups \(3\) .* \(4\)"),
        (lambda: phase_equal_(torch.empty(4, 3, 2), 2, 0), ValueError, "groups must be at least 1"),
    ],
)
def test_bad_input(call, error, words):
    with pytest.raises(error, match=words):
        call()
