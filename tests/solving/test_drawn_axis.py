"""A drawn axis shows the coverage that a count finds, below the input where its taps put it."""

from itertools import product

import pytest
from support.oracle import count_coverage
from support.pictures import Picture

from autoup import Solution, solve
from autoup.solving.sizes import transposed_size
from autoup.svg import COLOURS

AXES = [
    Solution(i, o, k, s, p, a, d)
    for i, k, s, p, a, d in product((1, 5, 13), (1, 2, 3, 5), (1, 2, 3), (0, 1), (0, 1), (1, 2))
    if a < max(s, d) and (o := transposed_size(i, k, s, p, a, d)) > 0
]


def bars(picture):
    """Return for each output pixel that is drawn its place, phase, count and bar."""
    found = {}
    for text, parts in picture.told("output pixel"):
        place, phase, taps = text.removeprefix("output pixel ").replace(": ", ", ").split(", ")
        found[int(place)] = int(phase.split()[1]), int(taps.split()[0]), parts[0][1]
    return found


def check(axis):
    picture = Picture(axis.draw())
    window = (axis.in_size, axis.out_size, axis.kernel_size, axis.stride, axis.padding)
    counts, drawn = count_coverage(*window, axis.dilation), bars(picture)
    assert [drawn[y][1] for y in range(axis.out_size)] == [*counts]
    places = [float(drawn[y][2].get("x")) - 0.5 for y in range(axis.out_size)]
    left, unit = places[0], (places[-1] - places[0]) / max(1, axis.out_size - 1)
    unit = unit or float(drawn[0][2].get("width")) + 1
    most = max(1, *axis.phases)
    for y, (phase, count, bar) in drawn.items():
        assert axis.phases[phase] >= count
        assert places[y] == pytest.approx(left + y * unit, abs=0.02)
        if count:
            assert float(bar.get("height")) == pytest.approx(54 * count / most, abs=0.01)
            assert bar.get("fill") == COLOURS[phase]
        else:
            assert bar.get("fill") == "none"
    for n, (_, ((_, cell), *_)) in enumerate(picture.told("input pixel")):
        taps = [axis.stride * n + axis.dilation * t for t in range(axis.kernel_size)]
        middle = sum(taps) / len(taps) - axis.padding + 0.5
        x, wide = (float(cell.get(name)) for name in ("x", "width"))
        assert x + wide / 2 == pytest.approx(left + middle * unit, abs=0.05)
        assert wide + 1 == pytest.approx(axis.stride * unit, abs=0.05)
    assert len(picture.told("input pixel")) == axis.in_size
    assert picture.stays_inside()


def test_bars_are_the_coverage_and_cells_lie_over_the_middle_of_their_taps():
    assert len(AXES) > 200
    for axis in AXES:
        check(axis)


@pytest.mark.parametrize("sizes", [(1000, 8000), (500, 1001), (100, 150), (10**6, 2 * 10**6)])
def test_of_a_long_axis_both_ends_are_drawn(sizes):
    axis = solve(*sizes)
    picture, o = Picture(axis.draw()), axis.out_size
    drawn = bars(picture)
    assert [*drawn] == [*range(22), *range(o - 22, o)]
    if o < 10_000:
        assert [drawn[y][1] for y in drawn] == [axis.coverage[y] for y in drawn]
    assert picture.texts.count("…") >= 2
    assert picture.stays_inside()
    assert len(axis.draw().svg) < 20_000


def test_what_the_input_reaches_beyond_the_output_is_told():
    texts = " ".join(Picture(solve(100, 150).draw()).texts)
    assert "beyond the output 25 px at the start and 25 px at the end" in texts
    assert "beyond" not in " ".join(Picture(solve(14, 28).draw()).texts)
    shifted = " ".join(Picture(Solution(8, 16, 3, 2, 1, 1).draw()).texts)
    assert "beyond the output 0.5 px at the start" in shifted


def test_the_facts_are_those_of_the_explanation():
    for axis in (solve(7, 15), solve(20, 30), Solution(6, 13, 2, 2, 0, 1)):
        texts = Picture(axis.draw()).texts
        title, *facts = axis.explain().splitlines()
        assert title in texts
        for fact in facts:
            name, _, said = fact.strip().partition("  ")
            assert (name in texts) == (said.strip() in texts) == (name != "coverage")


def test_a_solution_shows_itself_as_a_line():
    axis = solve(13, 28)
    assert repr([axis]) == f"[{axis}]"
    assert repr(axis) == "13 -> 28: kernel_size=4, stride=2; coverage 1 1 2 … 2 1 1"
