import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support import oracle
from support.costs import count_bytecodes
from torch.nn import functional as F  # noqa: N812

from autoup import InfeasibleError, Solution, candidates, solve
from autoup.solving.sizes import convolved_size, nearest_strides, transposed_size
from autoup.solving.solver import best_solutions


def covered_by_torch(found):
    ones = torch.ones(1, 1, found.in_size), torch.ones(1, 1, found.kernel_size)
    covered = F.conv_transpose1d(
        *ones,
        stride=found.stride,
        padding=found.padding,
        output_padding=found.output_padding,
        dilation=found.dilation,
    )
    return tuple(covered.int().flatten().tolist())


@pytest.mark.parametrize("i", range(1, 41))
def test_solve_equals_exhaustive_search(i):
    for o in range(i, 91):
        found = solve(i, o)
        strides = oracle.nearest_strides(i, o)
        # Past |o - s(i - 1)| + 3s a kernel only grows: it covers and evens out no more.
        widest = max(abs(o - s * (i - 1)) + 3 * s for s in strides) + 1
        assert oracle.as_row(found) == oracle.search(i, o, range(1, widest), strides, 1)[0]
        assert (found.uncovered, found.even) == (0, True)
        assert found.output_padding == (all(s % 2 == 0 for s in strides) and o % 2 == 1)
        oracle.assert_properties(found)
        assert found.coverage == covered_by_torch(found)


@pytest.mark.parametrize("d", [1, 2, 3])
@pytest.mark.parametrize("s", [None, 1, 2, 3, 4, 5])
@pytest.mark.parametrize("k", range(1, 10))
def test_pinned_kernel_equals_exhaustive_search(k, s, d):
    for i in range(1, 9):
        for o in range(i, 22):
            strides = oracle.nearest_strides(i, o) if s is None else [s]
            expected = oracle.search(i, o, [k], strides, d, limit=4)
            if not expected:
                with pytest.raises(InfeasibleError, match=f"{i} -> {o} .*kernel_size={k}"):
                    solve(i, o, kernel_size=k, stride=s, dilation=d)
                continue
            found = candidates(i, o, kernel_size=k, stride=s, dilation=d, limit=4)
            assert [oracle.as_row(each) for each in found] == expected
            for each in found:
                oracle.assert_properties(each)
                assert each.coverage == covered_by_torch(each)


@pytest.mark.parametrize("d", range(1, 7))
@pytest.mark.parametrize("s", [None, *range(1, 8)])
def test_candidates_are_the_first_of_the_order(s, d):
    for i in range(1, 7):
        for o in range(i, i + 13):
            strides = oracle.nearest_strides(i, o) if s is None else [s]
            found = candidates(i, o, stride=s, dilation=d, limit=4)
            widest = max(each.kernel_size for each in found) + 4 * max(strides)
            expected = oracle.search(i, o, range(1, widest), strides, d, limit=4)
            assert [oracle.as_row(each) for each in found] == expected
            for each in found:
                oracle.assert_properties(each)


@settings(max_examples=300, deadline=None)
@given(
    i=st.integers(1, 12),
    k=st.integers(1, 12),
    s=st.integers(1, 8),
    d=st.integers(1, 8),
    p=st.integers(0, 40),
    a=st.integers(0, 7),
)
def test_properties_hold_for_any_parameters(i, k, s, d, p, a):
    o = transposed_size(i, k, s, p, a, d)
    if o >= 1:
        oracle.assert_properties(Solution(i, o, k, s, p, a, d))


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ((14, 28), (2, 2, 0, 0)),
        ((1, 7), (7, 7, 0, 0)),
        ((13, 28), (4, 2, 0, 0)),
        ((55, 224), (8, 4, 0, 0)),
        ((8, 15), (2, 2, 1, 1)),
        ((7, 15), (4, 2, 1, 1)),
        ((10, 25), (6, 3, 4, 0)),
        ((28, 28), (1, 1, 0, 0)),
    ],
)
def test_table_of_the_readme_and_the_theory(sizes, expected):
    found = solve(*sizes)
    assert (found.kernel_size, found.stride, found.padding, found.output_padding) == expected


