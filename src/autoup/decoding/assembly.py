"""Put the layers that undo an encoder's parts in order: one ``nn.Sequential``, named after them."""

import copy
from collections import Counter, OrderedDict
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import count
from typing import TYPE_CHECKING

import torch
from torch import nn

from autoup.capturing.operators import Norm, main_norm
from autoup.capturing.steps import Point, Step, where
from autoup.decoding.borders import Layers, convolve
from autoup.decoding.builders import Settings, build_norm
from autoup.decoding.choosing import main_activation
from autoup.decoding.gates import between_gates, gate_of, rescaled, share_gates, undo_gated
from autoup.decoding.joining import as_one_block, join_lost
from autoup.decoding.padding import borders_of
from autoup.decoding.parts import FOLLOWING, WEIGHTED, Part
from autoup.decoding.residuals import undo_residual
from autoup.errors import InfeasibleError
from autoup.layers.conv_transpose import AutoConvTransposeNd
from autoup.layers.residual import Residual

if TYPE_CHECKING:
    from fractions import Fraction  # Loads what few need.

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
    layers, between = _sort(parts)
    weighted = [number for number, part in enumerate(layers) if part.kind in WEIGHTED]
    first = weighted[0] if weighted else len(layers)
    gates = share_gates(layers, between, max(0, min(first, len(layers) - 1)))
    children = _Children()
    for number in range(len(layers) - 1, -1, -1):
        part, is_last = layers[number], number <= first
        followers = None if is_last else between[number]
        # In the encoder, a normalisation may stand in for the bias of its first layer.
        bias = is_last and any(each.norm for each in between[number + 1])
        with _naming(part, parts):
            part, made, behind = _undo(part, followers, gates[number], settings, bias=bias)
            if small_start and number == first:
                _start_small(made)
        children.put_stage(part, made, behind)
        if not is_last and _is_stage(part):
            children.put(f"{part.step.name}.refine", _refine(part, parts, refine, settings))
    return nn.Sequential(children.modules)


def _undo(
    part: Part,
    followers: Sequence[Part] | None,
    gates: "tuple[Fraction, Fraction]",
    settings: Settings,
    *,
    bias: bool,
) -> tuple[Part, Layers, list[tuple[str, Layers]]]:
    """Undo a part between gates, with what is to follow; nothing may where that is None.

    Returns the part as what it is undone, its layers, and by name the layers that follow.
    """
    wide, narrow = gates
    if part.kind == "residual":
        stage = _undo_residual(part, settings)
        if stage is not None:
            made = between_gates([("residual", stage)], part, settings, wide=wide, narrow=narrow)
            return part, made, _build_followers(followers or (), settings)
        part = replace(part, kind="block")
    if part.kind == "block":
        own = _of_block(part, followers or ()) if followers is not None else []
        wide *= gate_of(own) / gate_of(followers or ())  # A block may bring a gate.
        followers, bias = own, not any(each.norm for each in own)
    made = undo_gated(part, settings, bias=bias, wide=wide, narrow=narrow)
    return part, made, _build_followers(followers or (), settings)


def _undo_residual(part: Part, settings: Settings) -> Residual | None:
    """Undo a block way by way; what of its ways cannot be told apart as one block."""
    lost = tuple(tuple(join_lost(way, _bare_block)) for way in part.ways)
    merged = tuple(tuple(as_one_block(way, _bare_block)) for way in part.ways)
    for each in (part, replace(part, ways=lost), replace(part, ways=merged)):
        try:
            return undo_residual(each, settings, _assemble_branch)
        except ValueError:  # A meaning of dimensions that is lost, or a convolution's adjoint.
            continue
    return None


def _bare_block(step: Step) -> Part:
    activation, _ = main_activation(step)
    return Part("block", step, norm=main_norm(step.nodes), activation=activation)


