"""Find the upsampling steps of a model and say what is wrong with them."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import isnan, prod
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from autoup.auditing.others import read_other
from autoup.auditing.positions import Positions, add_up, is_known, locate, ratios
from autoup.auditing.reading import Reader
from autoup.auditing.report import AuditReport
from autoup.auditing.upsampling import Upsampling
from autoup.auditing.verdict import BALANCED
from autoup.errors import Refusal
from autoup.inspecting.calls import Call
from autoup.inspecting.copies import check_module, copy_model, evaluate, hooks_of
from autoup.inspecting.modules import modules_by_path
from autoup.inspecting.position import Position
from autoup.inspecting.rearranging import PRODUCTS, Rearrangement, find_rearrangements
from autoup.inspecting.recorder import grows
from autoup.inspecting.recording import Recording, record
from autoup.inspecting.runs import check_input_size, dtype_and_device
from autoup.inspecting.sites import Site, find_sites, is_quantised
from autoup.measuring.constant_inputs import ConstantGrid, measure_constants
from autoup.progress import steps

if TYPE_CHECKING:
    from fractions import Fraction

Way = list[tuple["Fraction", ...]]

_WITHOUT_PERIOD = ("sample", "unknown")


def audit(model: nn.Module, input_size: Sequence[Any] | None = None) -> AuditReport:
    """Find the upsampling steps of a model and tell what a viewer will see of them.

    Steps are transposed convolutions of any subclass or parametrisation, ``PixelShuffle`` with the
    convolution before it, and ``Upsample`` with the convolution behind it. With ``input_size``
    one forward pass shows every operator that enlarges data, however it is called, what views,
    slices and copies do to pixels, the sizes, and what follows what; what enlarges and is not
    understood is a step of severity ``"unknown"``. Without it, modules are read, and what follows
    what from ``nn.Sequential``. The pass runs on a copy in evaluation mode and without arithmetic
    where the model allows it. The model is left as it was.

    With ``input_size`` four more passes with arithmetic, on constant inputs, measure the grid of
    the output.

    Args:
        model: Any module.
        input_size: Of its input, batch first, as ``(1, 3, 256, 256)``; of several inputs a
            sequence of such tuples.

    Returns:
        The report, whose ``str()`` is a table; ``.clean`` is the verdict, iteration gives the rows.

    Raises:
        TypeError: ``model`` is no module, or scripted, or cannot be copied.
        ValueError: ``model`` is lazy or refuses ``input_size``; the message names the layer.

    Example:
        >>> layer = nn.ConvTranspose2d(8, 4, 3, 2, 1, 1)
        >>> print(audit(nn.Sequential(layer, nn.ReLU()), (1, 8, 32, 32)))  # doctest: +ELLIPSIS
        Sequential: 1 upsampling step, 1 not clean.
        <BLANKLINE>
          layer  step        in -> out  k  s  p  op  taps  shift  spread  verdict
          0      transposed  32 -> 64   3  2  1  1   1-2   -0.5   0...    severe
        <BLANKLINE>
          severe: 0
            Seen: uneven overlap, 1 to 2 taps a pixel, shows as a checkerboard; output_padding=1
              shifts the picture 0.5 px off centre, toward the top and left.
            Repair: height and width: kernel_size 3 -> 4 by zero taps, output_padding 1 -> 0.
        <BLANKLINE>
        Added up, these steps shift the output 0.5 px toward the top and left. ...
    """
    checked = check_module("model", model)
    sizes = None if input_size is None else check_input_size(input_size)
    with steps("audit", 3) as step:
        step("run without arithmetic")
        twin = evaluate(copy_model("model", checked, [*checked.parameters()]))
        recording = None if sizes is None else record(checked, sizes)
        step("read")
        report, periods = _look(checked, twin, recording)
        if sizes is None or recording is None:
            return report
        report = replace(report, input_size=sizes)
        if not report.rows:
            return report
        step("run on constants")
        try:
            grid = measure_constants(checked, sizes, periods, writes=recording.writes)
        except Refusal as refusal:
            note = f"The grid on constant inputs was not measured: {refusal}."
            return replace(report, notes=(*report.notes, note))
        return _explain(replace(report, constants=grid), grid)


def _explain(report: AuditReport, grid: ConstantGrid) -> AuditReport:
    """Say of a grid that was measured where no step accounts for it."""
    if grid.spread < BALANCED or any(row.severity != "clean" for row in report.rows):
        return report
    note = (
        "No step accounts for the grid that was measured: something else makes it, or borders "
        "reach most of the picture."
    )
    return replace(report, notes=(*report.notes, note))


def _look(
    model: nn.Module, twin: nn.Module, recording: Recording | None
) -> tuple[AuditReport, list[tuple[int, ...]]]:
    """Return the report, and the periods that a grid may have."""
    name, calls = type(model).__name__, None if recording is None else recording.calls
    moved = find_rearrangements(calls or ())
    sites, reader = find_sites(twin, calls, moved), Reader(twin)
    if recording is not None and recording.lost:
        sites.append(Site("unknown", "", None, [Call("lost", "", (), (), (1, 1, 1), {})]))
    rows = [reader.read(site) for site in sites]
    report = AuditReport(name, tuple(rows), notes=_notes(sites, model, twin, recording))
    if calls is None:
        return report, []
    if any(row.multiply_adds is not None for row in rows):
        report = replace(report, multiply_adds=sum(row.multiply_adds or 0 for row in rows))
    ways = _ways(calls, sites, rows)
    last, dims = _find_output(calls, ways)
    if last is None:
        return report, []
    places = locate(calls, dims, moved)
    end, size = places[last], last.made[-dims:]
    told = any(row.kind in _WITHOUT_PERIOD for row in rows)
    if not (told or is_known(end)) and (unseen := _find_unseen(calls, moved, last, ways[last])):
        report = replace(report, rows=(*rows, read_other(unseen)))
        return report, _periods(ways[last], rows)
    report = _follow(report, calls, sites, places, last)
    scaled = is_known(end) and not any(map(Position.is_off_scale, end, size))
    if scaled and any(row.severity != "clean" for row in rows):
        reader = Reader(twin, scaled=True)
        again = zip(report.rows, map(reader.read, sites), strict=True)
        report = replace(report, rows=tuple(replace(b, drift=a.drift) for a, b in again))
    return report, _periods(ways[last], rows)


def _find_unseen(
    calls: Sequence[Call], moved: Mapping[Call, Rearrangement], last: Call, way: Way
) -> Site | None:
    """Return the output as a step where it is larger than what the steps to it explain."""
    inputs = [call.shape for call in calls if call.from_input]
    inputs = [each for each in inputs if len(each) == len(last.made) > 3]
    products = any(call.name in (*PRODUCTS, "linear") and len(call.made) > 3 for call in calls)
    if not inputs or (not products and any(map(_lays_out, moved.items()))):
        return None
    before = max(inputs, key=lambda each: prod(each[2:]))
    explained = [1.0] * (len(before) - 2)
    for stride in way:
        if len(stride) == len(explained):
            explained = [float(a * b) for a, b in zip(explained, stride, strict=True)]
    sizes = zip(last.made[2:], before[2:], explained, strict=True)
    if all(o < 1.5 * i * most for o, i, most in sizes):
        return None
    return Site("unknown", "", None, [Call("output", "", (last,), before, last.made, {})])


def _lays_out(moved: tuple[Call, Rearrangement]) -> bool:
    """Tell whether pixels are laid out beside each other, as tiles are."""
    end, how = moved
    return how.kind == "move" and bool(how.in_size) and grows((1, 1, *how.in_size), end.made)


def _ways(
    calls: Sequence[Call], sites: Sequence[Site], rows: Sequence[Upsampling]
) -> dict[Call, Way]:
    """Return for each call the strides of the upsampling steps on the way to it.

    Where several ways meet, the one that enlarges most counts, among tensors of as many dimensions
    as any there has: the rest is broadcast.
    """
    from fractions import Fraction  # Loads what few need.

    strides = {
        call: tuple(Fraction(s).limit_denominator(64) for s in row.stride)
        for site, row in zip(sites, rows, strict=True)
        for call in site.calls
        if row.kind not in _WITHOUT_PERIOD
    }
    ways: dict[Call, Way] = {}
    for call in calls:
        most = max((len(each.made) for each in call.sources), default=0)
        met = [ways[each] for each in call.sources if len(each.made) == most]
        way = max([[], *met], key=lambda way: prod(map(prod, way)))
        ways[call] = [*way, strides[call]] if call in strides else way
    return ways


def _find_output(calls: Sequence[Call], ways: Mapping[Call, Way]) -> tuple[Call | None, int]:
    """Return the call that made the largest output, None without one, and its spatial axes.

    An output has the axes of the last upsampling step before it; without one, the most of any.
    """
    most = max((len(stride) for way in ways.values() for stride in way), default=2)
    found: list[tuple[Call, int]] = []
    for call in calls:
        dims = len(ways[call][-1]) if ways[call] else most
        if call.returned and len(call.made) > dims:
            found.append((call, dims))
    return max(found, key=lambda each: prod(each[0].made[-each[1] :]), default=(None, most))


def _follow(
    report: AuditReport,
    calls: Sequence[Call],
    sites: Sequence[Site],
    places: Mapping[Call, Positions],
    last: Call,
) -> AuditReport:
    """Add to a report where the output lies, and to each row its shift in pixels of the output."""
    end, pairs = places[last], [*zip(report.rows, sites, strict=True)]
    dims, size = len(end), last.made[-len(end) :]
    shifts = {call: row.shift for row, site in pairs for call in site.calls}
    other = [row for row, site in pairs if site.calls and len(row.shift) != dims]
    shifted = [row.name or "(model)" for row in other if any(row.shift)]
    note = (
        "The shifts of these steps were not followed to the output, which has other axes: "
        f"{', '.join(shifted)}."
    )
    known, drift = is_known(end), add_up(calls, shifts, places)[last]
    return replace(
        report,
        rows=tuple(_carry_to(row, site, places, end) for row, site in pairs),
        drift=None if any(map(isnan, drift)) else drift,
        displaced=tuple(map(Position.shift, end, size)) if known else None,
        stretched=tuple(map(Position.stretch, end, size)) if known else None,
        notes=(*report.notes, *([note] if shifted else [])),
    )


def _carry_to(
    row: Upsampling, site: Site, places: Mapping[Call, Positions], end: Positions
) -> Upsampling:
    """Return the row with its shift in pixels of the output, where both have the same axes."""
    if not site.calls or len(row.shift) != len(end):
        return row
    scales = ratios(places[site.calls[0]], end)
    drift = tuple(round(s * n, 9) for s, n in zip(row.shift, scales, strict=True))
    return replace(row, drift=drift)


def _periods(way: Way, rows: Sequence[Upsampling]) -> list[tuple[int, ...]]:
    """Return the periods that grids can have at the end.

    Those are the numerators of the products of the last strides to it, and since other ways may
    meet there, the strides of all steps.
    """
    from fractions import Fraction

    found: list[tuple[Fraction, ...]] = []
    for stride in reversed(way):
        if found and len(stride) != len(found[-1]):
            break
        before = found[-1] if found else (Fraction(1),) * len(stride)
        found.append(tuple(a * b for a, b in zip(stride, before, strict=True)))
    dims = len(found[-1]) if found else 0
    found += [
        tuple(map(Fraction, map(round, row.stride)))
        for row in rows
        if len(row.stride) == dims and row.kind not in _WITHOUT_PERIOD
    ]
    periods = dict.fromkeys(tuple(each.numerator for each in period) for period in found)
    return [period for period in periods if prod(period) > 1]


def _notes(
    sites: Sequence[Site], model: nn.Module, twin: nn.Module, recording: Recording | None
) -> tuple[str, ...]:
    notes: list[str] = []
    if dtype_and_device(twin)[1].type == "meta":
        notes.append("The model is on the meta device: its weights were not looked at.")
    if any(site.module is not None and is_quantised(site.module) for site in sites):
        notes.append("Quantised layers were judged by their counts alone, not by their weights.")
    if recording is None:
        notes.append(
            "Without input_size functions (interpolate, conv_transpose2d) and sizes do not show."
        )
        if scripted := [path for path, each in modules_by_path(twin).items()
                        if isinstance(each, torch.jit.ScriptModule)]:  # fmt: skip
            notes.append(
                f"Without input_size what torch.jit compiled is not looked into: {scripted[0]}"
                f"{', and others' if len(scripted) > 1 else ''}."
            )
        return tuple(notes)
    if recording.unseen and not recording.lost:
        notes.append(f"Of {recording.unseen} of the tensors that it returns no origin was seen.")
    if hooks := hooks_of(model):
        notes.append(f"Forward hooks were left out: {len(hooks)}. What they change was not seen.")
    if missed := [site.path for site in sites if not site.calls]:
        notes.append(f"This input does not reach {', '.join(missed)}.")
    if still := Counter(recording.still):
        said = ", ".join(f"{name} ({count})" for name, count in still.items())
        notes.append(f"Left out, since what they enlarge stems from no input: {said}.")
    return tuple(notes)
