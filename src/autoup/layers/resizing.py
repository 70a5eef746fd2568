"""The call that resizes where no layer is clean: in words, to be pasted."""

from collections.abc import Mapping

import torch

from autoup.solving.plan import Axes, Plan

INTERPOLATION = {1: "linear", 2: "bilinear", 3: "trilinear"}
_DEFAULTS = {"groups": 1, "bias": True, "smoothness": 0, "init": "damped"}


def resizing_call(
    plan: Plan, in_channels: int, out_channels: int, options: Mapping[str, object]
) -> str:
    """Return a clean layer with a resizing behind it, as code; nothing where none is needed.

    Args:
        plan: What was solved.
        in_channels: Of the layer.
        out_channels: Of the layer.
        options: Its other arguments that a change of size leaves as they are.

    Example:
        >>> from autoup.solving.plan import plan_sizes
        >>> resizing_call(plan_sizes(2, 20, 30, None, None, 1), 8, 4, {"bias": False})
        "nn.Sequential(AutoConvTranspose2d(8, 4, 20, 20, bias=False), \
nn.Upsample(size=30, mode='bilinear'))"
    """
    dtype = options.get("dtype")
    if plan.resized is None or (isinstance(dtype, torch.dtype) and dtype.is_complex):
        return ""
    dims = len(plan.in_size)
    arguments = [str(in_channels), str(out_channels), _sizes(plan.in_size), _sizes(plan.resized)]
    for name, value in options.items():
        if value != _DEFAULTS.get(name):
            value = str(value) if isinstance(value, torch.device) else value
            arguments.append(f"{name}={value!r}")
    return (
        f"nn.Sequential(AutoConvTranspose{dims}d({', '.join(arguments)}), "
        f"nn.Upsample(size={_sizes(plan.out_size)}, mode={INTERPOLATION[dims]!r}))"
    )


def _sizes(sizes: Axes) -> str:
    return str(sizes[0] if len(set(sizes)) == 1 else sizes)
