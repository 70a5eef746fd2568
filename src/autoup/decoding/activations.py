"""The activations of an encoder, kept as they are.

A run of operators is the module of ``torch.nn`` that it equals, or else the encoder's own module,
or else a formula. Nothing is told by its name alone: what takes the place of several operators
computes on numbers what they compute, and has their gradient.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.fx import Node

from autoup.capturing.edges import value_of
from autoup.capturing.steps import Point, Step, calls_of
from autoup.decoding.known import alike, has_tensors, known_module, named_module, sample
from autoup.decoding.rebuilding import rebuild
from autoup.decoding.runs import (
    Run,
    channel_axis,
    does_nothing,
    is_affine,
    is_local,
)
from autoup.inspecting.copies import copy_model, evaluate
from autoup.layers.formula import Formula

if TYPE_CHECKING:
    from fractions import Fraction  # Loads what few need.


@dataclass(frozen=True, slots=True)
class Activation:
    """What acts between two layers with weights.

    Args:
        module: What computes it, with the encoder's numbers of channels.
        run: The operators that it stands for; None where these do not act at each place alone.
    """

    module: nn.Module
    run: Run | None = None

    @property
    def gate(self) -> "Fraction":
        """How many channels it takes for each one that it makes."""
        from fractions import Fraction

        return self.run.gate if self.run else Fraction(1)

    @property
    def is_plain(self) -> bool:
        """Whether it may stand anywhere: it acts on each value alone."""
        return self.run is not None and self.run.keeps_places_apart and self.gate == 1

    def build(self, point: Point, device: torch.device | str) -> nn.Module | None:
        """Return a copy that makes the tensor of a point; None where it cannot be fitted to that.

        Args:
            point: Where it leads to.
            device: Where its tensors are to lie.
        """
        module, run, axis = self.module, self.run, channel_axis(point)
        moves = run is not None and not _is_place_of(run, point)
        if run and moves and (run.is_bound or has_tensors(module)):
            if axis is None or axis != run.axis or len(point.shape) != len(run.shape):
                return None
            made = _resize(module, run, point.shape[axis])
        else:
            made = copy.deepcopy(module)
        return None if made is None else made.to(device)


def _is_place_of(run: Run, point: Point) -> bool:
    """Tell whether a run leads to a tensor like that of a point."""
    return point.shape == run.made_shape and channel_axis(point) == run.axis


def _resize(module: nn.Module, run: Run, channels: int) -> nn.Module | None:
    """Return a copy for another number of channels; None where it is not the same function then."""
    taken = channels * run.gate
    formula = rebuild(run, channels) if taken.denominator == 1 else None
    if formula is None or isinstance(module, Formula):
        return formula
    made, old = copy.deepcopy(module), run.made_shape[run.axis or 0]
    for each in made.modules():
        for name, tensor in [*each.named_parameters(recurse=False)]:
            setattr(each, name, nn.Parameter(_repeat(tensor, old, channels), tensor.requires_grad))
        for name, tensor in [*each.named_buffers(recurse=False)]:
            setattr(each, name, _repeat(tensor, old, channels))
        if isinstance(each, nn.PReLU) and each.num_parameters == old:
            each.num_parameters = channels
    return made if alike(made, formula, sample(run, channels), gradients=False) else formula


def _repeat(tensor: torch.Tensor, old: int, new: int) -> torch.Tensor:
    """Repeat or cut off what there is for each channel."""
    made = tensor.detach().clone()
    for axis in [axis for axis, size in enumerate(tensor.shape) if size == old > 1]:
        made = made.index_select(axis, torch.arange(new, device=made.device) % old)
    return made


def read_activations(steps: Sequence[Step]) -> list[tuple[list[Step], Activation]] | None:
    """Return what steps that act at each place alone are, one after the other.

    That is one activation, or several where each is one that PyTorch or the encoder has.

    Returns:
        Which steps make which activation. None do where all they do is to scale and add, as the
        next weights can. None where it cannot be written.
    """
    steps = _strip(steps)
    if not steps or is_plainly_affine(steps):
        return []
    run = run_of(steps)
    if module := recognise(run):
        return [(steps, Activation(module, run))]
    if found := _take_apart(steps):
        return found
    formula = rebuild(run)
    return [(steps, Activation(formula, run))] if formula else None


def is_plainly_affine(steps: Sequence[Step]) -> bool:
    """Tell whether all that steps do is to scale and add."""
    nodes = [node for step in steps for node in step.nodes]
    return is_affine(nodes, [steps[0].before.node])


def _take_apart(steps: Sequence[Step]) -> list[tuple[list[Step], Activation]] | None:
    """Return the activations that steps are one after the other; None if not all are known."""
    rest, found = [*steps], list[tuple[list[Step], Activation]]()
    while rest:
        for end in range(len(rest), 0, -1):
            run = run_of(rest[:end])
            if module := recognise(run):
                found.append((_strip(rest[:end]), Activation(module, run)))
                rest = _strip(rest[end:])
                break
        else:
            return None
    return found


def _strip(steps: Sequence[Step]) -> list[Step]:
    """Leave out the steps at both ends that do nothing."""
    kept = [number for number, step in enumerate(steps) if not _does_nothing(step)]
    return [*steps[kept[0] : kept[-1] + 1]] if kept else []


def _does_nothing(step: Step) -> bool:
    return len(step.nodes) == 1 and does_nothing(step.nodes[0])


def run_of(steps: Sequence[Step]) -> Run:
    """Return steps that follow each other as one run."""
    return Run(
        steps[0].graph,
        tuple(node for step in steps for node in step.nodes),
        (steps[0].before.node,),
        steps[-1].after.node,
        channel_axis(steps[0].before),
        frozenset(step.nodes[0] for step in steps if _does_nothing(step)),
    )


def acts_at_places(step: Step) -> bool:
    """Tell whether a step acts at each place alone; one that changes channels only by a gate."""
    run, before, after = run_of([step]), step.before.shape, step.after.shape
    if before != after:
        same = len(before) == len(after) and run.axis is not None
        if not same or is_affine(step.nodes, [step.before.node]):
            return False
    return is_local(run)


def recognise(run: Run) -> nn.Module | None:
    """Return the module that a run is, PyTorch's or the encoder's own; None if it is none."""
    used = run.used
    named = named_module(used[0], run.graph) if len(used) == 1 else None
    if named is not None and _is_called_by_torch(used[0], run):
        return named
    own = _own_module(run)
    if named is not None and own is None:
        return named
    formula = rebuild(run)
    if formula is None:
        return None
    known = named or known_module(formula, run)
    if own is None or not _is_own(own, formula, run):
        return known
    return known if known and alike(own, known, sample(run)) else own.train()


def _is_own(own: nn.Module, formula: Formula, run: Run) -> bool:
    """Tell whether a module computes a run, wherever its tensors are; or runs, if these are not."""
    if not _runs_without_numbers(own, run):
        return False
    if any(each.is_meta for each in (*own.parameters(), *own.buffers())):
        return True
    return alike(own, formula, sample(run), gradients=False)


def _runs_without_numbers(own: nn.Module, run: Run) -> bool:
    """Tell whether a module makes a tensor of the right shape of another number of samples."""
    dtype = value_of(run.inputs[0]).dtype
    try:
        with torch.no_grad():
            x = torch.empty((3, *run.shape[1:]), device="meta", dtype=dtype)
            return copy.deepcopy(own).to("meta")(x).shape == (3, *run.made_shape[1:])
    except Exception:
        return False


def _is_called_by_torch(node: Node, run: Run) -> bool:
    """Tell whether the module that calls an operator is one of PyTorch's."""
    paths = [*calls_of(node).values()]
    module = run.graph.modules.get(paths[-1]) if paths else None
    return type(module).__module__.startswith("torch.nn.")


def _own_module(run: Run) -> nn.Module | None:
    """Return a copy of the innermost module of the encoder that makes a run and nothing else."""
    used = {node for node in run.used if not does_nothing(node)}
    shared = [calls_of(node) for node in used]
    for call, path in reversed([*shared[0].items()] if shared else []):
        if all(call in each for each in shared) and _nodes_of(call, run) == used:
            module = run.graph.modules.get(path)
            return None if module is None else _copy(module)
    return None


def _nodes_of(call: str, run: Run) -> set[Node]:
    """Return what one call of a module does to the data."""
    found = {node for node in run.graph.edges if call in calls_of(node)}
    return {node for node in found if node not in run.skipped and not does_nothing(node)}


def _copy(module: nn.Module) -> nn.Module | None:
    try:
        return evaluate(copy_model("encoder", module))
    except TypeError:
        return None


def kept_module(step: Step) -> nn.Module | None:
    """Return PyTorch's module for a step that normalises by neighbours; None for other steps."""
    own = _own_module(run_of([step]))
    return own.train() if isinstance(own, nn.LocalResponseNorm | nn.CrossMapLRN2d) else None
