"""The layers that a decoder's stages are made of, of the kinds that the encoder has."""

from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

from torch import nn
from torch.fx import Node

from autoup.capturing.operators import Norm, plain_name, read_norm
from autoup.capturing.steps import Graph, Step
from autoup.decoding.borders import CONV
from autoup.decoding.builders import Settings, build_norm
from autoup.decoding.choosing import main_activation
from autoup.decoding.known import named_module

Block = Callable[[int, int], nn.Module]

_GATES = frozenset((
    "glu", "hardsigmoid", "log_sigmoid", "log_softmax", "sigmoid", "softmax", "softplus",
    "tanh",
))  # fmt: skip


@dataclass(frozen=True, slots=True)
class Kinds:
    """What the blocks of a decoder are made of.

    Args:
        dims: Spatial axes.
        norm: The normalisation; None for none.
        activation: Of which each block gets copies.
        factory: ``device`` and ``dtype`` of each layer.
        init: ``"torch"`` for PyTorch's start of convolutions.
    """

    dims: int
    norm: Norm | None
    activation: nn.Module
    factory: dict[str, Any]
    init: str = "damped"

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


def read_kinds(
    graph: Graph, nodes: Sequence[Node], dims: int, factory: dict[str, Any], init: str
) -> Kinds:
    """Return what an encoder is made of: its most frequent normalisation and activation.

    Normalisations over channels alone become a group normalisation of one group.

    Args:
        graph: What was captured.
        nodes: The operators to look at, in order.
        dims: Spatial axes.
        factory: ``device`` and ``dtype``.
        init: Of the net.
    """
    norms = Counter(replace(norm, shape=()) for norm in map(read_norm, nodes) if norm)
    norm = norms.most_common(1)[0][0] if norms else None
    return Kinds(dims, norm, _read_activation(graph, nodes), factory, init)


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


def _fits(module: nn.Module) -> bool:
    """Whether an activation acts on any number of channels, having no parameter for each."""
    return all(each.numel() == 1 for each in (*module.parameters(), *module.buffers()))
