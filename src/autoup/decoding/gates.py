"""Undo layers beside a gate, an activation that makes fewer channels than it takes.

In an encoder the layer before a gate makes the channels that it takes; in the decoder that is the
mirror of the layer behind it. So the mirror in front of a gate makes more channels than its layer
had, and the mirror behind it takes fewer.
"""

from collections.abc import Sequence
from dataclasses import replace
from math import prod
from typing import TYPE_CHECKING

from autoup.capturing.steps import Point
from autoup.decoding.borders import Layers
from autoup.decoding.builders import Settings
from autoup.decoding.inverses import undo
from autoup.decoding.parts import Part
from autoup.decoding.runs import channel_axis

if TYPE_CHECKING:
    from fractions import Fraction  # Loads what few need.

_FREE = ("block", "convolution", "linear", "transposed")  # Those with channels of their own choice.


def gate_of(followers: Sequence[Part]) -> "Fraction":
    """Return how many channels activations take for each one that the last of them makes."""
    from fractions import Fraction

    return prod((each.activation.gate for each in followers if each.activation), start=Fraction(1))


def share_gates(
    layers: Sequence[Part], between: Sequence[Sequence[Part]], bare: int = 0
) -> "list[tuple[Fraction, Fraction]]":
    """Return for each layer how many channels its mirror makes, and is given, for each of its own.

    A permutation leaves both to its neighbours, where nothing stands between.

    Args:
        layers: What is to be undone, in the encoder's order.
        between: What stands before each and behind the last.
        bare: Number of the last layer before which nothing of that is in the decoder.
    """
    one = gate_of(())
    gates = [gate_of(each) for each in between]
    wide, narrow = gates[:-1], gates[1:]
    narrow[:bare] = [one] * bare
    for number, part in enumerate(layers[:-1]):
        if part.kind == "permute" and not between[number + 1]:
            wide[number], wide[number + 1] = one, wide[number] * wide[number + 1]
    for number, part in reversed([*enumerate(layers)][1:]):
        if part.kind == "permute" and not between[number]:
            narrow[number], narrow[number - 1] = one, narrow[number] * narrow[number - 1]
    return list(zip(wide, narrow, strict=True))


def rescaled(point: Point, by: "Fraction") -> Point:
    """Return a point with another number of channels."""
    axis = channel_axis(point)
    if by == 1 or axis is None:
        return point
    size = point.shape[axis] * by
    return replace(point, shape=(*point.shape[:axis], int(size), *point.shape[axis + 1 :]))


def undo_gated(
    part: Part, settings: Settings, *, bias: bool, wide: "Fraction", narrow: "Fraction"
) -> Layers:
    """Return the layers that undo a part between gates.

    Args:
        part: What to undo; no normalisation and no activation.
        settings: What holds for all layers.
        bias: Whether to add a bias, where the encoder's layer has none or is a block.
        wide: How many channels to make for each one before the part.
        narrow: How many channels of the part are given by each one.

    Raises:
        InfeasibleError: A convolution has no adjoint.
        ValueError: The meaning of the dimensions is lost.
    """
    if part.kind in _FREE:
        before, after = rescaled(part.before, wide), rescaled(part.after, 1 / narrow)
        step = replace(part.step, before=before, after=after)
        return undo(replace(part, step=step), settings, bias=bias)
    made = undo(part, settings, bias=bias)
    return between_gates(made, part, settings, wide=wide, narrow=narrow)


def between_gates(
    layers: Layers, part: Part, settings: Settings, *, wide: "Fraction", narrow: "Fraction"
) -> Layers:
    """Return layers that undo a part, with layers of one tap to the channels of gates.

    Example:
        >>> from fractions import Fraction
        >>> plain = Settings(False, lambda _: None, {}, {})
        >>> between_gates([], None, plain, wide=Fraction(1), narrow=Fraction(1))
        []
    """
    if wide == narrow == 1:
        return layers
    before, after = rescaled(part.before, wide), rescaled(part.after, 1 / narrow)
    lead, end = _lead(part, after, part.after, settings), _lead(part, part.before, before, settings)
    return lead + layers + end


def _lead(part: Part, start: Point, end: Point, settings: Settings) -> Layers:
    """Return a layer of one tap from a point to one with another number of channels."""
    if start.shape == end.shape:
        return []
    step = replace(part.step, nodes=(), before=end, after=start)
    return [("widen", layer) for _, layer in undo(Part("block", step), settings, bias=True)]
