"""What follows a step and evens out its phases: a blur, a mean, a convolution of fixed taps.

The phases of a step differ at the grid frequencies r/s alone, r = 1 ... s - 1 along each axis. A
filter behind it with no response there leaves nothing of the difference (Sugawara, Shiota & Kiya
2018, arXiv 1806.02658), and several may share the frequencies out among them. In flat regions what
acts on each pixel alike keeps the period, so that it may stand between; a stride that is a multiple
of the period sees one phase alone.
"""

# PyTorch leaves fft without types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from autoup.inspecting.calls import Call, kernel_of, per_dim
from autoup.inspecting.sites import has_numbers
from autoup.measuring.phases import phase_sums

_KEEP = {"pad", "__getitem__", "narrow", "slice", "contiguous", "clone", "identity", "dropout",
         "feature_dropout", "batch_norm", "instance_norm", "group_norm"}  # fmt: skip
_BENDING = {"relu", "relu6", "leaky_relu", "prelu", "elu", "selu", "celu", "gelu", "silu", "mish",
            "tanh", "sigmoid", "hardtanh", "hardswish", "hardsigmoid", "softplus", "softsign",
            "logsigmoid", "clamp"}  # fmt: skip
_VIEWS = ("view", "reshape", "squeeze", "unsqueeze")
_SILENT = 1e-3  # Of the response to constants; fixed taps in half precision keep it.


def evened_by(
    call: Call, stride: Sequence[int], sums: Tensor | None, modules: dict[str, Any]
) -> tuple[str, ...]:
    """Return the filters behind a step that leave nothing of its grid; none where some is left.

    Args:
        call: The step.
        stride: In pixels.
        sums: Of its own phases, as ``phase_sums`` returns them; None where not known.
        modules: Of the model, by path.
    """
    whole = torch.ones(tuple(stride), dtype=torch.bool)
    whole[(0,) * len(stride)] = False
    left = whole & ~_silent(sums) if sums is not None else whole
    names: list[str] = []
    near = call
    while bool(left.any()) and len(near.users) == 1 and not near.returned:
        near = near.users[0]
        if near.name in _BENDING:  # Of the frequencies that are left it makes all others anew.
            left, names = whole, []
            continue
        if near.name in _KEEP and len(near.made) == len(near.shape):
            continue
        if near.name in _VIEWS and near.made[-len(stride) :] == near.shape[-len(stride) :]:
            continue
        quiet = _quiet(near, stride)
        if quiet is None:
            return ()
        if bool((quiet & left).any()):
            names.append(near.path if near.path in modules and near.path else near.name)
        left = left & ~quiet
    return () if bool(left.any()) else tuple(names)


def _silent(sums: Tensor) -> Tensor:
    """Tell at which frequencies a kernel of these phase sums has no response."""
    axes = [*range(2, sums.ndim)]
    response = torch.fft.fftn(sums, dim=axes).abs().square().sum((0, 1)).sqrt()
    largest = sums.abs().sum(axes).square().sum().sqrt()
    return response <= _SILENT * largest


def _quiet(call: Call, stride: Sequence[int]) -> Tensor | None:
    """Tell at which frequencies a filter has no response; None for what is no filter."""
    given, dims = call.arguments, len(stride)
    if call.name not in ("conv", "avg_pool", "max_pool") or call.axes != dims:
        return None
    kernel, dilation = kernel_of(call), per_dim(given.get("dilation", 1), dims)
    steps = per_dim(given.get("stride") or (1 if call.name == "conv" else kernel), dims)
    everywhere = torch.ones(tuple(stride), dtype=torch.bool)
    if not any(step % s for step, s in zip(steps, stride, strict=True)):
        return everywhere
    if call.name == "max_pool":
        whole = all(k >= s for k, s in zip(kernel, stride, strict=True)) and set(dilation) == {1}
        return everywhere if whole else None
    weight = given["weight"] if call.name == "conv" else torch.ones(1, 1, *kernel)
    if not has_numbers(weight):
        return None
    quiet = _silent(phase_sums(weight, stride, dilation))
    quiet[(0,) * dims] = True
    return quiet if set(steps) == {1} or bool(quiet.all()) else None
