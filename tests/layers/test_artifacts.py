import inspect
import random
import re
import warnings
from functools import partial
from itertools import pairwise, product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.oracle import AUTO, CONV
from torch import nn

from autoup import (
    ArtifactWarning,
    AutoConvTranspose1d,
    AutoConvTranspose2d,
    AutoConvTranspose3d,
    InfeasibleError,
)
from autoup.solving.plan import plan_sizes


def caught(build):
    with warnings.catch_warnings(record=True, action="always") as found:
        layer = build()
    return layer, [each for each in found if each.category is ArtifactWarning]


def test_warns_exactly_where_an_axis_is_not_clean():
    pins = product((None, 1, 2, 3, 4, 5), (None, 1, 2, 3), (1, 2, 3))
    warned = 0
    for (k, s, d), sizes in product(pins, [(4, 8), (5, 9), (3, 10), (7, 15), (6, 6), (20, 30)]):
        options = {"kernel_size": k, "stride": s, "dilation": d, "device": "meta"}
        try:
            layer, found = caught(partial(AutoConvTranspose1d, 1, 1, *sizes, **options))
        except InfeasibleError:
            continue
        solution = layer.solutions[0]
        flawed = solution.output_padding > 0 or not solution.even or solution.uncovered > 0
        flawed |= abs(solution.stride - sizes[1] / sizes[0]) * (sizes[0] - 1) > 4 * solution.stride
        assert len(found) == flawed
        warned += flawed
    assert warned > 50


def test_warns_once_a_layer_and_names_every_axis():
    _, found = caught(lambda: AutoConvTranspose3d(1, 1, (7, 4, 8), (15, 8, 15)))
    (message,) = [str(each.message) for each in found]
    assert message == (
        "AutoConvTranspose3d: depth 7 -> 15 (kernel_size=4, stride=2): output_padding=1 shifts "
        "the picture 0.5 px off centre, toward the front. Clean instead: out_size=14 "
        "(kernel_size=2, stride=2). Clean as 2 layers: 7 -> 14 -> 15, by autoup.ladder. width "
        "8 -> 15 (kernel_size=2, stride=2): output_padding=1 shifts the picture 0.5 px off centre, "
        "toward the left. Clean instead: out_size=16 (kernel_size=2, stride=2). Clean as 2 layers: "
        "8 -> 14 -> 15, by autoup.ladder."
    )


def test_the_layers_that_are_named_instead_are_clean():
    _, found = caught(lambda: AutoConvTranspose2d(1, 1, (55, 14), (109, 28)))
    (told,) = re.findall(r"Clean as (\d) layers: ([\d >-]+\d)", str(found[0].message))
    sizes = [int(each) for each in told[1].split(" -> ")]
    assert (int(told[0]), sizes) == (2, [55, 108, 109])
    for below, above in pairwise(sizes):
        assert not caught(lambda i=below, o=above: AutoConvTranspose2d(1, 1, i, o))[1]
    for options in ({"kernel_size": 3}, {"dilation": 2}):  # One layer without the pin is clean.
        _, found = caught(lambda given=options: AutoConvTranspose2d(1, 1, 14, 28, **given))
        assert "layers" not in str(found[0].message)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"kernel_size": 3}, "uneven overlap, 1 to 2 taps a pixel, shows as a checkerboard"),
        ({"kernel_size": 3}, "leave kernel_size unpinned .kernel_size=2, stride=2"),
        ({"kernel_size": 1}, "14 dead lines hold nothing but the bias"),
        ({"dilation": 2}, "dilation=1 and nothing pinned .kernel_size=2, stride=2"),
    ],
)
def test_says_what_a_picture_shows_and_what_to_change(options, words):
    with pytest.warns(ArtifactWarning, match=words):
        AutoConvTranspose2d(1, 1, 14, 28, **options)


def test_names_a_single_dead_line():
    with pytest.warns(ArtifactWarning, match="1 dead sample holds nothing but the bias"):
        AutoConvTranspose1d(1, 1, 14, 29, kernel_size=2)
    with pytest.warns(ArtifactWarning, match="1 dead line holds nothing but the bias"):
        AutoConvTranspose2d(1, 1, 14, 29, kernel_size=2)


