"""Initialisation of upsampling layers, in the manner of ``torch.nn.init``."""

from collections.abc import Callable, Sequence
from math import prod, sqrt
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from autoup.checks import as_int, per_axis, shuffle_phases
from autoup.kernels import join_phases, split_phases

Conv = TypeVar("Conv", bound=nn.Conv1d | nn.Conv2d | nn.Conv3d)


def lecun_uniform_(
    weight: Tensor,
    stride: int | Sequence[int],
    groups: int = 1,
    generator: torch.Generator | None = None,
    *,
    grid: float = 1.0,
) -> Tensor:
    """Fill the weight of a transposed convolution so that its output keeps the input's variance.

    The taps are uniform in ``[-b, b]`` with ``b = sqrt(3 / fan_in)`` (LeCun et al. 1998): inputs
    of unit variance, independent of each other, give outputs of unit variance. ``fan_in`` is the
    number of weights that feed one output value, ``in_channels / groups`` times
    ``kernel_size / stride`` for every axis, the mean of all phases. PyTorch's own default counts
    ``out_channels * kernel_size`` instead.

    Independent taps make the sums of the phases differ, a grid on constant inputs. ``grid`` damps
    that, and variance with it: ``grid=0.4``, which is ``init="damped"`` of the layers, leaves
    0.84 of it for ``k4 s2`` in two dimensions, and 0.37 for ``k2 s2``.

    Args:
        weight: The weight, changed in place.
        stride: Stride of the layer, in pixels; an int or one per axis. With a dilation d,
            give ``stride // gcd(stride, d)``.
        groups: Groups of the layer.
        generator: Source of random numbers; PyTorch's default generator when left out.
        grid: Share of the deviation of the phase sums from their mean that stays, in [0, 1].

    Returns:
        ``weight``.

    Raises:
        TypeError: ``weight`` is not a tensor, or a number is not one.
        ValueError: ``weight`` has no spatial axis, ``groups`` does not divide its first
            dimension, or ``grid`` is out of range.

    Shape:
        - weight: ``(in_channels, out_channels / groups, *kernel_size)``

    Example:
        >>> weight = lecun_uniform_(torch.empty(8, 4, 4, 4), stride=2)
        >>> bool(weight.abs().max() <= (3 / (8 * 2 * 2)) ** 0.5)
        True
    """
    kernel_size, strides, inputs = _read(weight, stride, groups)
    if isinstance(grid, bool) or not isinstance(grid, int | float):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"grid must be a number, got {grid!r} of type {type(grid).__name__}.")
    if not 0 <= grid <= 1:
        raise ValueError(f"grid must be in [0, 1], got {grid}.")
    bound = sqrt(3 * prod(strides) / max(1, inputs * prod(kernel_size)))
    with torch.no_grad():
        # Of a sharded weight, a DTensor, every process draws the whole: hence another shape.
        is_whole = weight.is_contiguous() and not hasattr(weight, "to_local")
        drawn = weight if is_whole else weight.new_empty((1, *weight.shape))
        drawn.uniform_(-bound, bound, generator=generator)
        phases = [min(k, s) for k, s in zip(kernel_size, strides, strict=True)]  # Those with taps.
        if grid < 1 and prod(phases) > 1:
            own: Tensor = drawn if is_whole else getattr(drawn, "to_local", lambda: drawn)()[0]
            own.copy_(_damped(own, phases, 1 - grid))
        return weight if is_whole else weight.copy_(drawn.squeeze(0))


