"""The grid that a model makes of constant inputs, where grids show most."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from autoup.errors import Refusal, first_line
from autoup.inspecting.runs import InputSizes, dtype_and_device, run
from autoup.solving.flaws import unit

LEVELS = (-1.0, 0.5, 1.0, 2.0)
_MOST = {1: 1 << 16, 2: 512, 3: 96}  # Pixels along an axis, from the middle, that are looked at.
_PERIODS = 6  # As many periods a picture must hold inside of its border.


@dataclass(frozen=True, slots=True)
class ConstantGrid:
    """The grid in a model's output on inputs that are constant.

    Args:
        period: Of the grid, in output pixels, one per axis.
        spread: Standard deviation of the phases over the rms of the output, inside of a border of
            one period, ratio; the largest of all levels and channels. A phase is the median over
            its pixels, and slow changes are taken off first, so that what borders do counts
            little: as long as most of the picture is out of their reach.
        level: The constant at which it is largest.
        out_size: Spatial size of the output, in pixels.
    """

    period: tuple[int, ...]
    spread: float
    level: float
    out_size: tuple[int, ...]

    def __str__(self) -> str:
        period = f"{' x '.join(map(str, self.period))} {unit(len(self.period))}"
        return (
            f"On constant inputs (-1 to 2) the phases of the output, {period}, differ by "
            f"{self.spread:.2g} of its rms, at most (input {self.level:g})."
        )

    __repr__ = __str__


def measure_constants(
    model: nn.Module,
    sizes: InputSizes,
    periods: Sequence[Sequence[int]],
    *,
    writes: bool = False,
) -> ConstantGrid:
    """Return the grid of the largest tensor that a model returns.

    Args:
        model: Of which copies run.
        sizes: Of its inputs.
        periods: That the grid may have, one per axis; the one that shows most is taken.
        writes: Whether the model writes into its own Parameters.

    Raises:
        Refusal: There is nothing to measure, or the model does not run on constants.

    Example:
        >>> layer = nn.ConvTranspose1d(1, 1, 3, 2, 1, 1)
        >>> weight = nn.init.ones_(layer.weight), nn.init.zeros_(layer.bias)
        >>> round(measure_constants(layer, ((1, 1, 32),), [(2,)]).spread, 3)
        0.316
    """
    if not periods:
        raise Refusal("no step on the way to the output is known to have a period")
    dtype, device = dtype_and_device(model)
    if device.type == "meta":
        raise Refusal("the model is on the meta device and has no numbers")
    found: list[tuple[float, float, tuple[int, ...], tuple[int, ...]]] = []
    for level in LEVELS:
        inputs = [torch.full(size, level, dtype=dtype, device=device) for size in sizes]
        dims = max(map(len, periods))
        try:
            made = [each for each in run(model, inputs, writes=writes) if _is_picture(each, dims)]
        except Exception as error:  # What ran without arithmetic need not run with it.
            raise Refusal(f"on inputs of {level:g} the model raises {_name(error)}") from error
        if not made:
            raise Refusal("the model returns no finite tensor with as many axes")
        picture = max(made, key=lambda each: prod(each.shape[-dims:]))
        shape = tuple(picture.shape[-dims:])
        fits = [tuple(p) for p in periods if len(p) == dims and _fits(p, shape)]
        if not fits:
            raise Refusal(
                f"the output of {shape} holds fewer than {_PERIODS + 2} periods of the grid"
            )
        found += [(_spread(picture, period), level, period, shape) for period in fits]
    spread, level, period, shape = max(found)
    return ConstantGrid(period, spread, level, shape)


def _name(error: Exception) -> str:
    return f"{type(error).__name__}: {first_line(error)}"


def _is_picture(made: Tensor, dims: int) -> bool:
    return made.ndim > dims and made.is_floating_point() and bool(made.isfinite().all())


def _fits(period: Sequence[int], shape: Sequence[int]) -> bool:
    return all(size >= (_PERIODS + 2) * s for size, s in zip(shape, period, strict=True))


def _spread(picture: Tensor, period: tuple[int, ...]) -> float:
    dims = len(period)
    for axis in range(-dims, 0):
        length = min(picture.shape[axis], max(_MOST[dims], (_PERIODS + 2) * period[axis]))
        picture = picture.narrow(axis, (picture.shape[axis] - length) // 2, length)
    pixels = picture.detach().cpu().double().flatten(0, picture.ndim - dims - 1)
    means = pixels
    for axis, s in enumerate(period, start=1):
        means = _smooth(means, axis, s)
    for axis, s in enumerate(period, start=1):  # Whole periods, inside of a border of one.
        length = (pixels.shape[axis] // s - 2) * s
        pixels = pixels.narrow(axis, s, length)
        means = means.narrow(axis, s - s // 2, length)
    detail: Any = pixels - means
    for axis, s in enumerate(period):  # Split each axis into periods and phases.
        detail = detail.unflatten(1 + 2 * axis, (-1, s))
    order = [0, *range(2, detail.ndim, 2), *range(1, detail.ndim, 2)]
    phases: Tensor = detail.permute(order).flatten(1, len(period)).flatten(2).median(2).values
    phases = phases - phases.mean(1, keepdim=True)
    rms = pixels.square().mean([*range(1, pixels.ndim)]).sqrt()
    spread = phases.square().mean(1).sqrt() / rms.clamp(min=torch.finfo(picture.dtype).tiny)
    return float(spread.max())


def _smooth(pixels: Tensor, axis: int, s: int) -> Tensor:
    """Return means over a period, which a slope leaves as they are; s // 2 less at either end."""
    middle = pixels.mean(axis, keepdim=True)  # So that sums stay small, and their rounding.
    sums = nn.functional.pad((pixels - middle).cumsum(axis).movedim(axis, -1), (1, 0))
    means = (sums[..., s:] - sums[..., :-s]) / s
    if s % 2 == 0:  # Half of the pixel at either end.
        means = (means[..., 1:] + means[..., :-1]) / 2
    return means.movedim(-1, axis) + middle
