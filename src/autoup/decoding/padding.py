"""How an encoder pads: read from its convolutions and pooling, axis by axis.

An axis is causal where none of them looks ahead along it, further than to the end of its own
stride, and one at least is padded more in front than behind.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from torch.fx import Node

from autoup.capturing.operators import CONVOLUTIONS, IDENTITIES, TRANSPOSED, argument, name_of
from autoup.capturing.steps import Point, Step
from autoup.decoding.borders import ZEROS, Border
from autoup.decoding.concatenation import read_concatenation
from autoup.decoding.parts import Part
from autoup.inspecting.calls import per_dim

_POOLING = {f"{kind}_pool{dims}d": dims for kind in ("avg", "max") for dims in (1, 2, 3)}
_SLIDING = CONVOLUTIONS | TRANSPOSED | _POOLING


@dataclass(frozen=True, slots=True)
class _Window:
    """What slides along one axis: a convolution or pooling, with the paddings before it.

    Args:
        label: Of the axis, as in ``layouts``.
        mode: Of the padding; None where there is none, ``"valid"`` where pixels are lost by that.
        ahead: Whether it sees what comes later than its own stride.
        late: Whether it is padded more in front than behind.
    """

    label: str
    mode: str | None
    ahead: bool
    late: bool


def read_borders(
    steps: Sequence[Step], parts: Sequence[Part], *, causal: bool
) -> dict[str, Border]:
    """Return for each axis of the input how the encoder pads it in most places.

    Args:
        steps: Of the encoder, those too that need no undoing.
        parts: What is to be undone.
        causal: Whether the decoder of a causal encoder is to be causal.

    Example:
        >>> import torch
        >>> from autoup.capturing.capture import capture
        >>> from autoup.decoding.classifying import Reading
        >>> from autoup.capturing.steps import read_steps
        >>> encoder = torch.nn.Sequential(torch.nn.ZeroPad1d((2, 0)), torch.nn.Conv1d(1, 8, 3))
        >>> steps = read_steps(capture(encoder, (1, 1, 9), None), encoder)
        >>> parts = Reading(True, False, False, True, print).parts(steps)
        >>> read_borders(steps, parts, causal=True)
        {'0': Border(mode='zeros', causal=True, stride=0)}
    """
    windows = [window for step in steps for window in _windows(step)]
    apart = {label for part in parts for label in _padded_apart(part)}
    borders: dict[str, Border] = {}
    for label in dict.fromkeys(window.label for window in windows):
        along = [window for window in windows if window.label == label]
        late = any(each.late for each in along) and not any(each.ahead for each in along)
        borders[label] = Border(
            _commonest(along) or "zeros", causal and late and label not in apart
        )
    return borders


def borders_of(part: Part, borders: Mapping[str, Border]) -> tuple[Border, ...]:
    """Return how each spatial axis of the map before a part goes on: as in it, or as in most.

    Args:
        part: Of the encoder.
        borders: What ``read_borders`` returned.

    Example:
        >>> import torch
        >>> from autoup.capturing.capture import capture
        >>> from autoup.decoding.classifying import Reading
        >>> from autoup.capturing.steps import read_steps
        >>> pool = torch.nn.MaxPool1d(2)
        >>> steps = read_steps(capture(pool, (1, 1, 8), None), pool)
        >>> parts = Reading(True, False, False, True, print).parts(steps)
        >>> borders_of(*parts, {"0": Border("circular")})
        (Border(mode='circular', causal=False, stride=2),)
    """
    windows, found = [*_windows(part.step)], list[Border]()
    for axis, label in enumerate(_labels(part.before)):
        usual, along = borders.get(label, ZEROS), [each for each in windows if each.label == label]
        cut = part.kind == "convolution" and any(each.mode == "valid" for each in along)
        mode = "zeros" if cut else _commonest(along) or usual.mode
        found.append(Border(mode, usual.causal, _stride(part, axis)))
    return tuple(found)


def _commonest(windows: Iterable[_Window]) -> str | None:
    modes = Counter(each.mode for each in windows if each.mode not in (None, "valid"))
    return next((mode for mode, _ in modes.most_common(1)), None)


def _labels(point: Point) -> list[str]:
    """Return the spatial axes of a map; several that share a dimension are one."""
    layout, order = point.layout, point.map_order
    if layout is None or order is None:
        return []
    return ["".join(dict(layout[axis])) for axis in order[2:]]


def _padded_apart(part: Part) -> Iterator[str]:
    """Yield the axes in front of which a padding stands by itself: what undoes it looks ahead."""
    if part.kind == "pad":
        for label, axis in zip(
            _labels(part.before), (part.before.map_order or ())[2:], strict=True
        ):
            if part.pads[axis][0]:
                yield label


def _windows(step: Step) -> Iterator[_Window]:
    """Yield all axes of all that slides over the map before a step."""
    labels = _labels(step.before)
    for node in step.nodes:
        if labels and _SLIDING.get(name_of(node)) == len(labels):
            yield from (_read(node, axis, label) for axis, label in enumerate(labels))


def _read(node: Node, axis: int, label: str) -> _Window:
    k, s, own, d = _numbers(node, axis)
    if name_of(node) in TRANSPOSED:
        return _Window(label, None, k > 1, late=False)
    source, front, behind, mode = _paddings(node, axis)
    size, made = (each.meta["val"].shape[2 + axis] for each in (source, node))
    if name_of(node) in CONVOLUTIONS and mode is None:
        whole = size // s <= made <= -(-size // s)
        mode = "zeros" if any(own) else None if whole else "valid"
    front, behind = front + own[0], behind + own[1] - _cut_behind(node, axis)
    ahead = made > 1 and (front < d * (k - 1) + 1 - s or mode == "circular")
    return _Window(label, mode, ahead, front > behind)


def _numbers(node: Node, axis: int) -> tuple[int, int, tuple[int, int], int]:
    """Return kernel size, stride, the padding of its own and dilation along an axis."""
    name = name_of(node)
    pooling, dims = name in _POOLING, _SLIDING[name]

    def read(position: int, word: str, default: int) -> int:
        given = argument(node, position, word, None)
        return per_dim(default if given in (None, []) else given, dims)[axis]

    if pooling:
        k, p = read(1, "kernel_size", 1), read(3, "padding", 0)
        return k, read(2, "stride", k), (p, p), read(4, "dilation", 1) if "max" in name else 1
    k, d = argument(node, 1, "weight", None).meta["val"].shape[2 + axis], read(5, "dilation", 1)
    if isinstance(padding := argument(node, 4, "padding", 0), str):
        total = d * (k - 1) if padding == "same" else 0
        return k, read(3, "stride", 1), (total // 2, total - total // 2), d
    p = read(4, "padding", 0)
    return k, read(3, "stride", 1), (p, p), d


def _paddings(node: Node, axis: int) -> tuple[Node, int, int, str | None]:
    """Follow the input back through paddings: where they start, and what they add along an axis."""
    place = 2 * (_SLIDING[name_of(node)] - 1 - axis)
    front, behind, mode = 0, 0, None
    source: Node = node.args[0]  # pyright: ignore[reportAssignmentType]
    while source.op == "call_function":
        joined = read_concatenation(source)
        if joined is not None and joined.dim > 1:
            if joined.dim == 2 + axis:
                front, behind, mode = front + joined.front, behind + joined.behind, joined.mode
            source = joined.source
            continue
        pads = name_of(source) in ("pad", "constant_pad_nd")
        if not pads and not _is_idle(source):
            break
        if pads and any(pair := argument(source, 1, "pad", [])[place : place + 2]):
            front, behind = front + pair[0], behind + pair[1]
            mode = argument(source, 2, "mode", "constant") if name_of(source) == "pad" else ""
            mode = mode if mode in ("circular", "reflect", "replicate") else "zeros"
        source = source.args[0]  # pyright: ignore[reportAssignmentType]
    return source, front, behind, mode


def _is_idle(node: Node) -> bool:
    """Whether an operator leaves a tensor as it is, as a slice of all does."""
    if name_of(node) not in IDENTITIES | {"slice"}:
        return False
    return node.args[0].meta["val"].shape == node.meta["val"].shape  # pyright: ignore


def _cut_behind(node: Node, axis: int) -> int:
    """Return how much a slice behind an operator cuts off the end of an axis."""
    sizes = [
        user.meta["val"].shape[2 + axis]
        for user in node.users
        if name_of(user) == "slice" and not argument(user, 2, "start", 0)
    ]
    return node.meta["val"].shape[2 + axis] - min(sizes) if len(sizes) == len(node.users) else 0


def _stride(part: Part, axis: int) -> int:
    """Return the stride of a part along an axis, the largest of its ways; 0 where none is known."""
    dims = len(_labels(part.before))
    reached = {part.before.node: 1}
    for node in part.step.nodes:
        ways = [reached[each] for each in node.all_input_nodes if each in reached]
        sliding = _SLIDING.get(name_of(node)) == dims and name_of(node) not in TRANSPOSED
        reached[node] = max(ways, default=1) * (_numbers(node, axis)[1] if sliding else 1)
    return reached.get(part.after.node, 0)
