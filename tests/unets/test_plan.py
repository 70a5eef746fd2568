"""A way from one map to the next, in whole numbers, against what is worked out by hand."""

import pytest

from autoup.errors import Refusal
from autoup.unets.plan import Grid, plan_way


def way(below, above=(0, 0), stride=2, scale=1.0):
    """Plan from a map that begins at one place, or between two, to one that begins at another."""
    upper = Grid((16,), (scale,), (above,), 3)
    return plan_way(Grid((16 // stride,), (stride * scale,), (below,), 8), upper)


@pytest.mark.parametrize(("below", "front", "shift"), [
    ((0.5, 0.5), 0, 0.0), ((0, 0), 0, 0.5), ((1, 1), 0, -0.5), ((2, 2), 1, -0.5),
    ((-1, -1), -1, 0.5), ((2.5, 2.5), 2, 0.0), ((-1.5, -1.5), -2, 0.0),
])  # fmt: skip
def test_a_map_is_moved_by_the_nearest_whole_number_and_of_two_by_the_less(below, front, shift):
    made = way(below)
    assert (made.fronts, made.shift) == ((front,), (shift,))
    assert made.cut == ({0: 0, 1: 1, 2: 0}[abs(front)],)
    twice = way(tuple(2 * each for each in below), scale=2.0)
    assert (twice.fronts, twice.shift) == ((front,), (shift,)), "told in pixels of the upper map"


@pytest.mark.parametrize(("below", "above", "front", "shift"), [
    ((0, 1), (0, 0), 0, 0.0),  # In the middle of where it may lie.
    ((0, 2), (0, 0), 0, None),
    ((2, 3), (0, 0), 1, None),
    ((-3, -2), (0, 0), -2, None),
    ((0, 0), (0, 4), 0, None),
    ((4, 6), (1, 1), 2, None),
])  # fmt: skip
def test_between_two_places_the_one_counts_that_needs_the_least(below, above, front, shift):
    made = way(below, above)
    assert (made.fronts, made.shift) == ((front,), (shift,))


@pytest.mark.parametrize(("below", "above"), [(None, (0, 0)), ((0, 0), None), (None, None)])
def test_a_map_of_unknown_place_is_not_moved(below, above):
    made = way(below, above)
    assert (made.fronts, made.shift) == ((0,), (None,))


@pytest.mark.parametrize(("size", "below", "stride"), [
    (7, 3, 2), (5, 2, 2), (8, 3, 3), (13, 5, 3), (11, 3, 4), (3, 2, 2),
])  # fmt: skip
def test_sizes_alone_are_rounded_by_up_to_a_stride(size, below, stride):
    image = Grid((size,), (1.0,), ((0, 0),), 3)
    made = plan_way(Grid((below,), (size / below,), (None,), 8), image)
    assert made.total == (stride,)


@pytest.mark.parametrize(("size", "below", "told"), [(20, 8, "2.5"), (100, 70, "1.43")])
def test_no_whole_number_is_refused(size, below, told):
    image = Grid((size,), (1.0,), ((0, 0),), 3)
    with pytest.raises(Refusal, match=f"falls by {told}, which is no whole number"):
        plan_way(Grid((below,), (size / below,), (None,), 8), image)