def test_the_remedy_of_a_mirror_is_one_of_a_mirror():
    conv = nn.Conv2d(1, 8, 3, 2, 1)
    with pytest.warns(
        ArtifactWarning, match="8 -> 15 .*Clean instead: out_size=14 .in_size=7, kernel_size=2"
    ):
        AutoConvTranspose2d.mirror(conv, 15)
    with pytest.warns(ArtifactWarning, match="Clean instead: adjoint=False .kernel_size=2"):
        AutoConvTranspose2d.mirror(conv, 28, adjoint=True)
    assert caught(lambda: AutoConvTranspose2d.mirror(conv, 14))[1] == []


class Subclass(AutoConvTranspose2d):
    pass


@pytest.mark.parametrize(
    "build",
    [
        lambda: AutoConvTranspose2d(1, 1, 7, 15),
        lambda: AutoConvTranspose2d.mirror(nn.Conv2d(1, 1, 3, 2, 1), 15),
        lambda: Subclass(1, 1, 7, 15),
        lambda: Subclass.mirror(nn.Conv2d(1, 1, 3, 2, 1), 15),
    ],
)
def test_points_at_the_callers_line(build):
    _, (found,) = caught(build)
    assert found.filename == __file__
    lines, first = inspect.getsourcelines(build)
    assert first <= found.lineno < first + len(lines)


def test_no_remedy_is_a_size_that_the_encoder_refuses():
    with pytest.warns(ArtifactWarning, match="1 -> 1 .*Clean instead: out_size=2 "):
        AutoConvTranspose2d.mirror(nn.Conv2d(1, 1, 3, 2, 1), 1)


def test_every_remedy_is_clean_when_followed():
    conv = nn.Conv2d(1, 4, 3, 2, 1)
    layer = AutoConvTranspose2d
    cases = [
        (partial(layer, 1, 1, 7, 15), partial(layer, 1, 1, 7, 14), "out_size=14 .kernel"),
        (
            partial(layer, 1, 1, 7, 15, kernel_size=3),
            partial(layer, 1, 1, 7, 14),
            "out_size=14 and kernel_size unpinned .kernel",
        ),
        (
            partial(layer, 1, 1, 7, 15, stride=2),
            partial(layer, 1, 1, 7, 14, stride=2),
            "out_size=14 .kernel",
        ),
        (
            partial(layer, 1, 1, 5, 15, stride=2),
            partial(layer, 1, 1, 5, 15),
            "leave stride unpinned .kernel_size=3, stride=3",
        ),
        (
            partial(layer.mirror, conv, 33, adjoint=True),
            partial(layer.mirror, conv, 32),
            "out_size=32 and adjoint=False .in_size=16, kernel",
        ),
        (
            partial(layer.mirror, conv, 33, kernel_size=3),
            partial(layer.mirror, conv, 32),
            "out_size=32 and kernel_size unpinned .in_size=16, kernel",
        ),
    ]
    for flawed, followed, remedy in cases:
        with pytest.warns(ArtifactWarning, match=f"Clean instead: {remedy}"):
            flawed()
        assert caught(followed)[1] == []


def test_strict_mode_raises():
    with warnings.catch_warnings(action="error", category=ArtifactWarning):
        with pytest.raises(ArtifactWarning, match="7 -> 15"):
            AutoConvTranspose2d(1, 1, 7, 15)
        AutoConvTranspose2d(1, 1, 7, 14)


def test_a_huge_stride_warns_as_quickly_as_a_small_one():
    with pytest.warns(ArtifactWarning, match="0 to 1 taps"):
        AutoConvTranspose1d(1, 1, 2, 2 * 10**9, kernel_size=10**9 - 1, device="meta")


@pytest.mark.parametrize("sizes", [(20, 30), (32, 48), (64, 100), (97, 150), (128, 192)])
def test_a_wrong_scale_warns_before_its_kernel_is_made(sizes):
    asked = partial(AutoConvTranspose2d, 64, 32, *sizes)
    words = r"wrong scale, 2 for a ratio of 1\.5.*px from"
    with warnings.catch_warnings(action="error"), pytest.raises(ArtifactWarning, match=words):
        asked()
    layer, (found,) = caught(partial(asked, device="meta"))
    assert f"its ends lie {layer.solutions[0].displacement:.3g} px" in str(found.message)


@pytest.mark.parametrize("sizes", [(28, 32), (55, 224), (13, 28), (62, 488), (1, 64)])
def test_a_scale_that_mirrors_have_is_not_warned_of(sizes):
    assert caught(lambda: AutoConvTranspose2d(1, 1, *sizes, device="meta"))[1] == []


