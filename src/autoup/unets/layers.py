"""The layers that a decoder's stages are made of, of the kinds that the encoder has."""

from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import Node

from autoup.capturing.operators import Norm, plain_name, read_norm
from autoup.capturing.steps import Graph, Step
from autoup.decoding.borders import CONV
from autoup.decoding.builders import Settings, build_norm
from autoup.decoding.choosing import main_activation
from autoup.decoding.known import named_module
from autoup.layers.conv_transpose import AUTO, AutoConvTransposeNd

Block = Callable[[int, int], nn.Module]
Shift = tuple[float | None, ...]

_GATES = frozenset((
    "glu", "hardsigmoid", "log_sigmoid", "log_softmax", "sigmoid", "softmax", "softplus",
    "tanh",
))  # fmt: skip


@dataclass(frozen=True, slots=True)
class Kinds:
    """What a decoder is made of.

    Args:
        dims: Spatial axes.
        norm: The normalisation; None for none.
        activation: Of which each block gets copies.
        factory: ``device`` and ``dtype`` of each layer.
        smoothness: Of what enlarges.
        init: How that starts, by its name; None for interpolation. ``"torch"`` is for the
            convolutions too.
    """

    dims: int
    norm: Norm | None
    activation: nn.Module
    factory: dict[str, Any]
    smoothness: int = 0
    init: str | None = None

    def up(
        self, channels: int, size: Sequence[int], strides: Sequence[int], shift: Shift
    ) -> tuple[AutoConvTransposeNd, Shift]:
        """Return what enlarges a map of this size, each channel by a kernel of its own.

        So all channels reach the block behind, which is what mixes them. It starts as the
        interpolation that its kernel can make: linear where it is smooth, and then between the
        places where the pixels lie; else of pixels repeated.

        Args:
            channels: Of the map.
            size: Its size.
            strides: By which to enlarge it.
            shift: How far enlarged pixels lie off their place per axis, in these; None if unknown.

        Returns:
            The layer, and the shift that it leaves.

        Example:
            >>> up, left = Kinds(1, None, nn.ReLU(), {}, 1).up(1, (3,), (2,), (0.5,))
            >>> up(torch.tensor([[1.0, 2.0, 3.0]])).tolist(), left
            ([[1.0, 1.5, 2.0, 2.5, 3.0, 1.5]], (0.0,))
        """
        made = tuple(n * s for n, s in zip(size, strides, strict=True))
        start: dict[str, Any] = {} if self.init is None else {"init": self.init}
        up = AUTO[self.dims](
            channels, channels, tuple(size), made, stride=tuple(strides), groups=channels,
            bias=False, smoothness=self.smoothness, **start, **self.factory,
        )  # fmt: skip
        return up, shift if self.init else interpolation_(up.weight, strides, shift)

    def block(self, in_channels: int, out_channels: int) -> nn.Module:
        """Return two convolutions of 3 taps, each with normalisation and activation.

        Example:
            >>> [*dict(Kinds(1, None, nn.ReLU(), {}).block(8, 4).named_children())]
            ['conv1', 'activation1', 'conv2', 'activation2']
        """
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        for number, channels in enumerate((in_channels, out_channels), 1):
            layers[f"conv{number}"] = self.conv(channels, out_channels, bias=self.norm is None)
            if self.norm:
                shape = (1, out_channels, *(1,) * self.dims)
                settings = Settings(False, lambda _: None, {}, self.factory)
                layers[f"norm{number}"] = build_norm(self.norm, shape, settings)
            layers[f"activation{number}"] = deepcopy(self.activation)
        return nn.Sequential(layers)

    def conv(self, in_channels: int, out_channels: int, *, bias: bool = True) -> nn.Module:
        """Return a convolution of 3 taps that keeps the size, with the start of He et al. 2015."""
        made = self._conv(in_channels, out_channels, bias)
        if self.init != "torch":
            nn.init.kaiming_uniform_(made.weight, nonlinearity="relu")
        return made

    def head(self, in_channels: int, out_channels: int) -> nn.Module:
        """Return what makes the output, with the start of Glorot & Bengio 2010."""
        made = self._conv(in_channels, out_channels, True)
        if self.init != "torch":
            nn.init.xavier_uniform_(made.weight)
        return made

    def _conv(self, in_channels: int, out_channels: int, bias: bool) -> Any:
        made = CONV[self.dims](in_channels, out_channels, 3, padding=1, bias=bias, **self.factory)
        if bias and self.init != "torch":
            nn.init.zeros_(made.bias)
        return made


def read_kinds(graph: Graph, nodes: Sequence[Node], dims: int, **options: Any) -> Kinds:
    """Return what an encoder is made of: its most frequent normalisation and activation.

    Normalisations over channels alone become a group normalisation of one group.

    Args:
        graph: What was captured.
        nodes: The operators to look at, in order.
        dims: Spatial axes.
        options: ``factory``, ``smoothness`` and ``init``.
    """
    norms = Counter(replace(norm, shape=()) for norm in map(read_norm, nodes) if norm)
    norm = norms.most_common(1)[0][0] if norms else None
    return Kinds(dims, norm, _read_activation(graph, nodes), **options)


def _read_activation(graph: Graph, nodes: Sequence[Node]) -> nn.Module:
    found: dict[str, nn.Module] = {}
    count: Counter[str] = Counter()
    for node in nodes:
        module = None if plain_name(node) in _GATES else named_module(node, graph)
        if module is not None:
            module = nn.PReLU() if isinstance(module, nn.PReLU) else module
            found.setdefault(repr(module), module)
            count[repr(module)] += 1
    if count:
        return found[count.most_common(1)[0][0]]
    steps: list[Step] = graph.steps(graph.source, nodes[-1])
    activations = (main_activation(step)[0] for step in reversed(steps))
    plain = (each.module for each in activations if each and each.is_plain and _fits(each.module))
    return next(plain, nn.ReLU())


def interpolation_(weight: Tensor, strides: Sequence[int], shift: Shift) -> Shift:
    """Fill the weight of one kernel for each channel so that it interpolates.

    Along an axis of at least 2s - 1 taps linearly, from pixels that lie at ``shift`` of where the
    middle of the kernel puts them; along a shorter one it repeats them.

    Returns:
        The shift that is left.

    Example:
        >>> weight = torch.empty(1, 1, 4)
        >>> interpolation_(weight, (2,), (0.0,)), weight.tolist()
        ((0.0,), [[[0.25, 0.75, 0.75, 0.25]]])
    """
    lines: list[Tensor] = []
    left: list[float | None] = []
    for k, s, far in zip(weight.shape[2:], strides, shift, strict=True):
        room = (k + 1) / 2 - s  # By which the tent can be moved before it meets the end.
        moved = min(max(-room, far or 0.0), room) if room >= 0 else 0.0
        places = torch.arange(k, dtype=torch.float64, device="cpu") - (k - 1) / 2 + moved
        lines.append((1 - places.abs() / s).clamp(min=0) if room >= 0 else torch.ones_like(places))
        left.append(None if far is None else far - moved)
    kernel = reduce(torch.multiply, torch.meshgrid(*lines, indexing="ij"))
    with torch.no_grad():
        weight.copy_(kernel)
    return tuple(left)


def _fits(module: nn.Module) -> bool:
    """Whether an activation acts on any number of channels, having no parameter for each."""
    return all(each.numel() == 1 for each in (*module.parameters(), *module.buffers()))
