"""Pixels moved by hand: views, permutations, slices and copies that together enlarge a picture.

A run of functions that only move numbers is played back on numbers that tell where each came from:
what every pixel of its end holds is then known, whatever the functions were. Four things are told
apart. Pixels repeat, or the channels of a pixel spread over a block, or pixels stand apart with
zeros between them, or they are moved as they are; all else is unknown.
"""

# PyTorch leaves functions found at run time without types.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from autoup.inspecting.calls import Call, Slot
from autoup.inspecting.playback import moves, play_back, slots_of

_LAST = {"linear", "addmm", "mm", "matmul", "layer_norm", "native_layer_norm", "bmm"}
_FIRST = {"conv", "conv_transpose", "batch_norm", "instance_norm", "group_norm", "max_pool",
          "avg_pool", "interpolate", "adaptive_pool"}  # fmt: skip
PRODUCTS = {"matmul", "bmm", "baddbmm", "einsum", "mm", "__matmul__", "__rmatmul__", "tensordot",
            "scaled_dot_product_attention", "multi_head_attention_forward"}  # fmt: skip
_JOINS = {"cat", "concat", "concatenate", "stack", "hstack", "vstack", "dstack"}
_CUTS = {"__getitem__", "narrow", "slice", "contiguous", "clone"}
_MOST_AXES = 5  # Of a picture: batch, channels and three of pixels.
_QUICK = 1 << 22  # Numbers to play back for a place alone.
_CHANNELS = 16  # That are looked at, save those of a block.
_FAR = 200  # Functions of one run.


@dataclass(frozen=True, slots=True)
class Rearrangement:
    """What a run of functions that only move numbers does to a picture.

    Along each axis, height before width, a tuple has one entry.

    Args:
        kind: ``"repeat"``, ``"shuffle"``, ``"zeros"``, ``"move"`` or ``"unknown"``.
        root: The call whose pixels are moved; None for an input of the model.
        stride: Pixels from what stems from one pixel to what stems from the next.
        offset: Pixels in front of what stems from the first.
        out_size: Of the end, in pixels; where the root is a picture, what its pixels fill without
            padding and cropping.
        in_size: Of the root, in pixels.
        channels: Of a shuffle: for each channel of the end the channels of the root that its
            phases hold, first phase first; empty where they stem from several roots.
    """

    kind: str
    root: Call | None
    stride: tuple[int, ...] = ()
    offset: tuple[int, ...] = ()
    out_size: tuple[int, ...] = ()
    in_size: tuple[int, ...] = ()
    channels: tuple[tuple[int, ...], ...] = ()


def find_rearrangements(calls: Sequence[Call]) -> dict[Call, Rearrangement]:
    """Return what enlarges by hand, by the last call of each run, and what moves pixels on the way.

    Args:
        calls: Of one forward pass.

    Example:
        >>> find_rearrangements([])
        {}
    """
    order = {call: number for number, call in enumerate(calls)}
    found: dict[Call, Rearrangement] = {}
    for call in calls:
        readers = [user for user in call.users if _takes(user) and user.name not in PRODUCTS]
        if not moves(call) or not (call.returned or readers):
            continue
        members, roots = _trace(call, order, found)
        if not roots or not (_may_enlarge(call, roots) or _crops(members, roots)):
            continue
        try:
            found[call] = _read(call, roots, play_back(members, roots, call))
        except Exception:  # Whatever a function says of numbers in place of pictures.
            found[call] = Rearrangement("unknown", roots[0].call)
    return found


def _takes(reader: Call) -> bool:
    """Tell whether a reader takes pixels as they are: it computes, or joins them with others."""
    joins = reader.name in _JOINS and len({*map(id, slots_of(reader.inputs))}) > 1
    return joins or not moves(reader)


def _trace(
    end: Call, order: Mapping[Call, int], found: Mapping[Call, Rearrangement]
) -> tuple[list[Call], list[Slot]]:
    """Return the calls of the run that ends here, in order, and the tensors it starts from."""
    members, roots, open_ends = {end}, dict[tuple[Call | None, int], Slot](), [end]
    while open_ends and len(members) <= _FAR:
        for slot in slots_of(open_ends.pop().inputs):
            if slot.call is None or not moves(slot.call) or slot.call in found:
                roots[slot.call, slot.index] = slot
            elif slot.call not in members:
                members.add(slot.call)
                open_ends.append(slot.call)
    if open_ends:
        return [], []
    return sorted(members, key=order.__getitem__), [*roots.values()]


def _may_enlarge(end: Call, roots: Sequence[Slot]) -> bool:
    last, ndim = _ends_in_features(end, roots), len(end.made)
    if ndim > _MOST_AXES:
        return False
    return _places(end.made, last, ndim) > max(_places_of(slot, ndim) for slot in roots)


def _crops(members: Sequence[Call], roots: Sequence[Slot]) -> bool:
    """Tell whether a run takes a part of one picture, which is quick to follow."""
    plain = len(roots) == 1 and {call.name for call in members} <= _CUTS
    root, end = roots[0].shape, members[-1].made
    return plain and len(root) == len(end) > 2 and root[2:] != end[2:] and prod(root) <= _QUICK