def test_a_mirror_is_not_warned_of_its_scale():
    conv = nn.Conv2d(1, 1, 9)
    by_hand, warned = caught(lambda: AutoConvTranspose2d(1, 1, 20, 28, stride=1))
    mirror, silent = caught(lambda: AutoConvTranspose2d.mirror(conv, 28))
    named, quiet = caught(lambda: AutoConvTranspose2d(1, 1, 20, 28, encoder=conv))
    assert by_hand.solutions == mirror.solutions == named.solutions
    assert (len(warned), silent, quiet) == (1, [], [])
    assert "wrong scale, 1 for a ratio of 1.4, draws the picture too small" in str(
        warned[0].message
    )


def messages(build):
    return [str(each.message) for each in caught(build)[1]]


SENTENCE = re.compile(
    r"((?:\w+ and )*\w+) \d+ -> \d+ \(kernel_size=\d+, stride=\d+\): .*?"
    r"(?: Clean instead: (.*?)\.)?(?= (?:\w+ and )*\w+ \d+ -> | Or resize|$)"
)
CHANGE = re.compile(r"(.+?) \((?:in_size=(\d+), )?kernel_size=(\d+), stride=(\d+)\)(?: or |$)")
RESIZING = re.compile(r"Or resize for the rest: (nn\.Sequential\(.*\))\.$")
NAMES = {1: ["length"], 2: ["height", "width"], 3: ["depth", "height", "width"]}


def remedies(message, dims):
    """Yield the axes, the change of arguments, and what it says that they then have."""
    told = SENTENCE.findall(message.partition(": ")[2])
    assert told
    for axes, instead in told:
        places = [NAMES[dims].index(axis) for axis in axes.split(" and ")]
        for text, *facts in CHANGE.findall(instead):
            changes = {}
            for part in text.removeprefix("leave ").replace("nothing pinned", "*").split(" and "):
                name, _, value = part.removesuffix(" unpinned").partition("=")
                if name == "*":
                    changes |= {"kernel_size": None, "stride": None}
                else:
                    changes[name] = (
                        {"": None, "False": False}.get(value)
                        if name in ("adjoint", "tied", "kernel_size", "stride")
                        else int(value)
                    )
            yield places, changes, facts


def warned_axes(build, dims):
    layer, found = caught(build)
    axes = [
        each for one in found for each, _ in SENTENCE.findall(str(one.message).partition(": ")[2])
    ]
    return layer, {NAMES[dims].index(name) for each in axes for name in each.split(" and ")}


def follow(build, sizes, dims, message):
    """Build with every change that a message names: it cleans its axes, and flaws no other."""
    before = warned_axes(partial(build, sizes, {}), dims)[1]
    count = 0
    for places, changes, (in_size, kernel, stride) in remedies(message, dims):
        size = changes.pop("out_size", None)
        new = tuple(size if size and n in places else each for n, each in enumerate(sizes))
        layer, after = warned_axes(partial(build, new, changes), dims)
        assert after <= before - set(places)
        for n in places:
            assert (layer.kernel_size[n], layer.stride[n]) == (int(kernel), int(stride))
            assert in_size in ("", str(layer.in_size[n]))
        count += 1
    return count


def test_every_remedy_that_a_layer_names_is_clean():
    draw, followed, resized = random.Random(0), 0, 0
    for _ in range(300):
        dims = draw.choice([1, 1, 2, 3])
        ins = tuple(draw.randint(1, 40) for _ in range(dims))
        outs = tuple(i + draw.randint(0, 60) for i in ins)
        options = {
            name: draw.choice([None, None, 1, 2, 3, 4, 6]) for name in ("kernel_size", "stride")
        }
        options |= {"dilation": draw.choice([1, 1, 2, 3]), "smoothness": draw.randint(0, 2)}

        def build(sizes, changes, dims=dims, ins=ins, options=options):
            return AUTO[dims](2, 2, ins, sizes, device="meta", **options | changes)

        try:
            told = messages(partial(build, outs, {}))
        except InfeasibleError as error:
            follow_error(build, outs, NAMES[dims], str(error))
            continue
        for message in told:
            followed += follow(build, outs, dims, message)
            if call := RESIZING.search(message):
                assert_resizes(call[1], ins, outs)
                resized += 1
    assert followed > 100
    assert resized > 20


def assert_resizes(call, ins, outs):
    names = {"nn": nn} | {f"AutoConvTranspose{dims}d": AUTO[dims] for dims in AUTO}
    with warnings.catch_warnings(action="error"):
        layer = eval(call, names)
    assert layer(torch.empty(1, 2, *ins, device="meta")).shape == (1, 2, *outs)