def phase_equal_(
    weight: Tensor,
    stride: int | Sequence[int],
    groups: int = 1,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Fill the weight of a transposed convolution so that its output starts without a grid.

    Every phase of the kernel (the taps a stride apart) gets the same sum, so a constant
    input gives a constant output. Along each axis ``ceil(kernel_size / stride)`` taps are
    drawn; each fills a box of ``stride`` equal taps, and the boxes lie end to end. That is
    ICNR (Aitken et al. 2017, arXiv 1707.02937) for a transposed convolution. Where the
    kernel is not a multiple of the stride the boxes overlap and add up instead of being cut
    off, which keeps the sums equal. A kernel smaller than the stride leaves phases without
    taps, which no value can make equal.

    The taps are uniform in ``[-b, b]`` with ``b = sqrt(3 / fan_in)``, so that independent
    inputs of unit variance give outputs of unit variance. ``fan_in`` is the number of
    weights that feed one output value, ``in_channels / groups`` times the drawn taps;
    PyTorch's own default counts ``out_channels * kernel_size`` instead.

    Args:
        weight: The weight, changed in place.
        stride: Stride of the layer, in pixels; an int or one per axis. With a dilation d,
            give ``stride // gcd(stride, d)``.
        groups: Groups of the layer.
        generator: Source of random numbers; PyTorch's default generator when left out.

    Returns:
        ``weight``.

    Raises:
        TypeError: ``weight`` is not a tensor, or a number is not an int.
        ValueError: ``weight`` has no spatial axis, or ``groups`` does not divide its first
            dimension.

    Shape:
        - weight: ``(in_channels, out_channels / groups, *kernel_size)``

    Example:
        >>> weight = phase_equal_(torch.empty(8, 4, 3, 3, dtype=torch.float64), 2)
        >>> rows = weight[:, :, 0::2].sum(2), weight[:, :, 1::2].sum(2)
        >>> torch.allclose(*rows)
        True
    """
    kernel_size, strides, inputs = _read(weight, stride, groups)
    drawn = [-(-k // s) for k, s in zip(kernel_size, strides, strict=True)]
    bound = sqrt(3 / max(1, inputs * prod(drawn)))
    with torch.no_grad():
        kernel = weight.new_empty((*weight.shape[:2], *drawn))
        kernel.uniform_(-bound, bound, generator=generator)
        for axis, (k, s) in enumerate(zip(kernel_size, strides, strict=True), start=2):
            kernel = _lay_boxes(kernel, axis, k, s)
        return weight.copy_(kernel)


def icnr_(
    conv: Conv,
    upscale_factor: int | Sequence[int],
    initializer: Callable[..., object] | None = None,
    generator: torch.Generator | None = None,
) -> Conv:
    """Fill a convolution before a ``PixelShuffle`` so that both start as nearest enlargement.

    ICNR (Aitken et al. 2017, arXiv 1707.02937): a smaller convolution is drawn, with one channel
    for each that the shuffle makes, and every kernel is copied to the ``prod(upscale_factor)``
    neighbouring channels that become its phases. The output then is that of the smaller
    convolution, enlarged by repeating its pixels, so that no input brings a grid. The bias becomes
    zero: one drawn for each phase is a grid of its own. Training makes the phases unequal again.

    The layout is that of ``nn.PixelShuffle``, channel ``c * phases + phase``, in any dimension and
    any order of the phases. Others, as TensorFlow's ``depth_to_space`` (``phase * channels + c``),
    need another start. So do layers that change channels in different ways between the two, such
    as a trained ``BatchNorm2d``.

    Args:
        conv: The convolution, changed in place. What derives its weight (weight norm, pruning)
            comes after.
        upscale_factor: Of the shuffle, in pixels; an int or one per axis.
        initializer: Fills the kernel of the smaller convolution in place, as
            ``torch.nn.init.kaiming_normal_`` does. When left out, weights are uniform in
            ``[-b, b]`` with ``b = sqrt(3 / fan_in)``, so that independent inputs of unit variance
            give outputs of unit variance.
        generator: Source of random numbers, passed on to ``initializer``; PyTorch's default
            generator when left out.

    Returns:
        ``conv``.

    Raises:
        TypeError: ``conv`` is no convolution, or ``upscale_factor`` no int and no sequence of them.
        ValueError: ``out_channels`` is not a multiple of the phases times the groups, ``conv`` is
            lazy, its weight or bias is derived, or ``initializer`` leaves values unset. Nothing
            has changed then.

    Shape:
        - kernel that is drawn: ``(out_channels / phases, in_channels / groups, *kernel_size)``

    Example:
        >>> import autoup
        >>> up = nn.Sequential(icnr_(nn.Conv2d(64, 128, 3, padding=1), 2), nn.PixelShuffle(2))
        >>> autoup.phase_spread(up) < 1e-6, autoup.is_icnr(up[0], 2)
        (True, True)
    """
    weight, bias = _parameters(conv)
    dims = weight.ndim - 2
    phases = prod(shuffle_phases(upscale_factor, weight.shape[0], conv.groups, dims))
    with torch.no_grad():
        kernel = weight.new_full((weight.shape[0] // phases, *weight.shape[1:]), torch.nan)
        fill, given = initializer or _keep_variance_, {"generator": generator} if generator else {}
        fill(kernel, **given)
        if not kernel.is_meta and kernel.isnan().any():
            raise ValueError(
                f"initializer ({getattr(fill, '__name__', fill)}) must fill the tensor that it is "
                "given in place, and left values unset, or NaN."
            )
        weight.copy_(kernel.repeat_interleave(phases, 0))
        if bias is not None:
            bias.zero_()
    return conv


def _parameters(conv: Any) -> tuple[Tensor, Tensor | None]:
    """Return weight and bias of a convolution where a change to them lasts."""
    if not isinstance(conv, nn.Conv1d | nn.Conv2d | nn.Conv3d):
        rest = ": pass the module, whose bias starts too" if isinstance(conv, Tensor) else ""
        raise TypeError(
            f"conv must be an nn.Conv1d, nn.Conv2d or nn.Conv3d, got {type(conv).__name__}{rest}."
        )
    own: dict[str, Any] = vars(conv)["_parameters"]  # To ask for a derived weight may change it.
    for name in ("weight", "bias"):
        if name not in own:
            raise ValueError(
                f"conv.{name} is derived, by a parametrisation, a norm or pruning, and what is "
                "written to it is lost: call icnr_ before that is put on, or remove it first."
            )
    if is_lazy(own["weight"]):
        raise ValueError("conv is lazy and has no weight yet: pass one batch through it first.")
    return own["weight"], own["bias"]


def _keep_variance_(kernel: Tensor, generator: torch.Generator | None = None) -> None:
    bound = sqrt(3 / max(1, kernel[0].numel()))
    kernel.uniform_(-bound, bound, generator=generator)


def _read(
    weight: object, stride: int | Sequence[int], groups: int
) -> tuple[tuple[int, ...], tuple[int, ...], int]:
    """Return kernel size, stride, and how many channels feed one output channel."""
    if not isinstance(weight, Tensor):
        raise TypeError(f"weight must be a tensor, got {weight!r} of type {type(weight).__name__}.")
    if weight.ndim < 3:
        raise ValueError(
            "weight must have shape (in_channels, out_channels / groups, *kernel_size), "
            f"got {tuple(weight.shape)}."
        )
    kernel_size, in_channels = tuple(weight.shape[2:]), weight.shape[0]
    strides = tuple(stride) if isinstance(stride, Sequence) else stride
    strides = per_axis("stride", strides, len(kernel_size))
    if in_channels % as_int("groups", groups):
        raise ValueError(f"groups ({groups}) must divide in_channels ({in_channels}).")
    return kernel_size, strides, in_channels // groups


def _damped(weight: Tensor, strides: Sequence[int], share: float) -> Tensor:
    """Return a weight without a share of the deviation of its phase sums from their mean."""
    kernel_size, dims = weight.shape[2:], weight.ndim - 2
    wide = weight.to(torch.promote_types(weight.dtype, torch.float32))
    taps, phases = tuple(range(2, 2 * dims + 2, 2)), tuple(range(3, 2 * dims + 2, 2))
    split = split_phases(wide, kernel_size, strides)
    ones = wide.new_ones((1, 1, *kernel_size))
    inverse = 1 / split_phases(ones, kernel_size, strides).sum(taps, keepdim=True)
    means = split.sum(taps, keepdim=True) * inverse
    middle = means.sum(phases, keepdim=True) / inverse.sum(phases, keepdim=True)
    return join_phases(split - share * (means - middle * inverse), kernel_size, strides)


def _lay_boxes(taps: Tensor, axis: int, k: int, s: int) -> Tensor:
    """Spread each tap along ``axis`` over a box of s taps, from the front to the back of k."""
    count = taps.shape[axis]
    if s == 1 or count == 1:
        return taps.expand(*taps.shape[:axis], k, *taps.shape[axis + 1 :])
    kernel = taps.new_zeros((*taps.shape[:axis], k, *taps.shape[axis + 1 :]))
    for j in range(count):
        start = max(0, k - s) * j // max(1, count - 1)
        kernel.narrow(axis, start, min(s, k)).add_(taps.narrow(axis, j, 1))
    return kernel
