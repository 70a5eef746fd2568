"""What PyTorch's versions do differently; each part says up to which one it is needed."""

from typing import Any

import torch

# Operators that are pointwise, and that PyTorch does not tag as such, some of them in place only:
# up to 2.9, and no more by 2.13.
UNTAGGED = frozenset(
    ("celu", "elu", "hardsigmoid", "hardtanh", "ldexp", "leaky_relu", "selu")
)  # fmt: skip

_TELLS = getattr(torch.compiler, "is_exporting", torch.compiler.is_compiling)
_ALWAYS_GUARDS = torch.__version__ < "2.8"  # Compares as a version, not as text.


def is_exporting() -> bool:
    """Whether ``torch.export`` captures this call; up to 2.6 also whether anything compiles it.

    2.6 has no ``torch.compiler.is_exporting``: there an export cannot be told from a compilation.

    Example:
        >>> is_exporting()
        False
    """
    return _TELLS()


def is_autocast_enabled(kind: str) -> bool:
    """Whether autocast acts on a type of device, also one that has no autocast, as "meta".

    Up to 2.9 ``torch.compile`` does not read ``torch.amp.is_autocast_available``, which would tell.

    Example:
        >>> is_autocast_enabled("cpu"), is_autocast_enabled("meta")
        (False, False)
    """
    if kind == "meta":  # Raises on every version, and nothing catches that while it compiles.
        return False
    try:
        return torch.is_autocast_enabled(kind)
    except RuntimeError:
        return False


def is_known(condition: Any) -> bool:
    """Whether a condition on sizes holds whatever they are, asked without leaving a guard.

    Up to 2.7 ``torch.compile`` does not read ``statically_known_true``: there the condition
    itself is asked, and what is compiled holds for sizes of the same answer.

    Example:
        >>> is_known(2 == 2)
        True
    """
    if _ALWAYS_GUARDS and torch.compiler.is_dynamo_compiling():
        return True if condition else False  # noqa: SIM210 (a compiler reads no bool() there)
    try:
        from torch.fx.experimental.symbolic_shapes import statically_known_true  # Loads sympy.
    except ImportError:
        return condition is True
    return statically_known_true(condition)


def drop_whole_slices(graph: torch.fx.Graph) -> None:
    """Take the slices that leave nothing out, as of ``x[:, :4]`` along the batch, out of a graph.

    2.6 writes one down for each part that is taken of a tensor; 2.9 does not.

    Example:
        >>> class Half(torch.nn.Module):
        ...     def forward(self, x):
        ...         return x[:, :4]
        >>> program = torch.export.export(Half(), (torch.ones(1, 8),))
        >>> drop_whole_slices(program.graph)
        >>> [str(node.target) for node in program.graph.nodes if node.op == "call_function"]
        ['aten.slice.Tensor']
    """
    for node in list(graph.nodes):
        if node.target is torch.ops.aten.slice.Tensor:
            source: Any = node.args[0]
            sizes = zip(node.meta["val"].shape, source.meta["val"].shape, strict=True)
            if all(is_known(size == whole) for size, whole in sizes):
                node.replace_all_uses_with(source)
                graph.erase_node(node)