def _places_of(slot: Slot, ndim: int) -> int:
    return _places(slot.shape, _has_features_last(slot.call), ndim)


def _places(shape: Sequence[int], last: bool, ndim: int) -> int:
    """Count the pixels of a tensor, or its tokens; of more axes than ndim the last are pixels'."""
    if last:
        return prod(shape[1:-1]) if len(shape) > 2 else prod(shape[:-1])
    return prod(shape[2 + max(0, len(shape) - ndim) :])


def _has_features_last(call: Call | None) -> bool:
    """Tell whether features are the last axis, as of tokens, by what made them."""
    for _ in range(_FAR):
        if call is None or call.name in _FIRST:
            return call is not None and len(call.made) == 2  # Rows, as behind a linear layer.
        if call.name in _LAST:
            return True
        if moves(call) and len(call.made) != len(call.shape):  # Their order is another then.
            return len(call.made) == 3
        call = call.sources[0] if call.sources else None
    return False


def _ends_in_features(end: Call, roots: Sequence[Slot]) -> bool:
    """Tell whether features are the last axis of what a run ends in, by what reads it."""
    readers = [user.name for user in end.users if not moves(user)]
    if any(name in _LAST for name in readers):
        return True
    if len(end.made) != 3 or any(name in _FIRST for name in readers):
        return False
    pictures = all(len(slot.shape) > 3 for slot in roots)  # Which became tokens.
    return pictures or (not readers and _has_features_last(roots[0].call))


