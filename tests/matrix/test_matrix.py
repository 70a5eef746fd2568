"""Every cell of the matrix is as its table says, and the page of places holds this table."""

from itertools import product
from pathlib import Path

import pytest

from matrix.places import expected
from matrix.table import DIMS, KINDS, LIMITS, PLACES, SLOW, build, check, table

CELLS = [*product(PLACES, KINDS, DIMS)]


def marked(cell):
    """Put together the cells whose place imports much."""
    run = getattr(PLACES[cell[0]], "func", PLACES[cell[0]])
    marks = (pytest.mark.slow, pytest.mark.together(run.__name__)) if run in SLOW else ()
    return pytest.param(cell, marks=marks)


@pytest.mark.parametrize(
    "cell", [*map(marked, CELLS)], ids=lambda cell: "{} | {} | {}d".format(*cell)
)
def test_every_cell_is_as_the_table_says(cell):
    check(*cell)


@pytest.mark.parametrize("dims", DIMS)
@pytest.mark.parametrize("kind", ["16 → 8 channels", "32 → 1 channels"])
def test_the_large_kinds_are_computed_in_a_way_of_their_own(kind, dims):
    model, x = build(kind, dims)
    if kind.startswith("16"):
        x = x.movedim(1, -1).contiguous().movedim(-1, 1)
    assert model(x).grad_fn.name() != expected(model, x).grad_fn.name()


def test_every_limit_is_a_cell():
    assert {*LIMITS} <= {*CELLS}


def test_the_page_of_places_holds_the_matrix():
    page = Path(__file__).parents[2] / "docs" / "places.md"
    assert table() in page.read_text(encoding="utf-8")
