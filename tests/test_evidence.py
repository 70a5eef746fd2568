"""The layers that the evidence compares are what their names say."""

import sys
from pathlib import Path

import pytest
import torch

sys.path.append(str(Path(__file__).parents[1] / "examples" / "evidence"))

import report
from decoders import (
    KINDS,
    PROMISES,
    Recipe,
    build_decoder,
    build_layer,
    build_projector,
    count_parameters,
    equal_widths,
)
from measures import constants_of, grid_of, pack, unpack

FREE = {  # Taps of a kernel of 4 that a promise leaves free, in one and two dimensions.
    "k4 points 1": (3, 13),
    "k4 points 2": (2, 7),
    "k4 lines 1": (3, 9),
    "k4 lines 2": (2, 4),
}


@pytest.mark.parametrize("dims", [1, 2])
@pytest.mark.parametrize("kind", PROMISES)
def test_promises_leave_the_taps_that_they_should(kind, dims):
    projector = build_projector(*PROMISES[kind], 4, dims)
    torch.testing.assert_close(projector @ projector, projector)
    assert round(float(projector.trace())) == FREE[kind][dims - 1]


@pytest.mark.parametrize("dims", [1, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_only_promises_and_resizing_keep_constants_free_of_a_grid(kind, dims):
    model = build_decoder(Recipe(kind, "fan-in"), (2, 4, 4, 1), dims)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter)  # As after any training.
    grid = constants_of(model, 2, 12, dims)
    assert (grid < 1e-4) == (kind in PROMISES or "+" in kind)


@pytest.mark.parametrize("kind", ["k4 points 2", "k4 lines 2"])
def test_the_second_order_keeps_ramps_in_any_direction(kind):
    layer = build_layer(Recipe(kind, "fan-in"), 1, 1).double()
    layer.projector = build_projector(*PROMISES[kind], 4, 2)
    y, x = torch.meshgrid(*[torch.arange(16.0, dtype=torch.float64)] * 2, indexing="ij")
    made = layer((0.7 * y - 0.3 * x)[None, None])[..., 4:-4, 4:-4].detach()
    across = made.diff(dim=3)
    torch.testing.assert_close(across, across[..., :1, :1].expand_as(across))


@pytest.mark.parametrize("dims", [1, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_enlarges_by_two_from_a_spread_of_one(kind, dims):
    layer = build_layer(Recipe(kind, "fan-in"), 256, 64, dims)
    made = layer(torch.randn(2, 256, *[24] * dims))
    assert made.shape == (2, 64, *[48] * dims)
    inside = made[(..., *[slice(4, -4)] * dims)]
    assert float(inside.detach().std()) == pytest.approx(1, abs=0.15 + 0.4 * ("bilinear" in kind))


@pytest.mark.parametrize("widths", [(64, 32, 16, 3), (32, 16, 1)])
@pytest.mark.parametrize("kind", KINDS)
def test_equal_widths_make_decoders_of_equal_size(kind, widths):
    wanted = count_parameters(build_decoder(Recipe("k4 s2"), widths))
    scaled = equal_widths(kind, widths)
    assert scaled[0] == widths[0]
    assert scaled[-1] == widths[-1]
    assert count_parameters(build_decoder(Recipe(kind), scaled)) == pytest.approx(wanted, rel=0.05)


def test_the_damped_start_leaves_two_fifths_of_the_phase_deviation():
    sums = []
    for start in ("fan-in", "damped"):
        torch.manual_seed(0)
        weight = build_layer(Recipe("k4 s2", start), 8, 4).weight.detach()
        phases = weight.unflatten(3, (2, 2)).unflatten(2, (2, 2)).sum((2, 4))
        sums.append(phases - phases.mean((2, 3), keepdim=True))
    torch.testing.assert_close(sums[1], 0.4 * sums[0])


def test_the_grid_of_signals_is_that_of_pictures_with_one_line():
    signals = torch.randn(3, 2, 256)
    signals[..., ::2] += 0.3
    pictures = signals[:, :, None].expand(-1, -1, 16, -1)
    assert grid_of(signals, dims=1) == pytest.approx(grid_of(pictures))


def test_pictures_survive_their_eight_bits():
    values = torch.randn(2, 5, 7)
    torch.testing.assert_close(unpack(pack(values)), values, rtol=0, atol=0.01)


def test_the_page_of_evidence_shows_the_tables_of_the_results():
    page = (Path(__file__).parents[1] / "docs" / "evidence.md").read_text()
    part = page[page.index("## Which layer") : page.index("## What it does not show")]
    rows = [line for line in part.splitlines() if line.startswith("| ") and " / " in line]
    rows += [line for line in part.splitlines() if line.endswith(("| yes |", "| no |", "| - |"))]
    rows += [line for line in part.splitlines() if line.startswith("| k4 s2, s")]
    made = report.compose(report.Results(report.read(report.RESULTS)))
    assert len(rows) > 30
    assert [row for row in rows if row not in made] == []
    assert "The rule takes: **damped**." in made
