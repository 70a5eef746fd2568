"""Prove that a repaired model computes what the original does, by as few runs as that takes."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from autoup.errors import AutoupError
from autoup.inspecting.copies import copy_model
from autoup.inspecting.runs import InputSizes, dtype_and_device, quiet, run, shown
from autoup.repairing.change import Change
from autoup.repairing.output_sizes import still_makes
from autoup.repairing.surgery import Journal

_DIGITS = 512  # Differences of so many roundings are none: sums run in another order.


def prove(
    original: nn.Module,
    repaired: nn.Module,
    change: Change,
    sizes: InputSizes,
    step: Callable[[str], None],
) -> None:
    """Compare both models on random input, each run once, in double precision where that runs.

    Grown kernels hold the old taps and zeros, and must be exact. Folded ones are rounded: the
    repaired model must agree up to that, and the change itself, done in double precision, exactly.

    Args:
        original: The model as it was.
        repaired: The same after the change, without a guarantee that changes the function.
        change: What was done.
        sizes: Of the inputs.
        step: Told what runs.

    Raises:
        AutoupError: They differ.
        ValueError: There are no numbers to compare.
    """
    dtype, device = dtype_and_device(original)
    if device.type == "meta":
        raise ValueError(
            "model is on the meta device and has no numbers to compare: leave input_size out."
        )
    step("run the model")
    before, wanted = _run_original(original, sizes)
    step("run the repaired model")
    used = dtype_and_device(before)[0]
    if change.rounds and used != dtype:
        exact = copy_model("model", before)
        change.keep_function(exact, Journal())
        _check(_compare(wanted, exact, sizes), used, sizes)
    same = repaired if used == dtype else _converted(repaired, used)
    _check(_compare(wanted, same, sizes), dtype if change.rounds else used, sizes)
    refused = still_makes(repaired, change.made)
    if refused is not None:
        raise AutoupError(
            f"repair changed what input_size={shown(refused)} makes, or whether it runs, so "
            "nothing is repaired: code in the model may read kernel_size or padding of a layer "
            "that it calls with output_size. Repair those submodules alone that do not."
        )


def _run_original(original: nn.Module, sizes: InputSizes) -> tuple[nn.Module, list[Tensor]]:
    """Return the model that ran, in double precision if it can, and what it made."""
    dtype = dtype_and_device(original)[0]
    wide = torch.promote_types(dtype, torch.float64)
    if wide != dtype:
        try:
            before = _converted(original, wide)
            return before, run(before, _inputs(before, sizes))
        except Exception:  # Not every model takes double precision.
            pass
    return original, run(original, _inputs(original, sizes))


def _converted(model: nn.Module, dtype: torch.dtype) -> nn.Module:
    with quiet():
        return copy_model("model", model).to(dtype)


def _inputs(model: nn.Module, sizes: InputSizes) -> list[Tensor]:
    dtype, device = dtype_and_device(model)
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(s, generator=generator, dtype=dtype).to(device) for s in sizes]


def _compare(wanted: Sequence[Tensor], repaired: nn.Module, sizes: InputSizes) -> float:
    """Return the largest difference over the largest value of any tensor that is returned."""
    try:
        made = run(repaired, _inputs(repaired, sizes))
    except Exception:  # The original runs, so this is the repair's doing.
        return float("inf")
    if len(wanted) != len(made):
        return float("inf")
    return max((_difference(a, b) for a, b in zip(wanted, made, strict=True)), default=0.0)


def _check(worst: float, precision: torch.dtype, sizes: InputSizes) -> None:
    limit = _DIGITS * torch.finfo(precision).eps
    if not worst <= limit:
        raise AutoupError(
            f"repair changed the output on random input of input_size={shown(sizes)} by "
            f"{worst:.2g} of its largest value, more than {limit:.2g} ({precision}), so "
            "nothing is repaired: code in the model may read kernel_size, padding or weight "
            "of a layer. Call audit(model) for the layers, and repair those submodules alone "
            "that are not read."
        )


def _difference(wanted: Tensor, made: Tensor) -> float:
    if wanted.shape != made.shape:
        return float("inf")
    if not wanted.numel() or not (wanted.is_floating_point() or wanted.is_complex()):
        return 0.0 if torch.equal(wanted, made) else float("inf")
    if torch.equal(wanted, made):
        return 0.0
    largest = float(wanted.abs().max())
    return float((wanted - made).abs().max()) / (largest or 1.0)
