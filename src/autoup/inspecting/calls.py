"""One function that data passed: its name, what it read and made, its arguments by name.

PyTorch has several names for one thing: ``F.interpolate``, ``torch._C._nn.upsample_nearest2d``,
``torch.ops.aten._upsample_nearest_exact2d``. Here each has one, without dimensions.
"""

# PyTorch leaves operators without types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from autoup.internals import parameters_of

_SIGNATURES = {
    "conv_transpose": ("input", "weight", "bias", "stride", "padding", "output_padding", "groups",
                       "dilation"),
    "conv": ("input", "weight", "bias", "stride", "padding", "dilation", "groups"),
    "convolution": ("input", "weight", "bias", "stride", "padding", "dilation", "transposed",
                    "output_padding", "groups"),
    "linear": ("input", "weight", "bias"),
    "interpolate": ("input", "size", "scale_factor", "mode", "align_corners"),
    "upsample_smooth": ("input", "output_size", "align_corners"),
    "pixel_shuffle": ("input", "upscale_factor"),
    "fold": ("input", "output_size", "kernel_size", "dilation", "padding", "stride"),
    "pad": ("input", "pad", "mode", "value"),
    "avg_pool": ("input", "kernel_size", "stride", "padding"),
    "max_pool": ("input", "kernel_size", "stride", "padding", "dilation"),
}  # fmt: skip
_ALIASES = {
    "_convolution": "convolution", "col2im": "fold", "grid_sampler": "grid_sample",
    "swapaxes": "transpose", "swapdims": "transpose", "_unsafe_view": "view",
    "adaptive_avg_pool": "adaptive_pool", "_adaptive_avg_pool": "adaptive_pool",
    "adaptive_max_pool": "adaptive_pool", "max_pool_with_indices": "max_pool",
    "adaptive_max_pool_with_indices": "adaptive_pool", "constant_pad_nd": "pad",
    "reflection_pad": "pad", "replication_pad": "pad",
}  # fmt: skip
_PARAMETERS = {"self": "input", "padding": "pad"}
_UPSAMPLE = re.compile("_*upsample_(nearest_exact|nearest|linear|bilinear|bicubic|trilinear)(_aa)?")


@dataclass(frozen=True, slots=True)
class Slot:
    """A tensor that data made, in place of itself among the arguments of a call.

    Args:
        call: That made it; None for an input of the model.
        index: Of the tensor among all that the call made, or of the input.
        shape: Of the tensor.
    """

    call: "Call | None"
    index: int
    shape: tuple[int, ...]


@dataclass(eq=False, slots=True, repr=False)
class Call:
    """One function that data passed.

    Args:
        name: Of the function, without dimensions: ``"conv_transpose"``, ``"interpolate"``.
        path: Qualified name of the innermost module that called it.
        sources: The calls that made its tensors.
        shape: Of the first tensor that it read.
        made: Shape of what it made.
        arguments: By name, for the functions that matter here.
        axes: Spatial axes that it works on; None where it works on any number.
        users: The calls that read what it made.
        returned: Whether the model returned what it made.
        from_input: Whether it read an input of the model.
        function: What was called.
        inputs: What it was called with, positional and by keyword; a ``Slot`` for each tensor of
            the data.
    """

    name: str
    path: str
    sources: tuple["Call", ...]
    shape: tuple[int, ...]
    made: tuple[int, ...]
    arguments: dict[str, Any]
    axes: int | None = None
    users: list["Call"] = field(default_factory=list)
    returned: bool = False
    from_input: bool = False
    function: Any = None
    inputs: tuple[Any, ...] = ()


def per_dim(value: Any, dims: int) -> tuple[Any, ...]:
    """Return one number per axis of what torch's functions take: a number, or a sequence.

    Example:
        >>> per_dim(2, 2), per_dim([1], 2), per_dim((1, 2), 2)
        ((2, 2), (1, 1), (1, 2))
    """
    entries = tuple(value) if isinstance(value, Sequence) else (value,)
    return entries * dims if len(entries) == 1 else entries


def kernel_of(call: Call) -> tuple[int, ...]:
    """Return the kernel size of a convolution or a pool, one entry per axis.

    Example:
        >>> kernel_of(Call("avg_pool", "", (), (1, 1, 4, 4), (1, 1, 2, 2), {"kernel_size": 2}, 2))
        (2, 2)
    """
    given = call.arguments
    if "weight" in given:
        return tuple(given["weight"].shape[2:])
    return per_dim(given.get("kernel_size", 1), call.axes or len(call.shape) - 2)


def shapes_of(value: Any) -> list[tuple[int, ...]]:
    """Return the shapes of all tensors among the inputs of a call.

    Example:
        >>> shapes_of(((Slot(None, 0, (1, 8)), 2), {}))
        [(1, 8)]
    """
    if isinstance(value, Slot | Tensor):
        return [tuple(value.shape)]
    if isinstance(value, dict):
        value = [*value.values()]
    return [s for each in value for s in shapes_of(each)] if isinstance(value, tuple | list) else []


def read_call(
    function: Any, args: Sequence[Any], kwargs: Mapping[str, Any], ndim: int
) -> tuple[str, int | None, dict[str, Any]]:
    """Return a function's name without dimensions, the axes it works on, and its arguments.

    Args:
        function: A function, method or operator of PyTorch's.
        args: What it was called with.
        kwargs: By keyword.
        ndim: Of the first tensor that it read.

    Example:
        >>> import torch
        >>> x = torch.ones(1, 1, 4, 4)
        >>> read_call(torch._C._nn.upsample_nearest2d, [x, [8, 8]], {}, 4)
        ('interpolate', 2, {'mode': 'nearest'})
    """
    whole = name_of(function)
    digit = re.search("_?([123])d", whole)
    name, axes = (whole.replace(digit[0], "", 1), int(digit[1])) if digit else (whole, None)
    mode, signature = _UPSAMPLE.fullmatch(name), name
    if mode is not None:
        name, signature = "interpolate", "" if "nearest" in name else "upsample_smooth"
    name = _ALIASES.get(name, name)
    given = _bind(function, _SIGNATURES.get(signature if mode else name, ()), args, kwargs)
    if mode is not None:
        given["mode"] = mode[1].replace("_", "-")
    if name == "convolution" and "weight" in given:
        name = "conv_transpose" if given["transposed"] else "conv"
        axes = given["weight"].ndim - 2
    if name == "interpolate":
        axes = ndim - 2
    return name, 2 if name in ("pixel_shuffle", "fold") else axes, given


def name_of(function: Any) -> str:
    """Return a function's own name: of a property the property's, of an operator the packet's.

    Example:
        >>> import torch
        >>> name_of(torch.ops.aten.add_.Tensor), name_of(torch.Tensor.T.__get__)
        ('add', 'T')
    """
    name = function.__name__
    if name == "__get__":
        name = function.__self__.__name__
    return name if name.startswith("__") else name.partition(".")[0].rstrip("_")


def _bind(
    function: Any, names: Sequence[str], args: Sequence[Any], kwargs: Mapping[str, Any]
) -> dict[str, Any]:
    """Return arguments by name, an operator's by its schema; the input itself left out."""
    known = parameters_of(function)
    pads = names == _SIGNATURES["pad"]
    if names and known:
        names = [_PARAMETERS.get(n, n) if pads or n == "self" else n for n in known]
    given = dict(zip(names, args, strict=False)) | (dict(kwargs) if names else {})
    given.pop("input", None)
    return given
