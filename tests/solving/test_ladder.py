import re
from itertools import pairwise, product

import numpy as np
import pytest
import torch
from support import chains
from support.costs import count_bytecodes
from torch.nn import functional as F  # noqa: N812

from autoup import InfeasibleError, Ladder, Solution, ladder
from autoup.solving.climbing import climb
from autoup.solving.flaws import sizes_instead
from autoup.solving.rungs import find_rung, has_right_scale, sizes_below
from autoup.solving.solver import best_solutions
from autoup.solving.strides import first_choice, sets_of_strides, steps_for


@pytest.mark.parametrize("k", [None, *range(1, 10)])
@pytest.mark.parametrize("m", [0, 1, 2])
def test_a_rung_is_what_the_solver_finds(k, m):
    for i, s in product(range(1, 12), range(1, 7)):
        for o in range(i, 40):
            try:
                found = best_solutions(i, o, k, s, 1, m=m)[0]
            except InfeasibleError:
                assert find_rung(i, o, s, k, m) is None
                continue
            artifacts = (found.uncovered > 0) + (not found.even) + (found.output_padding > 0)
            expected = (found.kernel_size, found.output_padding, artifacts)
            assert find_rung(i, o, s, k, m) == expected
            assert has_right_scale(i, o, s) == (not found.wrong_scale)


def test_the_sizes_below_are_all_of_the_right_scale():
    for s, o, least in product(range(1, 8), range(1, 200), (1, 2, 3, 5, 9)):
        expected = [i for i in range(least, o + 1) if has_right_scale(i, o, s)]
        assert sorted(sizes_below(o, s, least)) == expected


def equals_exhaustive_search(largest):
    for o in range(1, largest + 1):
        chains.best_keys.cache_clear()
        for i, n in product(range(1, min(o, 12) + 1), range(1, 5)):
            best = chains.best_chain(i, o, chains.first_strides(i, o, n, 2), 2)
            if best is None or best[0] or best[1]:
                best = chains.best_chain(i, o, chains.allowed_strides(i, o, n), 2)
            assert chains.worth(climb(i, o, n, 2, None, 0)) == best
            yield i, o, n


def test_a_ladder_equals_exhaustive_search():
    assert len([*equals_exhaustive_search(30)]) > 1100


def test_of_equal_chains_one_is_taken_by_its_sizes_and_strides():
    for i, o, n in product(range(1, 5), range(4, 17), range(1, 4)):
        for tuples in (chains.first_strides(i, o, n, 2), chains.allowed_strides(i, o, n)):
            best = min(chains.every_chain(i, o, tuples, 2), default=None)
            if best and not best[0] and not best[1]:
                break
        found = climb(i, o, n, 2, None, 0)
        assert (*chains.worth(found), found.sizes, found.strides) == best


@pytest.mark.slow
def test_a_ladder_equals_exhaustive_search_up_to_120():
    assert len([*equals_exhaustive_search(120)]) > 5400


def test_free_steps_equal_exhaustive_search():
    for i, o in product(range(1, 9), range(1, 50)):
        if not i <= o <= 8 * i:
            continue
        asked = steps_for(i, o, 2)
        best = chains.best_chain(i, o, chains.first_strides(i, o, asked, 2), 2)
        if best is None or best[0] or best[1]:
            near = (each for n in range(1, asked + 2) for each in product((1, 2, 3), repeat=n))
            mean = (chains.allowed_strides(i, o, n) for n in (asked, asked + 1))
            tuples = {*near}.union(*mean)
            best = chains.best_chain(i, o, tuples, 2)
        assert chains.worth(climb(i, o, None, 2, None, 0)) == best