def test_kernel_equal_to_stride_wherever_the_output_is_a_multiple():
    for i in range(1, 30):
        for s in range(1, 9):
            found = solve(i, i * s)
            assert (found.kernel_size, found.padding, found.uniform) == (s, 0, True)


def test_transposed_size_is_what_torch_makes_and_convolved_size_undoes_it():
    for i, k, s, p, d in [(7, 4, 2, 1, 1), (5, 3, 3, 0, 2), (9, 5, 1, 2, 1), (4, 1, 2, 0, 1)]:
        o = transposed_size(i, k, s, p, 0, d)
        made = F.conv_transpose1d(torch.ones(1, 1, i), torch.ones(1, 1, k), None, s, p, 0, 1, d)
        assert made.shape[-1] == o
        assert convolved_size(o, k, s, p, d) == i


def test_nearest_strides_are_the_nearest():
    for i in range(1, 25):
        for o in range(1, 60):
            assert list(nearest_strides(i, o)) == oracle.nearest_strides(i, o)


def costs(*sizes, **pins):
    """Return the instructions of solving, of the properties and of the texts."""
    best_solutions.cache_clear()
    solving = count_bytecodes(lambda: solve(*sizes, **pins))
    found = solve(*sizes, **pins)
    properties = "even", "uncovered", "border", "uniform", "shift", "wrong_scale"
    looking = count_bytecodes(lambda: [getattr(found, name) for name in properties])
    return solving, looking, count_bytecodes(lambda: (str(found), found.explain()))


@pytest.mark.parametrize(
    ("sizes", "pins"),
    [
        (lambda n: (n, 2 * n + 1), {}),
        (lambda n: (1, n), {}),
        (lambda n: (n, n), {}),
        (lambda n: (n, 7 * n - 5), {}),
        (lambda n: (n, 2 * n), {"smoothness": 2}),
        (lambda n: (n, 2 * n), {"kernel_size": 5}),
        (lambda n: (1, n), {"dilation": 4}),
        (lambda n: (n, 1000 * n), {"dilation": 3}),
        (lambda n: (n, 1000 * n), {"kernel_size": 1003, "dilation": 3}),
    ],
)
def test_cost_does_not_grow_with_the_sizes(sizes, pins):
    small, large = sizes(10**3), sizes(10**12)
    assert costs(*small, **pins) == costs(*large, **pins)


@pytest.mark.parametrize(
    "sizes", [(10**9, 2 * 10**9 + 1), (1, 10**9), (10**9, 10**9), (10**12, 7 * 10**12 - 5)]
)
def test_what_is_told_of_a_long_axis_is_true_and_short(sizes):
    found = solve(*sizes)
    assert (found.even, found.uncovered) == (True, 0)
    assert found.border <= 2 * found.kernel_size
    assert found.uniform <= (found.shift == 0)
    assert len(str(found)) < 250
    assert len(found.explain()) < 900


def test_border_and_exact_of_a_long_axis_equal_those_of_a_short_one():
    short, long = solve(13, 28), solve(10**9 + 1, 2 * 10**9 + 4)
    assert (short.kernel_size, short.padding) == (long.kernel_size, long.padding)
    assert (short.border, short.uniform) == (long.border, long.uniform) == (4, False)


@pytest.mark.parametrize("m", [0, 1, 2])
@pytest.mark.parametrize("d", [1, 2, 3, 4])
@pytest.mark.parametrize("s", [None, 1, 2, 3, 4])
def test_all_that_an_infeasible_error_names_works(s, d, m):
    told = 0
    for i in range(1, 9):
        for o in range(i, 28):
            for k in (None, 1, 2, 3, 4, 6):
                pins = {"kernel_size": k, "stride": s, "dilation": d, "smoothness": m}
                try:
                    solve(i, o, **pins)
                except InfeasibleError as error:
                    told += 1
                    sizes = [follow(i, o, pins, each) for each in options_of(str(error))]
                    assert_nearest(i, o, pins, [size for size in sizes if size != o])
    assert told > (20 if s is None or s > 1 or d < 4 else 0)


def options_of(message):
    told = re.search(r"The nearest that (?:work are|works is) (.*)\.$", message)[1]
    return re.split(", or |; or ", told)


