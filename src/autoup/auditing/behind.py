"""What follows a step and evens out its phases: a blur, a mean, a convolution of fixed taps.

The phases of a step differ at the grid frequencies r/s alone, r = 1 ... s - 1 along each axis. A
filter behind it with no response there leaves nothing of the difference (Sugawara, Shiota & Kiya
2018, arXiv 1806.02658), and several may share the frequencies out among them.
"""

# PyTorch leaves fft without types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from autoup.inspecting.calls import Call, kernel_of, per_dim
from autoup.inspecting.modules import kernel_in_use
from autoup.inspecting.sites import CONV, has_numbers
from autoup.measuring.phases import phase_sums

_KEEP = ("pad", "__getitem__", "narrow", "slice", "contiguous", "clone", "dropout", "identity")
_VIEWS = ("view", "reshape", "squeeze", "unsqueeze")
_SILENT = 1e-4  # Of the response to constants; fixed taps in half precision keep it.


class NoNumbersError(Exception):
    """A filter's taps are not known, since tensors had no numbers."""


def evened_by(
    call: Call, stride: Sequence[int], sums: Tensor | None, modules: dict[str, Any]
) -> tuple[str, ...]:
    """Return the filters behind a step that leave nothing of its grid; none where some is left.

    Args:
        call: The step.
        stride: In pixels.
        sums: Of its own phases, as ``phase_sums`` returns them; None where not known.
        modules: Of the model, by path.

    Raises:
        NoNumbersError: A filter's taps are not known.
    """
    left = ~_silent(sums) if sums is not None else torch.ones(tuple(stride), dtype=torch.bool)
    left[(0,) * len(stride)] = False
    names: list[str] = []
    near = call
    while bool(left.any()) and len(near.users) == 1 and not near.returned:
        near = near.users[0]
        if near.name in _KEEP and len(near.made) == len(near.shape):
            continue
        if near.name in _VIEWS and near.made[-len(stride) :] == near.shape[-len(stride) :]:
            continue
        taps = _taps_of(near, len(stride), modules)
        if taps is None:
            return ()
        weight, dilation = taps
        quiet = _silent(phase_sums(weight, stride, dilation))
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


def _taps_of(call: Call, dims: int, modules: dict[str, Any]) -> tuple[Tensor, Any] | None:
    """Return the taps of a filter of stride 1 and their dilation; None for anything else."""
    given, module = call.arguments, modules.get(call.path)
    if call.name not in ("conv", "avg_pool") or call.axes != dims:
        return None
    if set(per_dim(given.get("stride") or (1 if "weight" in given else 2), dims)) != {1}:
        return None
    if call.name == "avg_pool":
        return torch.ones(1, 1, *per_dim(kernel_of(call), dims)), (1,) * dims
    weight = kernel_in_use(module) if isinstance(module, CONV) else given["weight"]
    if not has_numbers(weight):
        if type(weight).__name__ == "FakeTensor":
            raise NoNumbersError
        return None
    return weight, per_dim(given.get("dilation", 1), dims)
