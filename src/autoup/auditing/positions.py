"""Where each pixel of the output lies in the input, followed through a forward pass.

The arithmetic of one axis is ``inspecting.position``'s. Where ways of different offsets meet, the
smallest and the largest are kept.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from math import isnan, nan, prod

from autoup.inspecting.calls import Call, kernel_of, per_dim
from autoup.inspecting.position import Position, join, sample, slide, spread
from autoup.inspecting.rearranging import Rearrangement

_BY_RATIO = ("interpolate", "adaptive_pool", "pixel_shuffle", "max_unpool")
_TURNS = ("flip", "fliplr", "flipud", "roll", "rot90")
_MEANS = ("mean", "sum", "amax", "amin", "std", "var", "logsumexp")


Positions = tuple[Position, ...]


def locate(
    calls: Sequence[Call], dims: int, moved: Mapping[Call, Rearrangement]
) -> dict[Call, Positions]:
    """Return for each call where what it made lies in the input.

    Where that is lost, offsets are NaN from there on, and scales begin anew.

    Args:
        calls: Of one forward pass.
        dims: Spatial axes to follow.
        moved: What ``find_rearrangements`` returns.

    Example:
        >>> locate([], 2, {})
        {}
    """
    found: dict[Call, Positions] = {}
    lost = _lost(dims)
    for call in calls:
        if call in moved and (moved[call].offset or moved[call].kind != "move"):
            found[call] = _rearrange(call, moved[call], found, dims) or lost
            continue
        sources = [(each.made[-dims:], found[each]) for each in call.sources]
        if call.from_input:
            sources.append((call.shape[-dims:], _start(call.shape, dims) or lost))
        size = max((each for each, _ in sources), key=prod, default=())
        here = _join([each for other, each in sources if other == size])  # The rest is broadcast.
        found[call] = lost if here is None else _step(call, here, size) or lost
    return found


@lru_cache
def _lost(dims: int) -> Positions:
    """Return what stands where pixels are not followed, from where scales begin anew."""
    return (Position(1.0, nan, nan),) * dims


def _start(shape: Sequence[int], dims: int) -> Positions | None:
    if len(shape) <= dims:
        return None
    return tuple(Position(1.0, 0.0, 0.0, size) for size in shape[-dims:])


def _rearrange(
    call: Call, moved: Rearrangement, found: Mapping[Call, Positions], dims: int
) -> Positions | None:
    """Return where pixels lie that are moved by hand."""
    if len(moved.offset) != dims or len(call.made) <= dims:
        return None
    shape = (1, 1, *moved.in_size)
    here = _start(shape, dims) if moved.root is None else found[moved.root]
    blocks = [1 if moved.kind == "zeros" else s for s in moved.stride]
    axes = zip(here or (), moved.stride, moved.offset, blocks, strict=True)
    return tuple(each.moved(1 / s, -(f + (block - 1) / 2) / s) for each, s, f, block in axes)


def _join(sources: Sequence[Positions]) -> Positions | None:
    axes = [join(axis) for axis in zip(*sources, strict=True)]
    known = tuple(each for each in axes if each is not None)
    return known if known and len(known) == len(axes) else None


def _step(call: Call, here: Positions, size: Sequence[int]) -> Positions | None:
    """Return where what a function made lies, given where what it read lies; None if unknown."""
    dims = len(here)
    if call.axes not in (None, dims):  # Pixels of other axes than those that are followed.
        return None
    if min(len(call.shape), len(call.made)) <= dims or len(size) < dims:
        return None
    if call.name in ("conv", "avg_pool", "max_pool"):
        return _slide(call, here, dims)
    sizes = [*zip(size, call.made[-dims:], strict=True)]
    if call.name == "conv_transpose":
        return _spread(call, here, dims)
    if call.name in _MEANS and all(o == 1 for _, o in sizes):
        return tuple(each.moved(i, (i - 1) / 2) for each, (i, _) in zip(here, sizes, strict=True))
    if call.name in _BY_RATIO:
        if call.arguments.get("align_corners"):
            steps = ((i - 1) / max(1, o - 1) for i, o in sizes)
            return tuple(each.moved(step, 0) for each, step in zip(here, steps, strict=True))
        moves = (_sample(call, axis, i, o) for axis, (i, o) in enumerate(sizes))
        return tuple(each.moved(*move) for each, move in zip(here, moves, strict=True))
    if call.name in _TURNS:
        return None
    if call.name == "pad":
        pads = [*call.arguments["pad"], *(0,) * 2 * dims][: 2 * dims : 2][::-1]
        return tuple(each.moved(1, -front) for each, front in zip(here, pads, strict=True))
    return here if all(i == o for i, o in sizes) else None


def _sample(call: Call, axis: int, i: int, o: int) -> tuple[float, float]:
    """Return where a resize finds its pixels; a scale that was given counts more than the sizes."""
    given, scale = call.arguments, call.arguments.get("scale_factor")
    factor = None
    if scale is not None and not given.get("recompute_scale_factor"):
        factor = per_dim(scale, len(call.made) - 2)[axis]
    mode = given.get("mode", "") or "nearest" if call.name == "interpolate" else ""
    return sample(i, o, mode, factor)


def _slide(call: Call, here: Positions, dims: int) -> Positions | None:
    given = call.arguments
    kernel, padding = kernel_of(call), given.get("padding", 0)
    dilation = per_dim(given.get("dilation", 1), dims)
    default = 1 if call.name == "conv" else kernel
    stride = per_dim(given.get("stride") or default, dims)
    reach = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
    if isinstance(padding, str):
        padding = tuple(each // 2 if padding == "same" else 0 for each in reach)
    moves = zip(here, stride, reach, per_dim(padding, dims), strict=True)
    return tuple(each.moved(*slide(s, span, p)) for each, s, span, p in moves)


def _spread(call: Call, here: Positions, dims: int) -> Positions:
    given, kernel = call.arguments, kernel_of(call)
    stride, padding, dilation = (
        per_dim(given.get(name, default), dims)
        for name, default in (("stride", 1), ("padding", 0), ("dilation", 1))
    )
    moves = zip(here, kernel, stride, padding, dilation, strict=True)
    return tuple(each.moved(*spread(s, d * (k - 1), p)) for each, k, s, p, d in moves)


def is_known(positions: Positions) -> bool:
    """Whether pixels were followed to here along every axis.

    Example:
        >>> is_known((Position(1.0, nan, nan),))
        False
    """
    return not any(isnan(each.first) for each in positions)


def ratios(before: Positions, after: Positions) -> list[float]:
    """Return how many pixels of one tensor a pixel of another spans along each axis.

    Example:
        >>> ratios((Position(2.0, 0.0, 0.0),), (Position(1.0, 0.0, 0.0),))
        [2.0]
    """
    return [a.scale / b.scale for a, b in zip(before, after, strict=True)]


def _carry(drift: Sequence[float], here: Positions, there: Positions) -> tuple[float, ...]:
    return tuple(each * n for each, n in zip(drift, ratios(here, there), strict=True))


def add_up(
    calls: Sequence[Call],
    shifts: Mapping[Call, tuple[float, ...]],
    places: Mapping[Call, Positions],
) -> dict[Call, tuple[float, ...]]:
    """Return how far what each call made lies off centre, in its own pixels; NaN where lost.

    Where several ways meet, the one that lies farthest off counts; a shift of other axes than
    those that are followed does not.

    Args:
        calls: Of one forward pass.
        shifts: What the upsampling calls among them shift by.
        places: What ``locate`` returns.

    Example:
        >>> add_up([], {}, {})
        {}
    """
    drifts: dict[Call, tuple[float, ...]] = {}
    for call in calls:
        centred = (0.0,) * len(places[call])
        known = is_known(places[call])
        found = [
            _carry(drifts[each], places[each], places[call])
            for each in call.sources
            if is_known(places[each]) == known
        ]  # Where pixels became features, centres begin anew.
        moved = places[call] is _lost(len(centred)) and any(
            any(drifts[each]) for each in call.sources
        )
        if (moved and len(call.made) > len(centred)) or any(
            isnan(n) for each in found for n in each
        ):
            found = [(nan,) * len(centred)]
        drift = (
            found[0]
            if found and isnan(sum(found[0]))
            else max([*found, centred], key=lambda each: sum(map(abs, each)))
        )
        own = shifts.get(call, centred)
        own = own if len(own) == len(centred) else centred
        drifts[call] = tuple(round(a + b, 9) for a, b in zip(drift, own, strict=True))
    return drifts
