"""Zero taps keep the function, in integers."""

from itertools import product

import torch
from torch.nn import functional as F  # noqa: N812

from autoup.repairing.growth import grow


def test_keeps_the_function_for_all_small_layers():
    for k, s, d in product(range(1, 7), range(1, 6), range(1, 4)):
        for p, a, even in product(range(d * (k - 1) + 2), range(max(s, d)), (True, False)):
            found = grow(k, s, p, a, d, even=even)
            x = torch.randn(1, 1, 4 + p, dtype=torch.float64)
            weight = torch.randn(1, 1, k, dtype=torch.float64)
            wide = torch.zeros(1, 1, found.kernel_size, dtype=torch.float64)
            end = found.kernel_size - found.behind
            wide[..., found.front : end : found.spacing] = weight
            before = F.conv_transpose1d(x, weight, None, s, p, a, 1, d)
            after = F.conv_transpose1d(
                x, wide, None, s, found.padding, found.output_padding, 1, found.dilation
            )
            assert torch.allclose(before, after, rtol=0, atol=1e-12), (k, s, p, a, d, even)


def test_leaves_output_padding_only_for_even_strides_and_odd_outputs():
    for k, s in product(range(1, 9), range(1, 7)):
        for p, a in product(range(k), range(s)):
            found = grow(k, s, p, a)
            no_even_kernel = s % 2 == 0 and (k + a) % 2 == 1
            assert found.output_padding == (1 if no_even_kernel and a else 0)
            if found.kernel_size % s:
                assert no_even_kernel
                assert a == 0
                assert found.kernel_size == k
            assert grow(k, s, p, a, even=False).output_padding == 0


def test_takes_the_smallest_kernel():
    """Every smaller multiple of the stride fails for want of taps, parity or cover."""
    for k, s in product(range(1, 8), range(1, 6)):
        for p, a in product(range(k), range(s)):
            found = grow(k, s, p, a)
            if found.kernel_size % s:
                continue
            for wide in range(s, found.kernel_size, s):
                front, rest = divmod(wide - k - a + found.output_padding, 2)
                fits = front >= 0 and rest == 0 and wide - k - front >= 0
                covered = p + front >= found.output_padding
                assert not (fits and covered), (k, s, p, a, wide)