def _assemble_branch(block: Part, parts: Sequence[Part], settings: Settings) -> nn.Sequential:
    """Undo the parts of a branch from the last to the first.

    What stands in front of its first layer, as before an activated convolution, stands in front
    here too; what stands behind its last layer stands behind.
    """
    layers, between = _sort(parts)
    if not layers:
        raise ValueError("its branch has no layer")
    leading, *inner, closing = between
    children = _Children(block.step.name)
    head = _led(leading, rescaled(block.after, 1 / gate_of(leading)))
    between = [_led(closing, block.before), *inner]
    ends = [*leading, *closing]  # What these take changes places as they do.
    gates = share_gates(layers, [ends, *inner, ends])
    for name, made in _build_followers(head, settings):
        children.put(name, made)
    for part, followers, gate in reversed([*zip(layers, between, gates, strict=True)]):
        children.put_stage(*_undo(part, followers, gate, settings, bias=False))
    return nn.Sequential(children.modules)


def _led(parts: Sequence[Part], point: Point) -> list[Part]:
    """Return normalisations and activations so that the last leads to another point."""
    return [
        _moved(part, rescaled(point, gate_of(parts[number:])))
        for number, part in enumerate(parts, 1)
    ]


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


def _sort(parts: Sequence[Part]) -> tuple[list[Part], list[list[Part]]]:
    """Return the layers, and the normalisations and activations before each and behind the last."""
    layers: list[Part] = []
    between: list[list[Part]] = [[]]
    for part in parts:
        if part.kind in FOLLOWING:
            between[-1].append(part)
        else:
            layers.append(part)
            between.append([])
    return layers, between


def _of_block(part: Part, before: Sequence[Part]) -> list[Part]:
    """Return what follows the mirror of a block; what is missing comes from it."""
    followers = list(before)
    here = replace(part.step, after=part.before)
    if part.activation and not any(each.activation for each in before):
        gate = part.activation.gate
        followers = followers if gate == 1 else [
            _moved(each, rescaled(each.after, gate)) for each in followers
        ]  # fmt: skip
        followers.append(Part("activation", here, activation=part.activation))
    if part.norm and not any(each.norm for each in before):
        point = rescaled(part.before, gate_of(followers))
        here = replace(here, after=point)
        followers.insert(0, Part("norm", here, norm=_fitted(part.norm, point)))
    return followers


def _fitted(norm: Norm, point: Point) -> Norm:
    """Return the kind of normalisation that fits a point of the encoder other than its own."""
    order = point.map_order
    first = len(point.shape) == 2 or (order is not None and order[1] == 1)
    return replace(norm, shape=()) if first else replace(norm, kind="layer", shape=point.shape[-1:])


def _build_followers(parts: Iterable[Part], settings: Settings) -> list[tuple[str, Layers]]:
    """Return normalisations and activations, by the names of what they are in the encoder.

    Raises:
        ValueError: An activation does not fit where it is to stand.
    """
    made: list[tuple[str, Layers]] = []
    for part in parts:
        if part.norm:
            layer = ("norm", build_norm(part.norm, part.after.shape, settings))
        else:
            layer = ("activation", _build_activation(part, settings))
        made.append((part.step.name, [layer]))
    return made


def _build_activation(part: Part, settings: Settings) -> nn.Module:
    device = settings.factory["device"]
    made = part.activation and part.activation.build(part.after, device)
    if made is None:
        raise ValueError(f"its activation does not fit {part.after.shape}")
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
    device = settings.factory["device"]
    found = (p.activation for p in (part, *parts) if p.activation and p.activation.is_plain)
    built = (each.build(part.before, device) for each in found)
    activation = next((each for each in built if each is not None), None)
    channels, *size = part.before.shape[1:]
    borders = borders_of(part, settings.borders)
    layers: Layers = []
    for _ in range(count):
        layers += convolve(channels, size, borders, bias=not norms, **settings.factory)
        if norms:
            norm = build_norm(_fitted(norms[0][0], part.before), part.before.shape, settings)
            layers.append(("norm", norm))
        layers += [("activation", copy.deepcopy(activation))] if activation else []
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
