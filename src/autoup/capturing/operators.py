"""The operators of ATen that a decoder knows: their names, arguments, and what they stand for."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch.fx import Node

from autoup.internals import MISSING, parameters_of

VIEWS = frozenset((
    "alias", "chunk", "detach", "diagonal", "expand", "flatten", "getitem", "movedim", "narrow",
    "permute", "reshape", "select", "slice", "split", "split_with_sizes", "squeeze", "swapaxes",
    "swapdims", "t", "tensor_split", "transpose", "unbind", "unflatten", "unfold", "unsqueeze",
    "view",
))  # fmt: skip
RESHAPES = frozenset((
    "_unsafe_view", "flatten", "reshape", "reshape_as", "squeeze", "unflatten", "unsqueeze",
    "view", "view_as",
))  # fmt: skip
IDENTITIES = frozenset((
    "_to_copy", "alias", "alpha_dropout", "clone", "contiguous", "detach", "detach_copy",
    "dropout", "feature_alpha_dropout", "feature_dropout", "lift_fresh_copy", "roll", "to",
))  # fmt: skip
CONVOLUTIONS = {"conv1d": 1, "conv2d": 2, "conv3d": 3}
TRANSPOSED = {"conv_transpose1d": 1, "conv_transpose2d": 2, "conv_transpose3d": 3}
# Products of what the data becomes with itself.
ATTENTION = frozenset(("baddbmm", "bmm", "einsum", "matmul", "scaled_dot_product_attention"))
# What lets a place see its neighbours, besides convolutions.
MIXERS = ATTENTION | {
    "avg_pool1d", "avg_pool2d", "avg_pool3d", "max_pool1d", "max_pool2d", "max_pool3d",
}  # fmt: skip
ELEMENTWISE = frozenset((
    "add", "div", "mul", "rsub", "sub", "true_divide",
))  # fmt: skip


def name_of(node: Node) -> str:
    """Return the operator's name without its overload: ``"relu_"`` for ``aten.relu_.default``."""
    if isinstance(node.target, str):
        return node.target
    return getattr(node.target, "__name__", "").partition(".")[0]


def plain_name(node: Node) -> str:
    """Return the operator's name, the same where it writes in place."""
    name = name_of(node)
    return name if name.endswith("__") else name.rstrip("_")


def argument(node: Node, position: int, name: str, default: Any) -> Any:
    """Return an argument of an operator, given by position or by name, or its default.

    That of the operator counts, and what is given here where it has none. Graphs hold defaults, or
    leave them out, as the version of PyTorch has it.
    """
    if len(node.args) > position:
        return node.args[position]
    if name in node.kwargs:
        return node.kwargs[name]
    return _defaults_of(node).get(name, default)


def arguments_of(node: Node) -> dict[str, Any]:
    """Return the arguments of an operator by their names, those that are left out as well."""
    names = parameters_of(node.target)
    return _defaults_of(node) | dict(zip(names, node.args, strict=False)) | node.kwargs


def _defaults_of(node: Node) -> dict[str, Any]:
    known = parameters_of(node.target).items()
    return {name: default for name, default in known if default is not MISSING}


def order_of(node: Node, ndim: int) -> tuple[int, ...] | None:
    """Return how an operator orders the dimensions of a tensor; None if it is another operator."""
    name = name_of(node)
    order = list(range(ndim))
    if name == "permute":
        dims: Sequence[int] = argument(node, 1, "dims", order)
        return tuple(dim % ndim for dim in dims)
    if name in ("transpose", "swapaxes", "swapdims", "t"):
        first, second = [argument(node, place, f"dim{place - 1}", place - 1) for place in (1, 2)]
        order[first], order[second] = order[second], order[first]
        return tuple(order)
    if name == "movedim":
        return _moved(node, ndim)
    return None


def _moved(node: Node, ndim: int) -> tuple[int, ...]:
    def dims(place: int, name: str) -> list[int]:
        value = argument(node, place, name, 0)
        return [each % ndim for each in ([value] if isinstance(value, int) else value)]

    moved = dict(zip(dims(2, "destination"), dims(1, "source"), strict=True))
    rest = iter([axis for axis in range(ndim) if axis not in moved.values()])
    return tuple(moved[axis] if axis in moved else next(rest) for axis in range(ndim))


@dataclass(frozen=True, slots=True)
class Norm:
    """A kind of normalisation, without its number of channels.

    Args:
        kind: ``"batch"``, ``"group"``, ``"instance"``, ``"layer"`` or ``"rms"``.
        eps: Added to the variance.
        affine: Whether it has learnable parameters.
        momentum: Of the running statistics.
        tracked: Whether it has running statistics.
        groups: Of a group normalisation.
        shape: Normalised shape of a layer normalisation.
    """

    kind: str
    eps: float | None
    affine: bool
    momentum: float | None = None
    tracked: bool = False
    groups: int = 1
    shape: tuple[int, ...] = ()


def read_norm(node: Node) -> Norm | None:
    """Return the normalisation that an operator is; None if it is none."""
    name = name_of(node)
    if name in ("batch_norm", "instance_norm"):
        momentum, eps = argument(node, 6, "momentum", 0.1), argument(node, 7, "eps", 1e-5)
        affine = argument(node, 1, "weight", None) is not None
        tracked = argument(node, 3, "running_mean", None) is not None
        return Norm(name.partition("_")[0], eps, affine, momentum or None, tracked)
    if name == "group_norm":
        affine = argument(node, 2, "weight", None) is not None
        eps = argument(node, 4, "eps", 1e-5)
        return Norm("group", eps, affine, groups=argument(node, 1, "num_groups", 1))
    if name in ("layer_norm", "rms_norm"):
        affine = argument(node, 2, "weight", None) is not None
        eps = argument(node, 4 if name == "layer_norm" else 3, "eps", None)
        shape = tuple(argument(node, 1, "normalized_shape", ()))
        return Norm(name.partition("_")[0], eps, affine, shape=shape)
    return None


def main_norm(nodes: Sequence[Node]) -> Norm | None:
    """Return the last normalisation among the operators."""
    return next(filter(None, map(read_norm, reversed(nodes))), None)
