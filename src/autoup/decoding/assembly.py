"""Put the layers that undo an encoder's parts in order: one ``nn.Sequential``, named after them."""

from collections import Counter, OrderedDict
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import count

import torch
from torch import nn

from autoup.decoding.borders import Layers, convolve
from autoup.decoding.builders import Settings, build_norm
from autoup.decoding.inverses import undo
from autoup.decoding.operators import Norm
from autoup.decoding.padding import borders_of
from autoup.decoding.parts import Part
from autoup.decoding.steps import Point, where
from autoup.errors import InfeasibleError
from autoup.layers.conv_transpose import AutoConvTransposeNd

_FOLLOWING = ("norm", "activation")
_LAST = 0.1  # Scale of the last layer behind normalisations at the start.
WEIGHTED = ("convolution", "transposed", "linear", "block")


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
    layers, following = _sort(parts)
    weighted = [number for number, part in enumerate(layers) if part.kind in WEIGHTED]
    first = weighted[0] if weighted else len(layers)
    children = _Children()
    for number in range(len(layers) - 1, -1, -1):
        part, is_last = layers[number], number <= first
        followers = [] if is_last else _followers(part, following[number - 1])
        if part.kind == "block":
            bias = not any(each.norm for each in followers)
        else:  # In the encoder, a normalisation may stand in for the bias of its first layer.
            bias = is_last and any(each.norm for each in following[number])
        with _naming(part, parts):
            made = undo(part, settings, bias=bias)
            if small_start and number == first:
                _start_small(made)
            behind = [(each.step.name, _build_follower(each, settings)) for each in followers]
        if part.kind == "block":
            children.put(part.step.name, made + [layer for _, layer in behind])
        else:
            children.put(part.step.name, made)
            for name, layer in behind:
                children.put(name, [layer])
        if not is_last and _is_stage(part):
            children.put(f"{part.step.name}.refine", _refine(part, parts, refine, settings))
    return nn.Sequential(children.modules)


def _start_small(layers: Layers) -> None:
    """Scale the weights that a stage without activations starts from, and with them its output."""
    for _, layer in layers:
        if isinstance(layer, AutoConvTransposeNd):
            with torch.no_grad():
                layer.weight.mul_(_LAST)
            return


def _sort(parts: Sequence[Part]) -> tuple[list[Part], list[list[Part]]]:
    """Return the layers, and for each the normalisations and activations that follow it."""
    layers: list[Part] = []
    following: list[list[Part]] = []
    for part in parts:
        if part.kind not in _FOLLOWING:
            layers.append(part)
            following.append([])
        elif layers:
            following[-1].append(part)
    return layers, following


def _followers(part: Part, following: Sequence[Part]) -> list[Part]:
    """Return what follows the mirror of a part; what is missing behind a block comes from it."""
    followers = list(following)
    here = replace(part.step, after=part.before)
    if part.kind == "block" and part.norm and not any(each.norm for each in following):
        followers.insert(0, Part("norm", here, norm=_fitted(part.norm, part.before)))
    if part.kind == "block" and part.activation and not any(each.activation for each in following):
        followers.append(Part("activation", here, activation=part.activation))
    return followers


def _fitted(norm: Norm, point: Point) -> Norm:
    """Return the kind of normalisation that fits a point of the encoder other than its own."""
    order = point.map_order
    first = len(point.shape) == 2 or (order is not None and order[1] == 1)
    return replace(norm, shape=()) if first else replace(norm, kind="layer", shape=point.shape[-1:])


def _build_follower(part: Part, settings: Settings) -> tuple[str, nn.Module]:
    if part.norm:
        return "norm", build_norm(part.norm, part.after.shape, settings)
    assert part.activation
    return "activation", part.activation()


def _is_stage(part: Part) -> bool:
    """Whether a part of a map of pictures is a block, or changes the resolution."""
    order = part.before.map_order
    if order is None or list(order) != sorted(order):
        return False
    changes = part.before.shape[2:] != part.after.shape[2:]
    return part.kind == "block" or (changes and part.kind in ("convolution", "resize"))


def _refine(part: Part, parts: Sequence[Part], count: int, settings: Settings) -> Layers:
    """Return ``count`` convolutions of 3 taps with the encoder's commonest normalisation."""
    norms = Counter(each.norm for each in parts if each.norm).most_common(1)
    activate = part.activation or next((p.activation for p in parts if p.activation), None)
    channels, *size = part.before.shape[1:]
    borders = borders_of(part, settings.borders)
    layers: Layers = []
    for _ in range(count):
        layers += convolve(channels, size, borders, bias=not norms, **settings.factory)
        if norms:
            norm = build_norm(_fitted(norms[0][0], part.before), part.before.shape, settings)
            layers.append(("norm", norm))
        layers += [("activation", activate())] if activate else []
    return layers


class _Children:
    """Modules by name, in order; several under one name become a ``nn.Sequential``."""

    def __init__(self) -> None:
        self.modules: OrderedDict[str, nn.Module] = OrderedDict()

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
        name = path.replace(".", "_")
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
