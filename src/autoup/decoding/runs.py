"""Operators that act at each place alone: what lies between two layers with weights.

A run of such operators makes one tensor of another. Each value of the result comes from values at
the same place: from one of them, as in ``x * sigmoid(x)``, or from those of several channels, as in
a gate that halves them.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import torch
from torch.fx import Node

from autoup.capturing.edges import value_of
from autoup.capturing.layouts import CHANNEL
from autoup.capturing.operators import IDENTITIES, RESHAPES, VIEWS, argument, name_of, plain_name
from autoup.capturing.steps import Graph, Point, Step
from autoup.decoding.evaluating import constant, tags_of
from autoup.versions import UNTAGGED

if TYPE_CHECKING:
    from fractions import Fraction  # Loads what few need.

_RANDOM = ("rand", "normal", "bernoulli", "multinomial", "poisson", "uniform", "exponential")
# Those that PyTorch does not mark so.
_POINTWISE = UNTAGGED | frozenset((
    "absolute", "arccos", "arccosh", "arcsin", "arcsinh", "arctan", "arctan2", "arctanh", "conj",
    "divide", "fix", "floor_divide", "full_like", "greater", "greater_equal", "hardswish", "less",
    "less_equal", "log_sigmoid", "masked_fill", "multiply", "negative", "not_equal", "ones_like",
    "prelu", "resolve_conj", "resolve_neg", "rrelu", "rsub", "special_ndtr", "special_xlogy",
    "subtract", "true_divide", "where", "zeros_like", "__and__", "__or__", "__xor__",
))  # fmt: skip
_SAME = IDENTITIES - {"_to_copy", "to", "roll"}
_CASTS = frozenset(("_to_copy", "to", "type_as"))
_CONSTANTS = frozenset((
    "full_like", "new_full", "new_ones", "new_zeros", "ones_like", "zeros_like",
))  # fmt: skip
_GUARDS = frozenset(("isfinite", "isinf", "isnan", "nan_to_num"))
# What takes channels apart and puts them together, and the place of its argument ``dim``.
_SPLITS = {
    "cat": 1, "chunk": 2, "concat": 1, "glu": 1, "narrow": 1, "slice": 1, "split": 2,
    "split_with_sizes": 2, "tensor_split": 2, "unsafe_chunk": 2, "unsafe_split": 2,
}  # fmt: skip
# What makes one number of many, or of each with regard to others, and the place of ``dim``.
REDUCTIONS = {
    "amax": 1, "amin": 1, "linalg_vector_norm": 2, "log_softmax": 1, "logsumexp": 1, "mean": 1,
    "norm": 2, "softmax": 1, "std": 1, "sum": 1, "var": 1,
}  # fmt: skip
_LINEAR = _SPLITS.keys() - {"glu"} | {
    "add", "expand", "expand_as", "getitem", "neg", "negative", "rsub", "sub", "subtract",
}  # fmt: skip
_SCALED = frozenset(("mul", "multiply"))
_DIVIDED = frozenset(("div", "divide", "true_divide"))


_SHUFFLES = frozenset(("flip", "index", "index_select", "roll"))
_MOVES = _SHUFFLES | {
    "fliplr", "flipud", "gather", "rot90", "select", "slice", "slice_scatter", "take_along_dim",
    "tril", "triu",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Run:
    """Operators that act at each place alone.

    Args:
        graph: The graph that they are of.
        nodes: Those that depend on the data, in the order in which they run.
        inputs: The tensors that they read, all of one shape.
        output: The one that makes the result.
        axis: Which dimension holds the channels; None where that is unknown.
        skipped: Those of ``nodes`` that do nothing.
    """

    graph: Graph
    nodes: tuple[Node, ...]
    inputs: tuple[Node, ...]
    output: Node
    axis: int | None
    skipped: frozenset[Node] = frozenset()

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of each input."""
        return tuple(value_of(self.inputs[0]).shape)

    @property
    def made_shape(self) -> tuple[int, ...]:
        """The shape of the result."""
        return tuple(value_of(self.output).shape)

    @property
    def gate(self) -> "Fraction":
        """How many channels all inputs together have for each one of the result."""
        from fractions import Fraction

        axis = 1 if self.axis is None else self.axis
        return Fraction(len(self.inputs) * self.shape[axis], self.made_shape[axis])

    @property
    def used(self) -> tuple[Node, ...]:
        """Those of ``nodes`` that do something."""
        return tuple(node for node in self.nodes if node not in self.skipped)

    @property
    def keeps_places_apart(self) -> bool:
        """Whether nothing is averaged or added up, as in a normalisation."""
        return not any(name_of(node) in REDUCTIONS for node in self.nodes)

    @property
    def guards_numbers(self) -> bool:
        """Whether it does something to what is no number, which comparing does not see."""
        return any(name_of(node) in _GUARDS for node in self.nodes)

    @property
    def is_bound(self) -> bool:
        """Whether it takes channels apart, at certain ones."""
        return len(self.inputs) > 1 or any(name_of(node) in _SPLITS for node in self.nodes)


