"""Put the layers that undo an encoder's parts in order: one ``nn.Sequential``, named after them."""

from collections import Counter, OrderedDict
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import count

import torch
from torch import nn

from autoup.decoding.builders import CONV, Layers, Settings, build_norm
from autoup.decoding.inverses import undo
from autoup.decoding.operators import Norm
from autoup.decoding.parts import FOLLOWING, WEIGHTED, Part, as_one_block
from autoup.decoding.residuals import undo_residual
from autoup.decoding.steps import Point, where
from autoup.errors import InfeasibleError
from autoup.layers.conv_transpose import AutoConvTransposeNd
from autoup.layers.residual import Residual

_LAST = 0.1  # Scale of the last layer behind normalisations at the start.


def assemble(
    parts: Sequence[Part], settings: Settings, refine: int, *, small_start: bool
) -> nn.Sequential:
    """Undo the layers of an encoder from the last to the first.

    The normalisation and activation that follow a layer of the encoder follow the mirror of
    the next one, so that channels fit. The mirror of the first layer with weights, the last of
    the decoder, stays bare.

    Args:
        parts: What is to be undone, in the encoder's order.
        settings: What holds for all layers.
        refine: Convolutions of 3 taps behind each stage but the last.
        small_start: Whether the last layer starts at a tenth.

    Raises:
        InfeasibleError: A convolution has no adjoint.
        ValueError: The grid of pixels is lost; the message names the layer.
    """
    layers, following, _ = _sort(parts)
    weighted = [number for number, part in enumerate(layers) if part.kind in WEIGHTED]
    first = weighted[0] if weighted else len(layers)
    children = _Children()
    for number in range(len(layers) - 1, -1, -1):
        part, is_last = layers[number], number <= first
        followers = None if is_last else following[number - 1]
        # In the encoder, a normalisation may stand in for the bias of its first layer.
        bias = is_last and any(each.norm for each in following[number])
        with _naming(part, parts):
            part, made, behind = _undo(part, followers, settings, bias=bias)
            if small_start and number == first:
                _start_small(made)
        children.put_stage(part, made, behind)
        if not is_last and _is_stage(part):
            children.put(f"{part.step.name}.refine", _refine(part, parts, refine, settings))
    return nn.Sequential(children.modules)


def _undo(
    part: Part, followers: Sequence[Part] | None, settings: Settings, *, bias: bool
) -> tuple[Part, Layers, list[tuple[str, Layers]]]:
    """Undo a part, with what is to follow; nothing may where that is None.

    Returns the part as what it is undone, its layers, and by name the layers that follow.
    """
    if part.kind == "residual":
        stage = _undo_residual(part, settings)
        if stage is not None:
            return part, [("residual", stage)], _build_followers(followers or (), settings)
        part = replace(part, kind="block")
    if part.kind == "block":
        followers = [] if followers is None else _of_block(part, followers)
        bias = not any(each.norm for each in followers)
    made = undo(part, settings, bias=bias)
    return part, made, _build_followers(followers or (), settings)


def _undo_residual(part: Part, settings: Settings) -> Residual | None:
    """Undo a block way by way; its branch as one block where its layers cannot be told apart."""
    merged = tuple(tuple(as_one_block(way)) for way in part.ways)
    for each in (part, replace(part, ways=merged)):
        try:
            return undo_residual(each, settings, _assemble_branch)
        except ValueError:  # A meaning of dimensions that is lost, or a convolution's adjoint.
            continue
    return None


def _assemble_branch(block: Part, parts: Sequence[Part], settings: Settings) -> nn.Sequential:
    """Undo the parts of a branch from the last to the first.

    What stands in front of its first layer, as before an activated convolution, stands in front
    here too; what stands behind its last layer stands behind.
    """
    layers, following, leading = _sort(parts)
    children = _Children(block.step.name)
    if not layers:
        raise ValueError("its branch has no layer")
    head = [_moved(each, block.after) for each in leading]
    tail = [_moved(each, block.before) for each in following[-1]]
    for name, made in _build_followers(head, settings):
        children.put(name, made)
    for part, followers in reversed([*zip(layers, [tail, *following[:-1]], strict=True)]):
        children.put_stage(*_undo(part, followers, settings, bias=False))
    return nn.Sequential(children.modules)


def _moved(part: Part, point: Point) -> Part:
    """Return a normalisation or activation for another point of the encoder."""
    norm = part.norm and _fitted(part.norm, point)
    return replace(part, step=replace(part.step, after=point), norm=norm)


def _start_small(layers: Layers) -> None:
    """Scale the weights that a stage without activations starts from, and with them its output."""
    for _, layer in layers:
        if isinstance(layer, AutoConvTransposeNd):
            with torch.no_grad():
                layer.weight.mul_(_LAST)
            return


def _sort(parts: Sequence[Part]) -> tuple[list[Part], list[list[Part]], list[Part]]:
    """Return the layers, for each the normalisations and activations behind it, and the first."""
    layers: list[Part] = []
    following: list[list[Part]] = []
    leading: list[Part] = []
    for part in parts:
        if part.kind not in FOLLOWING:
            layers.append(part)
            following.append([])
        else:
            (following[-1] if layers else leading).append(part)
    return layers, following, leading


