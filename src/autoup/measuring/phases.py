"""How unequal the phases of an upsampling layer are."""

# PyTorch leaves fft, special and tolist without types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from collections.abc import Sequence
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from autoup.checks import shuffle_phases
from autoup.inspecting.modules import kernel_in_use
from autoup.inspecting.sites import CONV, TRANSPOSED


def phase_spread(layer: nn.Module) -> float:
    """Return how unequal the phase sums of a layer's kernel are; 0 means no grid on constants.

    Output pixels a stride apart form a phase: the same taps feed them. On a constant input a
    phase equals the bias plus the input times the sum of its taps, so that the output has no
    grid exactly where all phase sums are equal (Sugawara, Shiota & Kiya 2018, arXiv
    1806.02658). The spread is the standard deviation over the phases in units of the rms of
    the phase sums, both over all pairs of channels. Independent weights, PyTorch's start among
    them, give about ``sqrt(1 - 1 / phases)``, 0.87 for a stride of 2 in 2d.

    The kernel measured is the one in use: with ``smoothness`` its projection, with a
    parametrisation (weight_norm) what that makes. In a convolution before ``PixelShuffle`` every
    phase has channels of its own: their biases count too, as the weights of one more input
    channel held at 1. A ``BatchNorm2d`` between the two counts as in evaluation mode.

    Args:
        layer: ``nn.ConvTranspose1d``, ``2d`` or ``3d``, an ``AutoConvTranspose``, or
            ``nn.Sequential(nn.Conv2d(...), nn.PixelShuffle(r))``, with a ``BatchNorm2d``
            between them or not.

    Returns:
        The spread, a ratio in [0, 1]; 0 for a stride of 1.

    Raises:
        TypeError: ``layer`` is something else.
        ValueError: ``layer`` is lazy and has no weight yet, or the shuffle does not divide the
            channels.

    Example:
        >>> import autoup
        >>> round(phase_spread(autoup.AutoConvTranspose2d(8, 4, 7, 14, smoothness=1)), 5)
        0.0
        >>> phase_spread(nn.ConvTranspose2d(8, 4, 2, stride=2)) > 0.5
        True
    """
    _refuse_lazy("layer", layer)
    if isinstance(layer, TRANSPOSED):
        return kernel_spread(kernel_in_use(layer), layer.stride, layer.dilation)
    if isinstance(layer, nn.Sequential) and len(layer) in (2, 3):
        first, last = layer[0], layer[-1]
        between: Any = layer[1] if len(layer) == 3 else None
        known = between is None or isinstance(between, nn.BatchNorm2d)
        if type(last) is nn.PixelShuffle and isinstance(first, nn.Conv2d) and known:
            weight, bias = fold_norm(kernel_in_use(first), first.bias, between)
            return shuffle_spread(weight, bias, first.groups, last.upscale_factor**2)
    raise TypeError(
        "layer must be a transposed convolution or nn.Sequential(nn.Conv2d(...), "
        f"nn.PixelShuffle(r)), got {type(layer).__name__}."
    )


def is_icnr(conv: nn.Module, upscale_factor: int | Sequence[int]) -> bool:
    """Tell whether a convolution before a ``PixelShuffle`` is nearest enlargement.

    That is what ICNR starts from (Aitken et al. 2017, arXiv 1707.02937; ``autoup.init.icnr_``):
    all phases of a channel have the same kernel, tap by tap, and the same bias, up to rounding. It
    is more than equal sums, a ``phase_spread`` of 0: equal sums bring no grid on constant inputs,
    equal kernels on none, only pixels that repeat. Training ends both.

    The kernel read is the one in use, with a parametrisation (weight_norm) what that makes. What
    stands between the convolution and the shuffle is not looked at.

    Args:
        conv: ``nn.Conv1d``, ``2d`` or ``3d``.
        upscale_factor: Of the shuffle, in pixels; an int or one per axis.

    Returns:
        Whether it is.

    Raises:
        TypeError: ``conv`` is no convolution, or ``upscale_factor`` no int and no sequence of them.
        ValueError: ``out_channels`` is not a multiple of the phases times the groups, or ``conv``
            is lazy or on the meta device.

    Example:
        >>> import autoup
        >>> conv = nn.Conv2d(8, 16, 3)
        >>> is_icnr(conv, 2), is_icnr(autoup.init.icnr_(conv, 2), 2)
        (False, True)
    """
    if not isinstance(conv, CONV):
        raise TypeError(
            f"conv must be an nn.Conv1d, nn.Conv2d or nn.Conv3d, got {type(conv).__name__}."
        )
    _refuse_lazy("conv", conv)
    weight, bias = kernel_in_use(conv), conv.bias
    if weight.is_meta:
        raise ValueError("conv is on the meta device and has no numbers: move it off first.")
    dims = weight.ndim - 2
    phases = prod(shuffle_phases(upscale_factor, weight.shape[0], conv.groups, dims))
    return all(_agree(each, phases) for each in (weight, bias) if each is not None)