def _read(end: Call, roots: Sequence[Slot], played: Tensor) -> Rearrangement:
    """Say what the numbers at the end of a run tell."""
    last = _ends_in_features(end, roots)
    spatial = [*range(1, played.ndim - 1)] if last else [*range(2, played.ndim)]
    size = tuple(played.shape[axis] for axis in spatial)
    channel = played.ndim - 1 if last else 1
    chosen = torch.linspace(0, played.shape[channel] - 1, _CHANNELS).long().unique()
    numbers = played[:1].index_select(channel, chosen).long() - 1
    places, _, which = _decode(numbers, roots, played.ndim)
    held = int((places >= 0).sum()) // len(chosen)
    kind, stride, first, places = _read_axes(
        numbers,
        places,
        which,
        spatial,
        held <= sum(_places_of(slot, played.ndim) for slot in roots),
    )
    root = _main_root(roots, which)
    known = not _has_features_last(root.call) and len(root.shape) == played.ndim and not last
    channels: tuple[tuple[int, ...], ...] = ()
    if kind == "shuffle" and not last:
        channels = _phases(played[:1], roots, stride, first)
    in_size = tuple(n // s for n, s in zip(size, stride, strict=True))
    offset: tuple[int, ...] = ()
    if known:
        in_size = root.shape[2:]
    if known and kind != "unknown":
        offset = _offsets(places, in_size, stride, first, spaced=kind == "zeros")
        if kind == "move" and not _are_moved(places, in_size, offset):
            offset = ()
        size = tuple(n * s for n, s in zip(in_size, stride, strict=True))
    return Rearrangement(kind, root.call, tuple(stride), offset, size, in_size, channels)


def _read_axes(
    numbers: Tensor, places: Tensor, which: Tensor, spatial: Sequence[int], fills: bool
) -> tuple[str, list[int], list[int], Tensor]:
    """Return the kind, stride and first pixel along each axis, and the places without zeros.

    ``fills`` tells whether there are pixels enough for a picture that is put together of parts.
    """
    stride, first, kinds = [1] * len(spatial), [0] * len(spatial), set[str]()
    for number, axis in enumerate(spatial):
        if (spaced := _spaced(places, axis)) is not None:
            stride[number], first[number] = spaced
            kinds.add("zeros")
            keep = torch.arange(spaced[1], places.shape[axis], spaced[0])
            numbers, places, which = (
                each.index_select(axis, keep) for each in (numbers, places, which)
            )
            continue
        step, start = _run(places, axis)
        if 1 < step < places.shape[axis] and _repeats(which, axis, step):
            stride[number], first[number] = step, start
            kinds.add("repeat" if _run(numbers, axis)[0] == step else "shuffle")
        elif step == 0:
            kinds.add("unknown")
    holes = any(_has_holes(places, axis) for axis in spatial)
    if "unknown" in kinds and fills and not holes:  # Parts of a picture, side by side.
        kinds = set[str]()
    if not kinds:
        return "unknown" if holes else "move", stride, first, places
    return kinds.pop() if len(kinds) == 1 else "unknown", stride, first, places


def _decode(numbers: Tensor, roots: Sequence[Slot], ndim: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return the pixel and the feature that each number stems from, and of which root; or -1."""
    sizes = torch.tensor([prod(slot.shape) for slot in roots])
    stops = sizes.cumsum(0)
    which = torch.bucketize(numbers.contiguous(), stops, right=True).where(numbers >= 0, -1)
    places, features = torch.full_like(numbers, -1), torch.full_like(numbers, -1)
    for index, slot in enumerate(roots):
        shape = slot.shape
        if _has_features_last(slot.call):
            inner, count = 1, shape[-1]
        else:
            more = 2 + max(0, len(shape) - ndim)
            inner, count = prod(shape[more:]), prod(shape[1:more])
        local = numbers - (stops[index] - sizes[index])
        mine = which == index
        places = torch.where(mine, local // (count * inner) * inner + local % inner, places)
        features = torch.where(mine, local // inner % count, features)
    return places, features, which


def _spaced(places: Tensor, axis: int) -> tuple[int, int] | None:
    """Return the distance of the pixels that hold anything along an axis, and the first of them."""
    others = [each for each in range(places.ndim) if each != axis]
    held = (places >= 0).amax(others).nonzero().flatten()
    gaps = held.diff()
    if not gaps.numel() or int(gaps[0]) == 1 or bool((gaps != gaps[0]).any()):
        return None
    return int(gaps[0]), int(held[0])


def _repeats(which: Tensor, axis: int, step: int) -> bool:
    """Tell whether neighbouring blocks stem from the same roots in the same order."""
    n = which.shape[axis]
    start, length = (n // 4, n // 2) if n >= 32 else (0, n)
    near, far = (which.narrow(axis, start + each, length - step) for each in (0, step))
    return bool(((near == far) | (near < 0) | (far < 0)).all())


def _has_holes(places: Tensor, axis: int) -> bool:
    """Tell whether a pixel that holds nothing lies between two that hold something."""
    count = places.shape[axis] - 2
    if count < 1:
        return False
    one, two, three = (places.narrow(axis, start, count) >= 0 for start in range(3))
    return bool((one & ~two & three).any())


def _run(values: Tensor, axis: int) -> tuple[int, int]:
    """Return how many neighbours along an axis are alike, and where the first such run starts.

    0 where that differs from place to place. Of a long axis the middle half counts, which padding
    does not reach.
    """
    n = values.shape[axis]
    start, length = (n // 4, n // 2) if n >= 32 else (0, n)
    near, far = (values.narrow(axis, start + each, length - 1) for each in (0, 1))
    others = [each for each in range(values.ndim) if each != axis]
    held = (near >= 0) & (far >= 0)
    changed, alike = (((near != far) & held).amax(others), ((near == far) & held).amax(others))
    if bool((changed & alike).any()):
        return 0, 0
    borders = (~alike).nonzero().flatten() + start + 1
    if not borders.numel():
        return n, 0
    gaps = borders.diff()
    if not gaps.numel():
        step = int(borders[0]) if 2 * int(borders[0]) == n else 1
    elif bool((gaps != gaps[0]).any()):
        return 0, 0
    else:
        step = int(gaps[0])
    return step, int(borders[0]) % step


def _main_root(roots: Sequence[Slot], which: Tensor) -> Slot:
    """Return the root that most pixels stem from."""
    counts = torch.bincount(which[which >= 0].flatten(), minlength=len(roots))
    return roots[int(counts.argmax())]


def _phases(
    played: Tensor, roots: Sequence[Slot], stride: Sequence[int], first: Sequence[int]
) -> tuple[tuple[int, ...], ...]:
    """Return the channels that each block of a shuffle holds; nothing where roots differ."""
    for axis, (step, start) in enumerate(zip(stride, first, strict=True), start=2):
        count = (played.shape[axis] - start) // step
        played = played.narrow(axis, start + count // 2 * step, step)
    _, features, which = _decode(played.long() - 1, roots, played.ndim)
    if bool((which != which.flatten()[0]).any()):
        return ()
    return tuple(tuple(map(int, each)) for each in features[0].flatten(1))


def _are_moved(places: Tensor, in_size: Sequence[int], offset: Sequence[int]) -> bool:
    """Tell whether all pixels of a root lie where one offset says, and none twice."""
    wanted = torch.zeros(places.shape[2:], dtype=torch.long)
    for axis, (n, f) in enumerate(zip(in_size, offset, strict=False)):
        shape = [-1 if each == axis else 1 for each in range(len(in_size))]
        wanted = wanted * n + (torch.arange(places.shape[axis + 2]) - f).view(shape)
    return bool(offset) and bool(((places == wanted) | (places < 0)).all())


def _offsets(
    places: Tensor,
    in_size: Sequence[int],
    stride: Sequence[int],
    first: Sequence[int],
    spaced: bool,
) -> tuple[int, ...]:
    """Return where what stems from pixel 0 of the root begins along each axis."""
    middle = [n // 2 if spaced else (n - f) // s // 2 * s + f
              for n, s, f in zip(places.shape[2:], stride, first, strict=True)]  # fmt: skip
    place = int(places[(0, 0, *middle)])
    if place < 0:
        return ()
    offsets: list[int] = []
    for n, m, s, f in zip(in_size[::-1], middle[::-1], stride[::-1], first[::-1], strict=True):
        place, coordinate = divmod(place, n)
        offsets.append((f + m * s if spaced else m) - s * coordinate)
    return tuple(offsets[::-1])
