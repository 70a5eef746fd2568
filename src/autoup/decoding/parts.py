"""What a decoder has to undo: the steps of an encoder, told apart and simplified.

Steps that leave the shape alone and have no weights vanish, unless they are a normalisation or
an activation. A padding joins the convolution or pooling that follows it, and operators that
only shuffle channels go, since the next weights can absorb them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import torch

from autoup.decoding.operators import (
    CONVOLUTIONS,
    ELEMENTWISE,
    IDENTITIES,
    RESHAPES,
    TRANSPOSED,
    Build,
    Norm,
    argument,
    main_activation,
    main_norm,
    name_of,
    order_of,
    read_activation,
    read_composed_activation,
    read_norm,
)
from autoup.decoding.steps import Point, Step

Pads = tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Part:
    """A step of the encoder and what it is.

    Args:
        kind: ``"norm"``, ``"activation"``, ``"convolution"``, ``"transposed"``, ``"linear"``,
            ``"resize"`` (pooling and the like, each channel by itself), ``"reshape"``,
            ``"permute"``, ``"shuffle"`` (of pixels), ``"pad"`` or ``"block"``.
        step: The operators and the points before and after them.
        norm: The normalisation that it is, or for a block the one that it has.
        activation: Likewise.
        pads: Pixels added in front of and behind each dimension before anything else.
    """

    kind: str
    step: Step
    norm: Norm | None = None
    activation: Build | None = None
    pads: Pads = ()

    @property
    def before(self) -> Point:
        """The point that the part starts from."""
        return self.step.before

    @property
    def after(self) -> Point:
        """The point that the part leads to."""
        return self.step.after


def read_parts(steps: Sequence[Step], *, fold: bool, merge: bool) -> list[Part]:
    """Return what is to be undone, in the encoder's order.

    Args:
        steps: All steps from input to output.
        fold: Whether an uneven padding joins what follows it, too.
        merge: Whether all between two changes of resolution becomes one block.

    Example:
        >>> import torch
        >>> from autoup.decoding.capture import capture
        >>> from autoup.decoding.steps import read_steps
        >>> encoder = torch.nn.Sequential(torch.nn.Conv2d(1, 8, 3), torch.nn.Dropout())
        >>> steps = read_steps(capture(encoder, (1, 1, 9, 9), None))
        >>> [part.kind for part in read_parts(steps, fold=True, merge=False)]
        ['convolution']
    """
    found = [part for step in steps if (part := _classify(step))]
    parts = _fold_pads(_drop_shuffles(_join_channel_norms(found)), fold)
    return _merge(parts) if merge else parts


def _classify(step: Step) -> Part | None:
    nodes = _without_selection(step)
    changed = step.before.shape != step.after.shape
    if len(nodes) == 1:
        if part := _classify_operator(step, changed):
            return part
        if name_of(nodes[0]) in IDENTITIES or _is_elementwise(step):
            return None
    elif not changed and not step.weights:
        activation = read_composed_activation(nodes)
        return Part("activation", step, activation=activation) if activation else None
    if not changed and not step.weights:
        return None
    if not step.weights and _keeps_channels(step):
        return Part("resize", step)
    return _as_block(step)


def _classify_operator(step: Step, changed: bool) -> Part | None:
    node = step.nodes[0]
    name = name_of(node).rstrip("_")
    if norm := read_norm(node):
        return Part("norm", step, norm=norm)
    if activation := read_activation(node):
        return Part("activation", step, activation=activation)
    if name in CONVOLUTIONS and node.args[0] is step.before.node:
        return Part("convolution", step)
    if name in TRANSPOSED and node.args[0] is step.before.node:
        return Part("transposed", step)
    if name == "linear" and node.args[0] is step.before.node:
        return Part("linear", step)
    if order_of(node, len(step.before.shape)):
        return Part("permute", step)
    if changed and name in RESHAPES:
        return Part("reshape", step)
    if changed and name in ("pixel_shuffle", "pixel_unshuffle"):
        return Part("shuffle", step)
    if changed and (pads := _read_pads(step, name)):
        return Part("pad", step, pads=pads)
    return None


def _without_selection(step: Step) -> tuple[torch.fx.Node, ...]:
    """Leave out the choice of one tensor from an operator that makes several."""
    nodes = step.nodes
    return nodes[:-1] if len(nodes) == 2 and name_of(nodes[-1]) == "getitem" else nodes


def _is_elementwise(step: Step) -> bool:
    name = name_of(step.nodes[0]).rstrip("_")
    return name in ELEMENTWISE and step.before.shape == step.after.shape


def _keeps_channels(step: Step) -> bool:
    """Whether a map becomes a map or vector of as many channels, with no other new axis."""
    before, after = _labels(step.before), _labels(step.after)
    if before is None or after is None or step.before.map_order is None:
        return False
    return set(after) <= set(before) and after.get(("C",)) == before.get(("C",))


def _labels(point: Point) -> dict[tuple[str, ...], int] | None:
    """Return the size of each dimension by its labels; None where two have the same."""
    if point.layout is None:
        return None
    names = [tuple(dict.fromkeys(label for label, _ in entry)) for entry in point.layout]
    return dict(zip(names, point.shape, strict=True)) if len(set(names)) == len(names) else None


def _read_pads(step: Step, name: str) -> Pads | None:
    """Return what a padding adds, or a slice cuts off, in front of and behind each dimension."""
    node, ndim = step.nodes[0], len(step.before.shape)
    if name in ("pad", "constant_pad_nd"):
        amounts: list[int] = list(argument(node, 1, "pad", []))
        pairs = list(zip(amounts[::2], amounts[1::2], strict=True))[::-1]
        return ((0, 0),) * (ndim - len(pairs)) + tuple(pairs)
    if name == "slice" and argument(node, 4, "step", 1) == 1:
        dim: int = argument(node, 1, "dim", 0) % ndim
        start: int = argument(node, 2, "start", 0) or 0
        whole, left = step.before.shape[dim], step.after.shape[dim]
        start = max(0, start + whole) if start < 0 else start
        return tuple(
            (-start, start + left - whole) if axis == dim else (0, 0) for axis in range(ndim)
        )
    return None


def _as_block(step: Step) -> Part:
    return Part("block", step, norm=main_norm(step.nodes), activation=main_activation(step.nodes))


def _join_channel_norms(parts: Sequence[Part]) -> list[Part]:
    """Join permute, layer normalisation, permute back: a normalisation over channels."""
    joined: list[Part] = []
    for part in parts:
        joined.append(part)
        trio = joined[-3:]
        norm = trio[1].norm if len(trio) == 3 else None
        if [each.kind for each in trio] != ["permute", "norm", "permute"] or norm is None:
            continue
        first, last = trio[0], trio[2]
        if first.before.shape == last.after.shape and len(norm.shape) == 1:
            step = replace(_join([each.step for each in trio]), name=trio[1].step.name)
            joined[-3:] = [Part("norm", step, norm=replace(norm, shape=()))]
    return joined


def _join(steps: Sequence[Step]) -> Step:
    nodes = tuple(node for step in steps for node in step.nodes)
    paths = [step.name.split(".") for step in steps]
    shared = [each[0] for each in zip(*paths, strict=False) if len(set(each)) == 1]
    name = ".".join(shared) or steps[0].name
    return Step(nodes, steps[0].before, steps[-1].after, name, sum(s.weights for s in steps))


def _drop_shuffles(parts: Sequence[Part]) -> list[Part]:
    """Drop what rearranges a tensor and leaves every dimension with its size and its meaning."""
    kept: list[Part] = []
    for part in parts:
        kept.append(part)
        for start in range(len(kept) - 1, -1, -1):
            if kept[start].kind not in ("reshape", "permute"):
                break
            if _same_dimensions(kept[start].before, part.after):
                del kept[start:]
                break
    return kept


def _same_dimensions(one: Point, other: Point) -> bool:
    if one.layout is None or other.layout is None or one.shape != other.shape:
        return False
    return all(
        _merged(first) == _merged(second)
        for first, second in zip(one.layout, other.layout, strict=True)
    )


def _merged(entry: Sequence[tuple[str, int]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(label for label, size in entry if size > 1))


def _fold_pads(parts: Sequence[Part], uneven: bool) -> list[Part]:
    """Let a padding of the spatial axes join the convolution or pooling behind it."""
    folded: list[Part] = []
    for part in parts:
        while folded and folded[-1].kind == "pad" and _takes(part, folded[-1], uneven):
            last = folded.pop()
            step = _join([last.step, part.step])
            pads = _added(part.pads or ((0, 0),) * len(last.pads), last.pads)
            part = replace(part, step=replace(step, name=part.step.name), pads=pads)
        folded.append(part)
    return folded


def _added(one: Pads, other: Pads) -> Pads:
    return tuple((a + c, b + d) for (a, b), (c, d) in zip(one, other, strict=True))


def _takes(part: Part, padding: Part, uneven: bool) -> bool:
    """Whether a padding joins a part: where it is even, or does not enlarge the map by itself."""
    pads, sizes = padding.pads, zip(part.after.shape, padding.before.shape, strict=True)
    if part.kind not in ("convolution", "resize") or part.before.map_order is None:
        return False
    spatial = all(pair == (0, 0) for pair in pads[:2]) and min(map(min, pads)) >= 0
    grows = any(after > before for after, before in list(sizes)[2:])
    even = all(front == behind for front, behind in pads)
    return spatial and (even or part.kind == "resize" or (uneven and not grows))


def _merge(parts: Sequence[Part]) -> list[Part]:
    """Make one block of all between two changes of resolution, where it has several layers.

    Normalisation and activation at its end stay apart, for the mirror of the next layer.
    """
    points = [part.before for part in parts] + [part.after for part in parts[-1:]]
    sizes = {number: size for number, point in enumerate(points) if (size := _map_size(point))}
    ends = [one for one, other in pairwise(sizes) if sizes[one] != sizes[other]]
    last = max(sizes, default=0)
    merged: list[Part] = []
    for start, end in pairwise(sorted({0, *ends, *range(last, len(points))})):
        span = parts[start:end]
        layers = [n for n, part in enumerate(span) if part.kind not in ("norm", "activation")]
        if len(layers) > 1:
            head, tail = layers[0], layers[-1] + 1
            step = _join([part.step for part in span[head:tail]])
            block = _as_block(replace(step, name=span[head].step.name))
            span = [*span[:head], block, *span[tail:]]
        merged += span
    return merged


def _map_size(point: Point) -> tuple[int, ...] | None:
    """Return the spatial sizes of a map whose every dimension is one axis; None for others."""
    order = point.map_order
    if order is None or any(len(entry) > 1 for entry in (point.layout or ())[1:]):
        return None
    return tuple(point.shape[axis] for axis in order[2:])
