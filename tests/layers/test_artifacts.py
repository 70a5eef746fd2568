import inspect
import warnings
from functools import partial
from itertools import product

import pytest
from torch import nn

from autoup import (
    ArtifactWarning,
    AutoConvTranspose1d,
    AutoConvTranspose2d,
    AutoConvTranspose3d,
    InfeasibleError,
)


def caught(build):
    with warnings.catch_warnings(record=True, action="always") as found:
        layer = build()
    return layer, [each for each in found if each.category is ArtifactWarning]


def test_warns_exactly_where_an_axis_is_not_clean():
    pins = product((None, 1, 2, 3, 4, 5), (None, 1, 2, 3), (1, 2, 3))
    warned = 0
    for (k, s, d), sizes in product(pins, [(4, 8), (5, 9), (3, 10), (7, 15), (6, 6)]):
        options = {"kernel_size": k, "stride": s, "dilation": d, "device": "meta"}
        try:
            layer, found = caught(partial(AutoConvTranspose1d, 1, 1, *sizes, **options))
        except InfeasibleError:
            continue
        solution = layer.solutions[0]
        flawed = solution.output_padding > 0 or not solution.even or solution.uncovered > 0
        assert len(found) == flawed
        warned += flawed
    assert warned > 50


def test_warns_once_a_layer_and_names_every_axis():
    _, found = caught(lambda: AutoConvTranspose3d(1, 1, (7, 4, 8), (15, 8, 15)))
    (message,) = [str(each.message) for each in found]
    assert message == (
        "AutoConvTranspose3d: depth 7 -> 15 (kernel_size=4, stride=2): output_padding=1 shifts "
        "the picture 0.5 px off centre, toward the front. Clean instead: out_size=14 "
        "(kernel_size=2, stride=2). width 8 -> 15 (kernel_size=2, stride=2): output_padding=1 "
        "shifts the picture 0.5 px off centre, toward the left. Clean instead: out_size=16 "
        "(kernel_size=2, stride=2)."
    )


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
    with pytest.warns(ArtifactWarning, match="1 dead line holds nothing but the bias"):
        AutoConvTranspose1d(1, 1, 14, 29, kernel_size=2)


def test_the_remedy_of_a_mirror_is_one_of_a_mirror():
    conv = nn.Conv2d(1, 8, 3, 2, 1)
    with pytest.warns(ArtifactWarning, match="8 -> 15 .*Clean instead: out_size=14 .kernel_size=2"):
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
            "out_size=32 and adjoint=False .kernel",
        ),
        (
            partial(layer.mirror, conv, 33, kernel_size=3),
            partial(layer.mirror, conv, 32),
            "out_size=32 and kernel_size unpinned .kernel",
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