def follow(i, o, pins, option):
    """Solve with what an option changes, the stride as it was and as told; return the size."""
    change, _, stride = option.removeprefix("leave ").rstrip(")").partition(" (stride=")
    asked = {"out_size": o} | pins
    for part in change.split(" and "):
        name, _, value = part.removesuffix(" unpinned").partition("=")
        assert name in asked
        asked[name] = int(value) if value else None
    for each in {asked["stride"], int(stride or 0) or asked["stride"]}:
        solve(i, **asked | {"stride": each})
    return asked["out_size"]


def assert_nearest(i, o, pins, named):
    """Without dilation or promise every kernel reaches some size: one is named, the nearest."""
    assert len(named) <= 1
    if not named and pins["smoothness"] == 0:
        assert not any(reaches(i, size, pins) for size in range(i, 60))
    for size in named:
        nearer = range(max(i, o - abs(size - o) + 1), o + abs(size - o))
        assert not any(reaches(i, each, pins) for each in nearer)


def reaches(i, size, pins):
    try:
        return bool(solve(i, size, **pins))
    except InfeasibleError:
        return False


def test_solution_refuses_parameters_that_do_not_meet_the_size():
    with pytest.raises(ValueError, match="takes 14 to 27, not to 28"):
        Solution(14, 28, kernel_size=3, stride=2, padding=1)


def test_explain_draws_the_coverage_as_in_the_theory():
    drawings = {
        (14, 28): "1 everywhere",
        (13, 28): "1 1 2 … 2 1 1",
        (55, 224): "1 1 1 1 2 … 2 1 1 1 1",
        (7, 15): "1 2 … 2 1 1",
        (10, 25): "2 everywhere",
    }
    for sizes, drawing in drawings.items():
        assert f"coverage   {drawing}\n" in solve(*sizes).explain()


def test_drawing_shows_both_ends_of_the_coverage():
    for i in range(1, 12):
        for o in range(i, 40):
            for k in (None, 1, 3, 5):
                try:
                    found = solve(i, o, kernel_size=k)
                except InfeasibleError:
                    continue
                drawn = found.explain().split("coverage   ")[1].split("\n")[0]
                ends = drawn.split(" … ")
                if drawn.endswith("everywhere"):
                    assert set(found.coverage) == {int(drawn.split()[0])}
                elif len(ends) == 1:
                    assert tuple(map(int, drawn.split())) == found.coverage
                else:
                    head, tail = ([int(c) for c in end.split()] for end in (ends[0], ends[-1]))
                    assert tuple(head) == found.coverage[: len(head)]
                    assert tuple(tail) == found.coverage[-len(tail) :]


def test_scale_is_told_by_how_far_the_ends_lie_from_their_place():
    for i, o in [(13, 28), (100, 150), (7, 14), (55, 224)]:
        found = solve(i, o)
        first, _ = oracle.misplaced_ends(i, o, found.kernel_size, found.stride, found.padding, 1)
        text = found.explain().splitlines()[-1]
        if first:
            assert text.endswith(f"the ends lie {abs(float(first)):.3g} px from their place")
        else:
            assert text == f"  scale      {found.stride}, the ratio of the sizes"


def test_a_scale_is_wrong_from_more_than_two_input_pixels_on():
    for sizes in [(28, 32), (55, 224), (13, 28), (62, 488), (1, 1000), (7, 14)]:
        assert not solve(*sizes).wrong_scale
    for sizes in [(20, 30), (32, 48), (64, 100), (97, 150), (128, 192)]:
        assert solve(*sizes).wrong_scale
    assert solve(7, 14).displacement == 0.0
    assert str(solve(20, 30)).endswith("coverage 5 everywhere; ends 4.75 px off")
    assert " off" not in str(solve(28, 32))


def test_str_is_one_line_that_names_every_flaw():
    clean, flawed = str(solve(14, 28)), str(solve(14, 28, kernel_size=1))
    assert "\n" not in clean + flawed
    assert clean == "14 -> 28: kernel_size=2, stride=2; coverage 1 everywhere"
    assert flawed.endswith("; uneven; 14 uncovered; shift -0.5 px")