def channel_axis(point: Point) -> int | None:
    """Return the dimension that holds channels and nothing else; None if there is not just one."""
    layout = point.layout or ()
    found = [
        n for n, entry in enumerate(layout) if n and {label for label, _ in entry} == {CHANNEL}
    ]
    return found[0] if len(found) == 1 else None


def is_local(run: Run) -> bool:
    """Tell whether all operators of a run act at each place alone, whatever the batch."""
    values = [value_of(each) for each in (*run.inputs, run.output)]
    if not all(isinstance(each, torch.Tensor) for each in values):
        return False
    return all(each.shape == run.shape for each in values[:-1]) and all(
        node in run.skipped or _is_local(node, run) for node in run.nodes
    )


def _is_local(node: Node, run: Run) -> bool:
    name, value = name_of(node), value_of(node)
    if any(each in run.graph.edges and not _is_read(each, run) for each in node.all_input_nodes):
        return False
    if name == "getitem" or (name in _SPLITS and _is_axis(node, _SPLITS[name], run)):
        return not isinstance(value, torch.Tensor) or _has_places(value, run)
    if not isinstance(value, torch.Tensor) or not _has_places(value, run):
        return False
    if name in REDUCTIONS:
        return _keeps_batch(node, name, len(run.shape))
    if name in _CONSTANTS and name.startswith("new"):
        return value.shape == run.shape or value.numel() == 1
    if name.rstrip("_") == "index_put":
        return fills(node) and name.endswith("_") <= (value.shape == run.shape)
    if name in ("expand", "expand_as") or name in RESHAPES:
        return name.startswith("expand") or value.shape == value_of(node.args[0]).shape  # type: ignore
    if name.endswith("_") and value.shape != run.shape:  # Writes into a part of a tensor.
        return False
    return is_pointwise(node) and all(
        _fits(each, node, run) for each in node.all_input_nodes if each not in run.graph.edges
    )


def fills(node: Node) -> bool:
    """Tell whether an operator writes one number wherever a mask of its own shape says so."""
    masks, number = cast("tuple[list[Any], Any]", node.args[1:3])
    if len(node.args) > 3 or len(masks) != 1 or not isinstance(masks[0], Node):
        return False
    mask = value_of(masks[0])
    is_mask = mask.dtype == torch.bool and mask.shape == value_of(node).shape
    return is_mask and value_of(number).numel() == 1


def is_pointwise(node: Node) -> bool:
    """Tell whether an operator makes each value of one of its place, by no draw.

    Example:
        >>> graph = torch.fx.Graph()
        >>> x = graph.placeholder("x")
        >>> is_pointwise(graph.call_function(torch.ops.aten.sin.default, (x,)))
        True
        >>> is_pointwise(graph.call_function(torch.ops.aten.cumsum.default, (x, 1)))
        False
    """
    name, tags = plain_name(node), tags_of(node)
    if not hasattr(torch.ops.aten, name):
        return False
    if name in _SAME or name in _CASTS or name in _POINTWISE:
        return True
    return torch.Tag.pointwise in tags and torch.Tag.nondeterministic_seeded not in tags


def draws_numbers(node: Node) -> bool:
    """Tell whether an operator draws random numbers; what drops some only in training does not.

    Example:
        >>> graph = torch.fx.Graph()
        >>> x = graph.placeholder("x")
        >>> aten = torch.ops.aten
        >>> [
        ...     draws_numbers(graph.call_function(each.default, (x,)))
        ...     for each in (aten.randn_like, aten.dropout, aten.scaled_dot_product_attention)
        ... ]
        [True, False, False]
    """
    seeded = torch.Tag.nondeterministic_seeded in tags_of(node)
    return seeded and any(word in name_of(node) for word in _RANDOM)


def _is_read(node: Node, run: Run) -> bool:
    return node in run.nodes or node in aliases(run)


def aliases(run: Run) -> dict[Node, Node]:
    """Return the names under which operators may read an input, also that of who wrote to it."""
    found: dict[Node, Node] = {}
    for each in run.inputs:
        node = each
        while isinstance(node, Node) and node not in found:
            found[node] = each
            if not name_of(node).endswith("_") or value_of(node).shape != run.shape:
                break
            node = node.args[0]
    return found


def _is_axis(node: Node, place: int, run: Run) -> bool:
    dim = argument(node, place, "dim", -1 if name_of(node) == "glu" else 0)
    return isinstance(dim, int) and dim % len(run.shape) == run.axis


def _has_places(value: torch.Tensor, run: Run) -> bool:
    """Tell whether a tensor has the same places as the run, or one for all of an axis."""
    if value.ndim != len(run.shape):
        return False
    sizes = list(zip(value.shape, run.shape, strict=True))
    return sizes[0][0] == sizes[0][1] and all(
        size in (1, whole) or axis == run.axis for axis, (size, whole) in enumerate(sizes)
    )


