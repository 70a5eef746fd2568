"""Grow a kernel inside a layer, whatever makes the kernel, and undo it if something fails."""

from collections.abc import Sequence
from dataclasses import replace
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from autoup.errors import Refusal
from autoup.inspecting.modules import kernel_in_use
from autoup.repairing.growth import Growth


class Journal:
    """Changes to modules and tensors that can be undone.

    Example:
        >>> layer, journal = nn.ReLU(), Journal()
        >>> journal.set(layer, "inplace", True)
        >>> journal.undo()
        >>> layer.inplace
        False
    """

    def __init__(self) -> None:
        self._entries: list[tuple[Any, str, Any]] = []

    def __len__(self) -> int:
        return len(self._entries)

    def set(self, owner: Any, name: str, value: Any) -> None:
        """Set an attribute."""
        self._entries.append((owner, name, getattr(owner, name)))
        setattr(owner, name, value)

    def set_entry(self, entries: dict[str, Any], name: str, value: Any) -> None:
        """Set an entry of a dict that is there."""
        self._entries.append((entries, name, entries[name]))
        entries[name] = value

    def undo(self, mark: int = 0) -> None:
        """Undo all changes from the last to number ``mark``."""
        while len(self._entries) > mark:
            owner, name, value = self._entries.pop()
            if isinstance(owner, dict):
                owner[name] = value
            else:
                setattr(owner, name, value)


def grow_layer(layer: Any, growths: Sequence[Growth], journal: Journal, grown: set[int]) -> None:
    """Grow the kernel of a layer; Parameters remain the objects they are.

    What a parametrisation, weight normalisation or pruning makes the kernel of grows with it.

    Args:
        layer: A transposed convolution.
        growths: One per axis.
        journal: Takes the changes down.
        grown: The ``id`` of Parameters that are grown already; shared ones grow once.

    Raises:
        Refusal: What makes the kernel cannot grow; the layer is as it was.

    Example:
        >>> from autoup.repairing.growth import grow
        >>> layer = nn.ConvTranspose1d(1, 1, 3, 2, 1, 1)
        >>> grow_layer(layer, [grow(3, 2, 1, 1)], Journal(), set())
        >>> layer
        ConvTranspose1d(1, 1, kernel_size=(4,), stride=(2,), padding=(1,))
    """
    mark = len(journal)
    shared = id(layer._parameters.get("weight")) in grown
    old = kernel_in_use(layer)
    shape = old.shape
    names = ("kernel_size", "padding", "output_padding", "dilation")
    for name in names:
        value = tuple(getattr(growth, name) for growth in growths)
        journal.set(layer, name, value)
    _update_solutions(layer, growths, journal)
    if shared:
        return
    for module in layer.modules():
        _grow_tensors(module, shape, growths, journal, grown)
    made = kernel_in_use(layer)
    wanted = pad_kernel(old, growths)
    if made.shape != wanted.shape or not (
        made.is_meta or torch.allclose(made, wanted, rtol=1e-5, atol=0)
    ):
        journal.undo(mark)
        raise Refusal("what makes its weight does not keep zero taps at zero")


def _grow_tensors(
    module: nn.Module,
    shape: Sequence[int],
    growths: Sequence[Growth],
    journal: Journal,
    grown: set[int],
) -> None:
    taps = prod(growth.kernel_size for growth in growths)
    for tensors in (module._parameters, module._buffers, vars(module)):  # pyright: ignore[reportPrivateUsage]
        for name, values in [*tensors.items()]:
            if not isinstance(values, Tensor) or id(values) in grown:
                continue
            if values.shape == shape:
                bigger = pad_kernel(values.detach(), growths)
            elif name.endswith("_v") and values.numel() == prod(shape) // shape[1]:
                # The right singular vector of a spectral norm over the output channels.
                kernel = values.detach().view(shape[0], 1, *shape[2:])
                bigger = pad_kernel(kernel, growths).reshape(shape[0] * taps)
            else:
                continue
            if isinstance(values, nn.Parameter):
                grown.add(id(values))
                grad = None if values.grad is None else pad_kernel(values.grad, growths)
                journal.set(values, "grad", None)  # It must fit the data at any time.
                journal.set(values, "data", bigger)
                journal.set(values, "grad", grad)
            else:
                journal.set_entry(tensors, name, bigger)


def pad_kernel(weight: Tensor, growths: Sequence[Growth]) -> Tensor:
    """Return a kernel with zero taps around and between its own, in its memory format.

    Shape:
        - weight: ``(in_channels, out_channels / groups, *kernel_size)``

    Example:
        >>> from autoup.repairing.growth import grow
        >>> pad_kernel(torch.ones(1, 1, 3), [grow(3, 2, 1, 1)])
        tensor([[[1., 1., 1., 0.]]])
    """
    for axis, growth in enumerate(growths, start=2):
        if not growth.changes:
            continue
        size = (*weight.shape[:axis], growth.kernel_size, *weight.shape[axis + 1 :])
        wide = weight.new_zeros(size)
        place = [slice(None)] * weight.ndim
        place[axis] = slice(growth.front, growth.kernel_size - growth.behind, growth.spacing)
        wide[tuple(place)] = weight
        weight = wide
    return weight


def _update_solutions(layer: Any, growths: Sequence[Growth], journal: Journal) -> None:
    solutions = getattr(layer, "solutions", None)
    if solutions is None:
        return
    axes = [
        replace(
            old,
            kernel_size=growth.kernel_size,
            padding=growth.padding,
            output_padding=growth.output_padding,
            dilation=growth.dilation,
        )
        for old, growth in zip(solutions, growths, strict=True)
    ]
    journal.set(layer, "solutions", tuple(axes))
    if layer.round_trip_shift is not None:
        moved = zip(layer.round_trip_shift, solutions, axes, strict=True)
        shifts = tuple(shift + new.shift - old.shift for shift, old, new in moved)
        journal.set(layer, "round_trip_shift", shifts)
