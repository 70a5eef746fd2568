"""What a change of the source does where repair cannot: an even kernel, cropped to the size."""

from collections.abc import Sequence
from itertools import count
from math import gcd

from autoup.inspecting.calls import Call
from autoup.inspecting.runs import shown
from autoup.repairing.growth import Growth, grow
from autoup.repairing.output_sizes import Asked
from autoup.solving import overlap
from autoup.solving.sizes import transposed_size

Axis = tuple[int, int, int, int, int]


def advise(
    axes: Sequence[Axis],
    growths: Sequence[Growth],
    calls: Sequence[Call],
    asked: Asked | None,
    *,
    even: bool,
) -> str:
    """Say how a layer that is not clean meets sizes, and what else would.

    Args:
        axes: Kernel, stride, padding, least output padding and dilation of each.
        growths: That repair can do, one per axis.
        calls: Of the layer.
        asked: What it was asked for, if it is called with ``output_size``.
        even: Whether an uneven kernel is not clean; otherwise output padding alone is not.

    Returns:
        The reason and the change in the source; empty where nothing meets sizes.
    """
    pairs = [*zip(axes, growths, strict=True)]
    unclean = [n for n, (axis, each) in enumerate(pairs) if even and not _is_clean(each, axis)]
    if asked is not None:  # Output padding that not all inputs ask for stays.
        used = [
            a - axis[3] + g.output_padding for a, (axis, g) in zip(asked.seen, pairs, strict=True)
        ]
        unclean += [n for n, each in enumerate(used) if each > 0]
    if not unclean or any(gcd(s, d) > 1 for _, s, _, _, d in axes):
        return ""
    if asked is not None:
        return _advise_crop(axes, asked, unclean[0])
    for call in calls:
        mended = mends(call)
        if mended and all(0 <= more < axis[1] for more, axis in zip(mended, axes, strict=True)):
            return _advise_growth(axes, call, mended)
    return ""


def mends(call: Call) -> tuple[int, ...] | None:
    """Return the pixels that ``interpolate`` adds along each axis to what a call made.

    What keeps the size may stand between, as a normalisation; None without ``interpolate``, or
    where that keeps the size too.

    Example:
        >>> up = Call("conv_transpose", "", (), (1, 1, 4), (1, 1, 7), {})
        >>> up.users.append(Call("interpolate", "", (up,), (1, 1, 7), (1, 1, 8), {}))
        >>> mends(up)
        (1,)
    """
    near, size = call, call.made[2:]
    while len(near.users) == 1 and not near.returned and near.made[2:] == size:
        near = near.users[0]
        if near.name == "interpolate" and near.made[2:] != size:
            return tuple(m - n for m, n in zip(near.made[2:], size, strict=True))
    return None


def _advise_crop(axes: Sequence[Axis], asked: Asked, axis: int) -> str:
    grown = [_grow_clean(each, each[1] - 1) for each in axes]  # All that PyTorch lets it ask for.
    ask = next(each for each in asked.asks if each.extra[axis] == asked.least[axis])
    i, s, wide = ask.in_size[axis], axes[axis][1], grown[axis]
    fewest = transposed_size(i, wide.kernel_size, s, wide.padding, 0, wide.dilation)
    return (
        f"it is called with output_size: of {i} pixels kernel_size {wide.kernel_size} makes "
        f"{fewest} or more, and input_size={shown(ask.input_size)} asks for "
        f"{ask.out_size[axis]}. The same function at every size is, in the source, "
        f"{_recipe(grown)} cropped to output_size"
    )


def _advise_growth(axes: Sequence[Axis], call: Call, mended: Sequence[int]) -> str:
    grown = [_grow_clean(each, more) for each, more in zip(axes, mended, strict=True)]
    before = call.made[2:]
    after = tuple(n + more for n, more in zip(before, mended, strict=True))
    return (
        f"interpolate behind it brings {before} pixels to {after} and mixes neighbours. To make "
        f"them at once is another function, to be trained on: in the source, {_recipe(grown)} "
        "cropped to the size of interpolate, which then changes nothing for this input_size"
    )


def _recipe(grown: Sequence[Growth]) -> str:
    """Say how a layer is built, what its weight is, and how it is cropped."""
    kernel, padding, dilation = (
        tuple(getattr(each, name) for each in grown)
        for name in ("kernel_size", "padding", "dilation")
    )
    if all(each.spacing == 1 for each in grown):
        taps = tuple(n for each in reversed(grown) for n in (each.front, each.behind))
        last = f"F.pad(weight, {taps}) for the weight"
    else:
        last = f"dilation={dilation} with zeros between the taps of the weight"
    crop = ", ".join(f":{letter}" for letter in "dhw"[-len(grown) :])
    return (
        f"kernel_size={kernel}, padding={padding}, no output_padding, {last}, and "
        f"layer(x)[:, :, {crop}]"
    )


def _grow_clean(axis: Axis, least: int) -> Growth:
    """Return the growth by ``least`` pixels of output padding or more that is clean."""
    k, s, p, _, d = axis
    tried = (grow(k, s, p, a, d) for a in count(least))
    return next(each for each in tried if _is_clean(each, axis))


def _is_clean(growth: Growth, axis: Axis) -> bool:
    fewest, most = overlap.phase_range(growth.kernel_size, axis[1], growth.dilation)
    return fewest == most and not growth.output_padding