@pytest.mark.parametrize("stride", [None, 1, 2, 3])
def test_the_sizes_named_for_a_wrong_scale_are_the_nearest_that_are_clean(stride):
    def told(i, o):
        return plan_sizes(1, i, o, None, stride, 1).artifacts or ""

    def clean(i, o):
        return not told(i, o)

    checked = 0
    for i in (9, 15, 16, 22, 37):
        for o in range(i, 4 * i):
            message = told(i, o)
            if "wrong scale" not in message or "unpinned" in message:
                continue
            named = [int(size) for size in re.findall(r"out_size=(\d+) ", message)]
            below = next((size for size in range(o - 1, i - 1, -1) if clean(i, size)), None)
            above = next((size for size in range(o + 1, 5 * i) if clean(i, size)), None)
            assert named == [size for size in (below, above) if size]
            checked += 1
    assert checked > 50


def test_the_resizing_call_keeps_the_options_and_runs():
    options = {"groups": 2, "bias": False, "smoothness": 1, "init": "torch", "dtype": torch.float64}
    (message,) = messages(lambda: AutoConvTranspose2d(4, 2, (20, 13), (30, 28), **options))
    call = (
        "nn.Sequential(AutoConvTranspose2d(4, 2, (20, 13), (20, 28), groups=2, bias=False, "
        "dtype=torch.float64, smoothness=1, init='torch'), "
        "nn.Upsample(size=(30, 28), mode='bilinear'))"
    )
    assert message.endswith(f" Or resize for the rest: {call}.")
    with warnings.catch_warnings(action="error"):
        layer = eval(call)
    made = layer(torch.randn(3, 4, 20, 13, dtype=torch.float64))
    assert (made.shape, made.dtype) == ((3, 2, 30, 28), torch.float64)
    assert layer[0].weight.shape[1] == 1


def test_no_resizing_is_named_where_a_pin_is_the_cause_or_a_number_is_complex():
    (message,) = messages(lambda: AutoConvTranspose2d(1, 1, 14, 28, stride=1))
    assert message.endswith("Clean instead: leave stride unpinned (kernel_size=2, stride=2).")
    (message,) = messages(lambda: AutoConvTranspose2d(1, 1, 20, 30, dtype=torch.complex64))
    assert "nn.Upsample" not in message


@settings(max_examples=150, deadline=None)
@given(
    st.integers(1, 2), st.integers(1, 6), st.integers(1, 5), st.integers(0, 3), st.integers(1, 2),
    st.lists(st.integers(1, 40), min_size=2, max_size=2), st.sampled_from([None, 1, 2, 3, 4]),
    st.integers(0, 2), st.sampled_from(["", "adjoint", "tied"]),
)  # fmt: skip
def test_every_remedy_that_a_mirror_names_is_clean(dims, k, s, p, d, sizes, pinned, m, kind):
    conv = CONV[dims](1, 1, k, s, min(p, k // 2), d, device="meta")
    options = {"adjoint": kind != "", "tied": kind == "tied", "smoothness": m}
    options |= {} if kind else {"kernel_size": pinned}
    sizes = tuple(sizes[:dims])

    def build(sizes, changes):
        return AUTO[dims].mirror(conv, sizes, **options | changes)

    try:
        told = messages(partial(build, sizes, {}))
    except InfeasibleError as error:
        follow_error(build, sizes, NAMES[dims], str(error))
    except ValueError as error:
        assert "no output" in str(error)  # noqa: PT017
    else:
        assert len(told) <= 1
        for message in told:
            follow(build, sizes, dims, message)


def follow_error(build, sizes, names, message):
    """Build with every change that an error names: another axis may still be out of reach."""
    place = names.index(message.partition(":")[0])
    for option in re.split(
        ", or |; or ", re.search(r"The nearest that (?:work are|works is) (.*)\.$", message)[1]
    ):
        new, changes = list(sizes), {}
        for part in option.removeprefix("leave ").partition(" (")[0].split(" and "):
            name, _, value = part.removesuffix(" unpinned").partition("=")
            if name == "out_size":
                new[place] = int(value)
            else:
                changes[name] = {"": None, "False": False}.get(value, value)
                changes[name] = int(value) if value.isdigit() else changes[name]
        try:
            layer = caught(partial(build, tuple(new), changes))[0]
        except ValueError as again:
            assert names[place] not in str(again)  # noqa: PT017
        else:
            assert layer.out_size == tuple(new)