def _agree(values: Tensor, phases: int) -> bool:
    """Tell whether neighbouring channels are the same, save for what rounding adds."""
    cells = _exact(values).unflatten(0, (-1, phases))
    within = 4 * torch.finfo(values.dtype).eps * cells.abs().amax()
    return bool((cells - cells[:, :1]).abs().amax() <= within)


def _refuse_lazy(name: str, layer: object) -> None:
    if isinstance(layer, nn.Module) and any(map(is_lazy, layer.parameters())):
        raise ValueError(f"{name} is lazy and has no weight yet: pass one batch through it first.")


def _relative(sums: Tensor, biases: Tensor | None) -> float:
    """Return the deviation over the rms; phases last, and an equal bias makes no difference."""
    varied = (sums - sums.mean(-1, keepdim=True)).abs().square().mean(-1).sum()
    total = sums.abs().square().mean(-1).sum()
    if biases is not None:
        across = (biases - biases.mean(-1, keepdim=True)).abs().square().mean(-1).sum()
        varied, total = varied + across, total + across
    return float((varied / total).sqrt()) if total > 0 else 0.0


def kernel_spread(weight: Tensor, stride: Sequence[int], dilation: Sequence[int]) -> float:
    """Return the spread of the phase sums of a kernel.

    Tap t lands ``dilation * t`` pixels on, in the phase of that remainder by the stride.

    Shape:
        - weight: ``(in_channels, out_channels / groups, *kernel_size)``

    Example:
        >>> kernel_spread(torch.tensor([[[0.5, 1.0, 0.5]]]), [2], [1])
        0.0
    """
    return sums_spread(phase_sums(weight, stride, dilation))


def sums_spread(sums: Tensor) -> float:
    """Return the spread of phase sums, their phases along the axes from 2 on.

    Example:
        >>> sums_spread(torch.tensor([[[1.0, 1.0]]]))
        0.0
    """
    return _relative(sums.flatten(2), None)


def phase_sums(weight: Tensor, stride: Sequence[int], dilation: Sequence[int]) -> Tensor:
    """Return the sum of the taps of each phase, in double precision.

    Shape:
        - weight: ``(in_channels, out_channels / groups, *kernel_size)``
        - output: ``(in_channels, out_channels / groups, *stride)``

    Example:
        >>> phase_sums(torch.tensor([[[1.0, 2.0, 3.0]]]), [2], [1])
        tensor([[[4., 2.]]], dtype=torch.float64)
    """
    sums = _exact(weight)
    for axis, (s, d) in enumerate(zip(stride, dilation, strict=True), start=2):
        taps = torch.arange(sums.shape[axis], device=sums.device)
        empty = sums.new_zeros((*sums.shape[:axis], s, *sums.shape[axis + 1 :]))
        sums = empty.index_add(axis, d * taps % s, sums)
    return sums


def shuffle_spread(
    weight: Tensor,
    bias: Tensor | None,
    groups: int,
    phases: int,
    channels: Sequence[Sequence[int]] = (),
) -> float:
    """Return the spread of a convolution before a shuffle.

    Args:
        weight: Of the convolution.
        bias: Of it.
        groups: Of it.
        phases: Of each channel of the output.
        channels: Those of the convolution that the phases of each channel hold; neighbouring
            ones, as in ``PixelShuffle``, when left out.

    Example:
        >>> shuffle_spread(torch.ones(2, 1, 3), None, 1, 2)
        0.0
    """
    if not channels and weight.shape[0] % phases:
        raise ValueError(
            f"out_channels ({weight.shape[0]}) must be a multiple of {phases}, the phases of each."
        )
    sums = _exact(weight).flatten(2).sum(2)
    if groups > 1:  # Phases of one channel may read different inputs: zeros for those of others.
        sums = torch.block_diag(*sums.chunk(groups))
    order = torch.tensor(channels or range(len(sums))).reshape(-1, phases)
    biases = None if bias is None else _exact(bias)[order]
    return _relative(sums[order].movedim(1, -1), biases)


def fold_norm(weight: Tensor, bias: Tensor | None, norm: Any) -> tuple[Tensor, Tensor | None]:
    """Return weight and bias of a convolution with the batch norm behind it, as in evaluation.

    Args:
        weight: Of the convolution.
        bias: Of it.
        norm: The norm; None for none.

    Raises:
        TypeError: The norm keeps no statistics.

    Example:
        >>> fold_norm(torch.ones(1, 1, 1), None, nn.BatchNorm1d(1, eps=0))[1]
        tensor([0.], dtype=torch.float64)
    """
    if norm is None:
        return weight, bias
    if norm.running_var is None or norm.running_mean is None:
        raise TypeError("layer has a BatchNorm without running statistics: its scale is unknown.")
    scale = (_exact(norm.running_var) + norm.eps).rsqrt()
    scale = scale if not norm.affine else scale * _exact(norm.weight)
    start = -_exact(norm.running_mean) if bias is None else _exact(bias) - _exact(norm.running_mean)
    shift = start * scale + (_exact(norm.bias) if norm.affine else 0)
    return _exact(weight) * scale.view(-1, *[1] * (weight.ndim - 1)), shift


def _exact(values: Tensor) -> Tensor:
    values = values.detach().cpu()
    return values.to(torch.complex128 if values.is_complex() else torch.float64)