def _keeps_batch(node: Node, name: str, ndim: int) -> bool:
    dims = argument(node, REDUCTIONS[name], "dim", None)
    dims = [dims] if isinstance(dims, int) else dims
    return bool(dims) and all(dim % ndim for dim in dims)


def _fits(brought: Node, node: Node, run: Run) -> bool:
    """Tell whether a tensor that does not depend on the data is the same at each place."""
    value = value_of(brought)
    if not isinstance(value, torch.Tensor) or value.numel() == 1:
        return True
    if name_of(node) == "prelu":
        return run.axis == 1
    ndim = len(run.shape)
    wide = [n + ndim - value.ndim for n, size in enumerate(value.shape) if size > 1]
    return wide == [run.axis] or constant(brought, run.graph) is not None


def does_nothing(node: Node) -> bool:
    """Tell whether an operator passes its first tensor on, a gradient aside.

    Example:
        >>> graph = torch.fx.Graph()
        >>> x = graph.placeholder("x")
        >>> x.meta["val"] = torch.zeros(1)
        >>> does_nothing(graph.call_function(torch.ops.aten.mul.Tensor, (x, 1.0)))
        True
    """
    name, value = plain_name(node), value_of(node)
    other = node.args[1] if len(node.args) == 2 and not node.kwargs else None
    if name in _SAME:
        return True
    if name in _CASTS:  # It returns the tensor itself then, and a graph takes one for the other.
        return value.dtype == value_of(node.args[0]).dtype  # type: ignore
    if name in RESHAPES or name in ("expand", "expand_as"):
        return value.shape == value_of(node.args[0]).shape  # type: ignore
    neutral = {"add": 0, "sub": 0}.get(name, 1 if name in _SCALED | _DIVIDED else None)
    return isinstance(other, int | float) and other == neutral


def is_affine(nodes: Sequence[Node], inputs: Sequence[Node]) -> bool:
    """Tell whether operators only scale and add up, so that the next weights can do the same."""
    degrees: dict[Any, int] = dict.fromkeys(inputs, 1)
    for node in nodes:
        degrees[node] = _degree(node, degrees)
    return degrees[nodes[-1]] <= 1


def _degree(node: Node, degrees: Mapping[Any, int]) -> int:
    """Return the degree of what an operator makes: 0 constant, 1 affine, 2 neither."""
    name, value = plain_name(node), value_of(node)
    tensor = value if isinstance(value, torch.Tensor) else value[0]
    if name in _CONSTANTS:
        return 0
    if not (tensor.is_floating_point() or tensor.is_complex()):
        return 2
    most = max((degrees.get(each, 0) for each in node.all_input_nodes), default=0)
    if name in _LINEAR or name in _SAME or name in _CASTS or name in RESHAPES:
        return most
    if name in _SCALED:
        return sum(degrees.get(each, 0) for each in node.args)
    if name in _DIVIDED and len(node.args) == 2 and not node.kwargs:
        dividend, divisor = node.args
        return 2 if degrees.get(divisor) else degrees.get(dividend, 0)
    if name == "addcmul":
        added, *factors = (degrees.get(each, 0) for each in node.args)
        return max(added, sum(factors))
    return 2 if most else 0


def shuffles_channels(step: Step) -> bool:
    """Tell whether a step only puts channels in another order, as the next weights can."""
    axis = channel_axis(step.before)
    return all(name_of(node) in _SHUFFLES and _shuffled(node) == axis for node in step.nodes)


def _shuffled(node: Node) -> int | None:
    """Return the dimension in which an operator puts a tensor in another order."""
    ndim, where = value_of(node).ndim, (*node.args, None)[1]
    if name_of(node) == "index":  # One entry for each dimension, None for those that stay.
        used = [n for n, each in enumerate(cast("Sequence[Any]", where)) if each is not None]
    else:
        used = [where] if isinstance(where, int) else list(cast("Sequence[int]", where))
    return used[0] % ndim if len(used) == 1 else None


def skipped(nodes: Iterable[Node]) -> frozenset[Node]:
    """Return the operators that do nothing, to a gradient neither."""
    return frozenset(each for each in nodes if does_nothing(each) and name_of(each) != "detach")


def offence(step: Step) -> str:
    """Say what keeps a step from acting at each place alone."""
    run = Run(
        step.graph, step.nodes, (step.before.node,), step.after.node, channel_axis(step.before)
    )
    wrong = [node for node in step.nodes if not _is_local(node, run)]
    others = [node for node in wrong if name_of(node) not in VIEWS]
    node = (others or wrong or [*step.nodes])[0]
    name = name_of(node)
    if draws_numbers(node):
        return f"{name} draws random numbers"
    brought = [each for each in node.all_input_nodes if each not in step.graph.edges]
    if name in _MOVES or (is_pointwise(node) and not all(_fits(e, node, run) for e in brought)):
        return f"{name} depends on position"
    return f"{name} is not known" if is_pointwise(node) else f"{name} joins several values"