def test_no_artifact_wherever_strides_of_any_kind_have_none():
    largest = 120
    clean = np.zeros((largest + 1, largest + 1), dtype=bool)
    for i in range(1, largest + 1):
        for o in range(i, largest + 1):
            strides = range(1, 2 * (o // i) + 6)
            clean[i, o] = any(
                has_right_scale(i, o, s) and not find_rung(i, o, s, None, 0).artifacts
                for s in strides
            )
    reached = np.eye(largest + 1, dtype=int)
    for n in range(1, 5):
        reached = (reached @ clean > 0).astype(int)
        for i in range(1, 13):
            for o in range(i, largest + 1):
                found = climb(i, o, n, 2, None, 0)
                assert (found.artifacts == 0 and not found.wrong) == reached[i, o]


def test_pinned_kernels_are_held_and_no_better_chain_of_the_sets_is_left_out():
    for i, o, k in product(range(2, 6), range(8, 30, 3), (2, 3, 4)):
        found = climb(i, o, 2, 2, k, 0)
        others = []
        for strides, size in product(sets_of_strides(i, o, 2, 2), range(i, o + 1)):
            for pair in {strides, strides[::-1]}:
                rungs = find_rung(i, size, pair[0], k, 0), find_rung(size, o, pair[1], k, 0)
                scaled = has_right_scale(i, size, pair[0]) and has_right_scale(size, o, pair[1])
                if all(rungs) and scaled:
                    shift = rungs[0].output_padding * pair[1] + rungs[1].output_padding
                    wrong = abs(pair[0] * pair[1] * i - o) * (i - 1) > 4 * o
                    far = abs(pair[0] * pair[1] * i - o)
                    artifacts = rungs[0].artifacts + rungs[1].artifacts
                    others.append((wrong, artifacts, far + shift))
        first = first_choice(i, o, 2, 2) == found.strides and not found.artifacts if found else 0
        if others and not first:
            assert found[:3] == min(others)
        elif not first:
            assert found is None or found.wrong


def respond(chain, x, dims):
    """Run the layers with kernels of equal taps."""
    convolve = {1: F.conv_transpose1d, 2: F.conv_transpose2d}[dims]
    for each in chain.solutions:
        weight = torch.ones(1, 1, *(each.kernel_size,) * dims, dtype=torch.float64)
        x = convolve(
            x, weight, stride=each.stride, padding=each.padding, output_padding=each.output_padding
        )
    return x


@pytest.mark.parametrize("dims", [1, 2])
@pytest.mark.parametrize(("i", "o", "steps"), [
    (7, 218, None), (6, 178, None), (7, 217, None), (7, 217, 5), (7, 113, None), (9, 54, None),
    (5, 100, 3), (16, 144, None), (5, 81, 4), (12, 17, 1), (20, 481, None), (55, 109, 1),
])  # fmt: skip
def test_sizes_and_ends_are_where_the_ladder_says(i, o, steps, dims):
    chain = ladder(i, o, steps=steps)
    assert chain.sizes[0] == i
    assert chain.sizes[-1] == o
    inner = [i // 2 - 1, i // 2]  # Whose answers no border cuts.
    centres = []
    for place in inner:
        impulse = torch.zeros(1, 1, *(i,) * dims, dtype=torch.float64)
        impulse[(0, 0, *(place,) * dims)] = 1
        answer = respond(chain, impulse, dims)
        assert answer.shape == (1, 1, *(o,) * dims)
        answer = answer[0, 0] if dims == 1 else answer[0, 0].sum(1)
        centres.append(float(answer @ torch.arange(o).double() / answer.sum()))
    apart = centres[1] - centres[0]
    assert apart == pytest.approx(chain.scale)
    ends = [centres[0] + apart * (place - inner[0]) for place in (0, i - 1)]
    assert sum(ends) / 2 == pytest.approx((o - 1) / 2 + chain.shift)
    right = [(place + 0.5) * o / i - 0.5 for place in (0, i - 1)]
    for end, place in zip(ends, right, strict=True):
        assert abs(end - chain.shift - place) == pytest.approx(chain.displacement)


@pytest.mark.parametrize("i", [7, 9, 15])
def test_a_centred_impulse_comes_out_centred(i):
    for o in (16 * i, 16 * i - 6, 16 * i + 1, 16 * i - 3):
        chain = ladder(i, o)
        impulse = torch.zeros(1, 1, i, dtype=torch.float64)
        impulse[0, 0, i // 2] = 1
        answer = respond(chain, impulse, 1)
        assert chain.artifacts is None
        assert torch.equal(answer, answer.flip(2))


@pytest.mark.parametrize(("i", "o"), [
    (7, 217), (7, 113), (20, 641), (15, 481), (100, 44_100), (1, 44_100), (8, 257), (3, 97),
])  # fmt: skip
def test_odd_and_prime_targets_are_clean(i, o):
    chain = ladder(i, o)
    assert (chain.sizes[0], chain.sizes[-1], chain.artifacts) == (i, o, None)
    assert all(each.even and not each.uncovered and not each.shift for each in chain.solutions)
    assert not any(each.wrong_scale for each in chain.solutions)


def test_what_cannot_be_clean_tells_why_and_what_would_be():
    chain = ladder(55, 109, steps=1)
    assert "a stride of 2 makes 109 of 55 with output padding alone" in chain.artifacts
    assert re.findall(r"(\S+=\d+) \(([^)]*)\)", chain.artifacts) == [
        ("steps=2", "55 -> 108 -> 109"),
        ("out_size=108", "55 -> 108"),
        ("out_size=110", "55 -> 110"),
    ]
    assert ladder(55, 109, steps=2).artifacts is None
    wrong = ladder(128, 192)
    assert wrong.solutions[-1].wrong_scale
    assert "no strides near 2 enlarge by 1.5" in wrong.artifacts
    assert "out_size=256, resized to 192 behind it" in wrong.artifacts
    assert ladder(128, 256).artifacts is None
    forced = ladder(2, 3, kernel_size=2, steps=5)
    assert "the whole enlarges 16 times, for a ratio of 1.5" in forced.artifacts
    assert ladder(4, 4, stride=1).artifacts is ladder(4, 4, steps=3, stride=1).artifacts is None
    uneven = ladder(7, 28, kernel_size=3, steps=2)
    assert "kernel_size" in uneven.artifacts
    assert "kernel_size unpinned (7 -> 14 -> 28)" in uneven.artifacts


def test_free_sizes_make_what_halving_cannot():
    assert ladder(7, 218).sizes == (7, 14, 28, 56, 110, 218)
    assert ladder(7, 28, smoothness=1).solutions[0].kernel_size == 4
    assert all(each.kernel_size == 4 for each in ladder(4, 64, kernel_size=4).solutions)


def test_sound_of_millions_costs_no_more_than_short_sound():
    for steps in (4, 5, 6):
        climb.cache_clear()
        short = count_bytecodes(lambda n=steps: climb(100, 20_000, n, 2, None, 0))
        climb.cache_clear()
        long = count_bytecodes(lambda n=steps: climb(100, 2_000_000, n, 2, None, 0))
        assert long < 3 * short
        chain = ladder(100, 2_000_000, steps=steps)
        assert chain.scale == 20_000
        assert all(each.uniform for each in chain.solutions)


def test_a_kernel_that_does_not_reach_says_what_does():
    with pytest.raises(InfeasibleError, match=r"7 -> 100 .* 1 step of kernel_size=2") as caught:
        ladder(7, 100, steps=1, kernel_size=2, smoothness=1)
    for name, value in re.findall(r"(steps|kernel_size)=(\d+)(?:,|;)", str(caught.value)):
        asked = {"steps": 1, "kernel_size": 2} | {name: int(value)}
        assert ladder(7, 100, smoothness=1, **asked).sizes[-1] == 100


@pytest.mark.parametrize(("arguments", "error", "words"), [
    ({"in_size": 8, "out_size": 7}, ValueError, "8 -> 7"),
    ({"in_size": 0, "out_size": 7}, ValueError, "in_size must be at least 1, got 0"),
    ({"in_size": 7, "out_size": 28.0}, TypeError, "out_size must be an int, got 28.0"),
    ({"in_size": 7, "out_size": 28, "steps": 0}, ValueError, "steps must be at least 1, got 0"),
    ({"in_size": 7, "out_size": 28, "stride": True}, TypeError, "stride must be an int, got True"),
    ({"in_size": 7, "out_size": 28, "stride": 1}, ValueError, "stride=1 enlarges nothing, .*steps"),
    ({"in_size": 7, "out_size": 28, "smoothness": 3}, ValueError, "smoothness must be 0, 1 or 2"),
])  # fmt: skip
def test_wrong_arguments_are_named(arguments, error, words):
    with pytest.raises(error, match=words):
        ladder(**arguments)


def test_layers_that_do_not_meet_are_no_ladder():
    with pytest.raises(ValueError, match="15 -> 30 does not begin where 7 -> 14 ends"):
        Ladder((Solution(7, 14, 2, 2), Solution(15, 30, 2, 2)))
    with pytest.raises(ValueError, match="at least one layer"):
        Ladder(())


def test_a_ladder_draws_every_map_where_its_pixels_lie():
    chain = ladder(7, 218)
    drawing = chain.draw()
    assert drawing.svg == chain._repr_svg_()
    assert [f"<title>{size} pixels wide" in drawing.svg for size in chain.sizes] == [True] * 6
    widths = [
        float(w)
        for w in re.findall(r'wide</title><rect x="[\d.]+" y="\d+" width="([\d.]+)"', drawing.svg)
    ]
    spans = [size * np.prod(chain.strides[n:]) for n, size in enumerate(chain.sizes)]
    assert widths == pytest.approx([560 * each / max(spans) for each in spans], abs=0.01)


def test_a_table_has_a_line_for_every_layer():
    lines = str(ladder(7, 217)).splitlines()
    assert lines[0] == "7 -> 14 -> 28 -> 54 -> 108 -> 216 -> 217"
    layers = [f"{i} -> {o}" for i, o in pairwise(ladder(7, 217).sizes)]
    assert [re.split(r" {2,}", line.strip())[0] for line in lines[2:-1]] == layers
    assert lines[-1].endswith("to 224, and crop 7: the outermost pixels lie 3 px from their place.")


@pytest.mark.parametrize(("i", "o", "k"), [(8, 15, 2), (7, 15, 4), (9, 17, 2)])
def test_shifts_of_early_layers_are_enlarged_by_those_behind(i, o, k):
    first = best_solutions(i, o, k, 2, 1)[0]
    chain = Ladder((first, *ladder(o, 4 * o).solutions))
    assert first.shift == -0.5
    assert chain.shift == -2.0
    impulse = torch.zeros(1, 1, i, dtype=torch.float64)
    impulse[0, 0, i // 2] = 1
    answer = respond(chain, impulse, 1)[0, 0]
    centre = float(answer @ torch.arange(4 * o).double() / answer.sum())
    assert centre == pytest.approx((4 * o - 1) / 2 + 8 * (i // 2 - (i - 1) / 2) + chain.shift)
    places = re.findall(
        r'wide</title><rect x="([\d.]+)" y="\d+" width="([\d.]+)"', chain.draw().svg
    )
    middles = [float(x) + float(width) / 2 for x, width in places]
    unit = float(places[-1][1]) / (4 * o)
    assert (middles[0] - middles[-1]) / unit == pytest.approx(chain.shift, abs=0.05)


def test_all_that_is_suggested_is_clean():
    told = 0
    for i, o, n, k in product(range(5, 12), range(40, 60, 3), (1, 2, None), (2, 3, 4, None)):
        try:
            found = ladder(i, o, steps=n, kernel_size=k).artifacts
        except InfeasibleError:
            continue
        for text, chain in re.findall(r"(?:instead: | or )([\w= ]+) \(([\d >-]+)\)", found or ""):
            asked = {"steps": n, "kernel_size": k}
            name, _, value = text.partition("=")
            out = int(value) if name == "out_size" else o
            if name in asked and value:
                asked[name] = int(value)
            if text == "kernel_size unpinned":
                asked["kernel_size"] = None
            instead = ladder(i, out, **asked)
            assert instead.artifacts is None
            assert " -> ".join(map(str, instead.sizes)) == chain
            told += 1
    assert told > 100


def test_a_stride_asked_for_has_its_neighbours_at_any_count():
    for i, o in product((5, 9, 14), range(90, 121)):
        found = climb(i, o, None, 3, None, 0)
        asked = steps_for(i, o, 3)
        tuples = (each for n in range(1, asked + 2) for each in product((2, 3, 4), repeat=n))
        best = chains.best_chain(i, o, tuples, 3)
        assert chains.worth(found) <= best or found.strides == (3,) * asked


def test_no_chain_is_named_in_place_of_a_layer_where_none_is_clean():
    assert sizes_instead(Solution(55, 109, 2, 2, 1, 1)) == (55, 108, 109)
    wrong = best_solutions(1000, 1501, None, 2, 1)[0]
    assert wrong.output_padding
    assert sizes_instead(wrong) == ()
    assert sizes_instead(best_solutions(16, 23, None, 2, 1)[0]) == ()  # Two are of a wrong scale.
    assert sizes_instead(Solution(7, 14, 2, 2)) == ()
    assert sizes_instead(best_solutions(7, 15, 5, 2, 2)[0]) == ()


def test_a_size_to_resize_from_is_clean_itself():
    told = 0
    for i, o, k in product(range(10, 40, 3), range(20, 60, 2), (None, 4, 6, 9)):
        try:
            found = ladder(i, o, kernel_size=k).artifacts if o >= i else None
        except InfeasibleError:
            continue
        for size in re.findall(r"out_size=(\d+), resized", found or ""):
            assert ladder(i, int(size), kernel_size=k).artifacts is None
            told += 1
    assert told > 5
