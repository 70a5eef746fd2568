"""Find every upsampling step of a model and say what is wrong with it."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import isnan, prod
from typing import Any

from torch import nn

from autoup.calls import Call, check_sizes, kind_of, record
from autoup.constants import measure_constants
from autoup.copies import check_module, copy_model, evaluate
from autoup.positions import Positions, follow
from autoup.reading import Reader
from autoup.report import AuditReport
from autoup.rows import Upsampling
from autoup.sites import Site, find_sites, is_quantised

Drift = tuple[float, ...]


def audit(model: nn.Module, input_size: Sequence[Any] | None = None) -> AuditReport:
    """Find every upsampling step of a model and tell what a viewer will see of it.

    Steps are transposed convolutions of any subclass or parametrisation, ``PixelShuffle`` with the
    convolution before it, and ``Upsample`` with the convolution behind it. With ``input_size``
    one forward pass shows the functions too (``interpolate``, ``conv_transpose2d``), the sizes,
    and what follows what; without it, that is read from ``nn.Sequential``. The pass runs on a
    copy in evaluation mode and without arithmetic where the model allows it. The model is
    left as it was.

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
    sizes = None if input_size is None else check_sizes(input_size)
    name = type(checked).__name__
    twin = evaluate(copy_model("model", checked, [*checked.parameters()]))
    calls = None if sizes is None else record(checked, sizes)
    sites, reader = find_sites(twin, calls), Reader(twin)
    rows = [reader.read(site) for site in sites]
    notes = [*_notes(sites, twin, calls)]
    if sizes is None or calls is None:
        return AuditReport(name, tuple(rows), notes=tuple(notes))
    dims = max((len(row.stride) for row in rows), default=2)
    ends = [call for call in calls if call.returned and len(call.made) > dims]
    last = max(ends, key=lambda call: prod(call.made[-dims:]), default=None)
    places = follow(calls, dims)
    rows = [_carry_to(row, site, last, places) for row, site in zip(rows, sites, strict=True)]
    grid = measure_constants(checked, sizes, _periods(calls, sites, rows, last)) if rows else ""
    if isinstance(grid, str) and grid:
        notes.append(f"The grid on constant inputs was not measured: {grid}.")
    return AuditReport(
        name,
        tuple(rows),
        sizes,
        sum(row.multiply_adds or 0 for row in rows) if rows else None,
        None if last is None else _add_up(calls, sites, rows, places)[last],
        None if last is None else _displaced(places[last]),
        None if isinstance(grid, str) else grid,
        tuple(notes),
    )


def _displaced(positions: Positions) -> tuple[tuple[float, float], ...] | None:
    return tuple(each.displaced() for each in positions) if _is_known(positions) else None


def _carry_to(
    row: Upsampling, site: Site, last: Call | None, places: Mapping[Call, Positions]
) -> Upsampling:
    """Return the row with its shift in pixels of the output."""
    if last is None or not site.calls or len(row.shift) != len(places[last]):
        return row
    scales = _ratios(places[site.calls[0]], places[last])
    drift = tuple(round(s * n, 9) for s, n in zip(row.shift, scales, strict=True))
    return replace(row, drift=drift)


def _is_known(positions: Positions) -> bool:
    return not any(isnan(each.first) for each in positions)


def _ratios(before: Positions, after: Positions) -> list[float]:
    """Return how many pixels of one tensor a pixel of another spans along each axis."""
    return [a.scale / b.scale for a, b in zip(before, after, strict=True)]


def _add_up(
    calls: Sequence[Call],
    sites: Sequence[Site],
    rows: Sequence[Upsampling],
    places: Mapping[Call, Positions],
) -> Mapping[Call, Drift]:
    """Return how far what each call made lies off centre, in its own pixels.

    Where several ways meet, the one that lies farthest off counts.
    """
    shifts = {call: row.shift for site, row in zip(sites, rows, strict=True) for call in site.calls}
    drifts: dict[Call, Drift] = {}
    for call in calls:
        centred = (0.0,) * len(places[call])
        found = [
            tuple(
                drift * scale
                for drift, scale in zip(
                    drifts[each], _ratios(places[each], places[call]), strict=True
                )
            )
            for each in call.sources
            if _is_known(places[each]) == _is_known(places[call])  # Not where pixels were lost.
        ]
        drift = max([centred, *found], key=lambda each: sum(map(abs, each)))
        own = shifts.get(call, centred)
        pairs = zip(drift, own, strict=len(own) == len(centred))
        drifts[call] = tuple(round(a + b, 9) for a, b in pairs)
    return drifts


def _periods(
    calls: Sequence[Call], sites: Sequence[Site], rows: Sequence[Upsampling], last: Call | None
) -> list[tuple[int, ...]]:
    """Return the periods that grids can have in the output: products of the last strides to it.

    Where several ways meet, the one that enlarges most counts.
    """
    strides = {
        call: tuple(map(round, row.stride))
        for site, row in zip(sites, rows, strict=True)
        for call in site.calls
    }
    ways: dict[Call, list[tuple[int, ...]]] = {}
    for call in calls:
        way = max([[], *(ways[each] for each in call.sources)], key=lambda w: prod(map(prod, w)))
        ways[call] = [*way, strides[call]] if call in strides else way
    way = ways[last] if last is not None else []
    periods: list[tuple[int, ...]] = []
    for stride in reversed(way):
        if periods and len(stride) != len(periods[-1]):
            break
        before = periods[-1] if periods else (1,) * len(stride)
        periods.append(tuple(a * b for a, b in zip(stride, before, strict=True)))
    return [period for period in periods if prod(period) > 1]


def _notes(sites: Sequence[Site], twin: nn.Module, calls: Sequence[Call] | None) -> list[str]:
    notes: list[str] = []
    if kind_of(twin)[1].type == "meta":
        notes.append("The model is on the meta device: its weights were not looked at.")
    if any(site.module is not None and is_quantised(site.module) for site in sites):
        notes.append("Quantised layers were judged by their counts alone, not by their weights.")
    if calls is None:
        notes.append(
            "Without input_size functions (interpolate, conv_transpose2d) and sizes do not show."
        )
    elif missed := [site.path for site in sites if not site.calls]:
        notes.append(f"This input does not reach {', '.join(missed)}.")
    return notes