def _of_block(part: Part, following: Sequence[Part]) -> list[Part]:
    """Return what follows the mirror of a block; what is missing comes from it."""
    followers = list(following)
    here = replace(part.step, after=part.before)
    if part.norm and not any(each.norm for each in following):
        followers.insert(0, Part("norm", here, norm=_fitted(part.norm, part.before)))
    if part.activation and not any(each.activation for each in following):
        followers.append(Part("activation", here, activation=part.activation))
    return followers


def _fitted(norm: Norm, point: Point) -> Norm:
    """Return the kind of normalisation that fits a point of the encoder other than its own."""
    order = point.map_order
    first = len(point.shape) == 2 or (order is not None and order[1] == 1)
    return replace(norm, shape=()) if first else replace(norm, kind="layer", shape=point.shape[-1:])


def _build_followers(parts: Iterable[Part], settings: Settings) -> list[tuple[str, Layers]]:
    """Return normalisations and activations, by the names of what they are in the encoder."""
    made: list[tuple[str, Layers]] = []
    for part in parts:
        if part.norm:
            layer = ("norm", build_norm(part.norm, part.after.shape, settings))
        else:
            assert part.activation
            layer = ("activation", part.activation())
        made.append((part.step.name, [layer]))
    return made


def _is_stage(part: Part) -> bool:
    """Whether a part of a map of pictures is a block, or changes the resolution."""
    order = part.before.map_order
    if order is None or list(order) != sorted(order):
        return False
    changes = part.before.shape[2:] != part.after.shape[2:]
    return part.kind in ("block", "residual") or (
        changes and part.kind in ("convolution", "resize")
    )


def _refine(part: Part, parts: Sequence[Part], count: int, settings: Settings) -> Layers:
    """Return ``count`` convolutions of 3 taps with the encoder's commonest normalisation."""
    norms = Counter(each.norm for each in parts if each.norm).most_common(1)
    activate = part.activation or next((p.activation for p in parts if p.activation), None)
    channels, dims = part.before.shape[1], len(part.before.shape) - 2
    layers: Layers = []
    for _ in range(count):
        conv = CONV[dims](channels, channels, 3, padding=1, bias=not norms, **settings.factory)
        layers.append(("convolution", conv))
        if norms:
            norm = build_norm(_fitted(norms[0][0], part.before), part.before.shape, settings)
            layers.append(("norm", norm))
        layers += [("activation", activate())] if activate else []
    return layers


class _Children:
    """Modules by name, in order; several under one name become a ``nn.Sequential``."""

    def __init__(self, prefix: str = "") -> None:
        self.modules: OrderedDict[str, nn.Module] = OrderedDict()
        self._prefix = prefix and f"{prefix}."

    def put_stage(self, part: Part, layers: Layers, behind: list[tuple[str, Layers]]) -> None:
        """Put the layers that undo a part and what is behind them, which with a block is one."""
        if part.kind == "block":
            layers = layers + [layer for _, each in behind for layer in each]
        self.put(part.step.name, layers)
        for name, each in behind if part.kind != "block" else ():
            self.put(name, each)

    def put(self, path: str, layers: Layers) -> None:
        if len(layers) == 1:
            self.modules[self._free(path)] = layers[0][1]
        elif layers:
            inner = _Children()
            for word, layer in layers:
                inner.put(word, [(word, layer)])
            self.modules[self._free(path)] = nn.Sequential(inner.modules)

    def _free(self, path: str) -> str:
        """Return a name that is neither taken nor an attribute of ``nn.Sequential``."""
        name = path.removeprefix(self._prefix).replace(".", "_")
        name = f"layer_{name}" if name[0].isdigit() else name  # append() counts on from a number
        name += "_" if hasattr(nn.Sequential(), name) else ""
        numbered = (f"{name}_{number}" for number in count(2))
        return name if name not in self.modules else next(
            each for each in numbered if each not in self.modules
        )  # fmt: skip


@contextmanager
def _naming(part: Part, parts: Sequence[Part]) -> Generator[None]:
    """Tell in an error which layer of the encoder it is about."""
    try:
        yield
    except InfeasibleError as error:
        raise InfeasibleError(f"layer {part.step.name!r}: {error}") from None
    except ValueError as error:
        lost = next((each for each in parts if each.after.is_lost), None)
        if lost is None:
            raise ValueError(f"layer {part.step.name!r}: {error}") from None
        raise ValueError(
            f"encoder has no grid of pixels behind layer {lost.step.name!r}"
            f"{where(lost.step.nodes[-1])}: its output {lost.after.shape} mixes the "
            f"{lost.before.shape} before it with something else, such as a class token. "
            f"A decoder needs the grid: pass the part of the encoder before that layer, or an "
            f"encoder without the extra tokens. ({error})"
        ) from None
