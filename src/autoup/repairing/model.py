"""Repair the upsampling layers of a model without changing what it computes."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from autoup.checks import check_flags, require_smoothness
from autoup.errors import warn
from autoup.inspecting.copies import check_module, copy_model
from autoup.inspecting.runs import check_input_size
from autoup.progress import steps
from autoup.repairing.change import Change, plan_change
from autoup.repairing.proof import prove
from autoup.repairing.surgery import Journal


def repair(
    model: nn.Module,
    input_size: Sequence[Any] | None = None,
    *,
    inplace: bool = False,
    even: bool = True,
    fold_resize: bool = False,
    smoothness: int | None = None,
    state_dict: Mapping[str, Any] | None = None,
) -> nn.Module:
    """Return a copy of a model with the same function and better upsampling layers.

    Kernels grow by zero taps until they are a multiple of the stride, and so that no output
    padding is needed: ``k3 s2 p1`` with output padding 1 *is* ``k4 s2 p1`` with a last row and
    column of zeros. Outputs and the gradients of the old taps stay what they were, and with them
    the pictures: what the new taps allow comes with fine-tuning. Where the stride is even
    and the output odd, an even kernel needs one pixel of output padding, and it stays.

    Layers remain the objects that they are in the copy, with names, hooks, mode, dtype, device,
    ``requires_grad`` and parametrisations (weight and spectral norm, pruning). A weight that other
    layers share, a layer with a ``forward`` of its own, quantised and scripted ones and functions
    stay. A layer that is called with ``output_size`` grows where the model still takes all sizes
    that it took, of those that are tried: each axis larger by a few steps, and all of them.

    Args:
        model: Any module.
        input_size: Of its input, batch first, as ``(1, 3, 64, 64)``; of several inputs a sequence.
            With it the repair proves itself: where anything changed, both models run on random
            input, in evaluation mode and double precision where the model can, and must agree.
            Without it a call with ``output_size`` is not seen, and a grown layer may refuse it.
        inplace: Repair ``model`` itself. Its Parameters remain the same objects, so that an
            optimiser's parameter groups still hold them; of larger shape, so that its state
            (momenta) does not fit any more: make the optimiser anew.
        even: Grow kernels to a multiple of the stride. With False kernels grow by the output
            padding alone, all of which then goes.
        fold_resize: Fold nearest enlargement by an integer and the zero-padded convolution that
            alone reads it into one ``nn.ConvTranspose``; an ``nn.Identity`` takes the
            enlargement's place. Its kernel is a new Parameter and holds more numbers, so that
            gradients of weights differ and training takes another path.
        smoothness: Replace plain layers by ``AutoConvTranspose`` of this order, of two free taps
            or more along each axis. **1 and 2 change the function**, to that of the nearest
            kernels without a grid; 0 does not. Needs ``input_size``.
        state_dict: A checkpoint of ``model``, loaded first: the repaired model's own
            ``state_dict()`` is that checkpoint converted.

    Returns:
        The repaired copy, or ``model`` itself.

    Raises:
        AutoupError: The two models differ on random input; the model is as it was.
        RuntimeError: ``state_dict`` does not fit.
        TypeError: ``model`` is no module or cannot be copied, or an argument has a wrong type.
        ValueError: ``model`` is lazy, refuses ``input_size``, or has no numbers to compare.

    Warns:
        ArtifactWarning: Once, with the layers that need what this cannot do.

    Example:
        >>> model = nn.Sequential(nn.ConvTranspose2d(8, 4, 3, 2, 1, 1), nn.Tanh())
        >>> repair(model, (1, 8, 7, 7))[0]
        ConvTranspose2d(8, 4, kernel_size=(4, 4), stride=(2, 2), padding=(1, 1))
    """
    check_flags(inplace=inplace, even=even, fold_resize=fold_resize)
    sizes = None if input_size is None else check_input_size(input_size)
    order = None if smoothness is None else require_smoothness(smoothness)
    if order is not None and sizes is None:
        raise ValueError("smoothness needs input_size, from which each layer has its sizes.")
    checked = check_module("model", model)
    if checked is not model:
        raise TypeError("model is compiled: repair model._orig_mod and compile what it returns.")
    with steps("repair", 4) as step:
        step("look")
        original = copy_model("model", model)
        if state_dict is not None:
            original.load_state_dict(state_dict)
        change = plan_change(original, sizes, even=even, fold=fold_resize, order=order)
        step("change")
        repaired, journal = copy_model("model", original), Journal()
        left = {**change.left, **change.keep_function(repaired, journal)}
        if order == 0:
            left.update(change.guarantee(repaired, journal))
        if sizes is not None and len(journal):
            prove(original, repaired, change, sizes, step)
        if order != 0:  # Which changes the function.
            left.update(change.guarantee(repaired, journal))
        if inplace:
            _transfer(model, change, state_dict)
    if left:
        warn("repair: " + _listing(left))
    return model if inplace else repaired


def _transfer(model: nn.Module, change: Change, state_dict: Mapping[str, Any] | None) -> None:
    """Do to the model what was done to its copy; all of it, or nothing."""
    journal = Journal()
    before = None
    try:
        if state_dict is not None:
            before = {name: each.clone() for name, each in model.state_dict().items()}
            model.load_state_dict(state_dict)
        change.keep_function(model, journal)
        change.guarantee(model, journal)
    except BaseException:
        journal.undo()
        if before is not None:
            model.load_state_dict(before)
        raise


def _listing(left: Mapping[str, str]) -> str:
    lines = "\n".join(f"  {name or 'the model'}: {reason}" for name, reason in left.items())
    count = len(left)
    return f"{count} layer{'s' * (count != 1)} not repaired, or not wholly.\n{lines}"
