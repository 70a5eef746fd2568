import itertools

import pytest
import torch

import autoup
from autoup.__main__ import main


def answer(capsys, *words):
    status = main(["ladder", *words])
    return status, *capsys.readouterr()


@pytest.mark.parametrize(("words", "sizes"), [
    (["7x6", "218x178", "--steps", "5"], ((7, 6), (218, 178))),
    (["55", "109"], ((55,), (109,))),
    (["55", "109", "--steps", "1"], ((55,), (109,))),
    (["4x16", "80x1000", "--smoothness", "1"], ((4, 16), (80, 1000))),
    (["3x4x4", "9x57x61", "--stride", "2x4x4"], ((3, 4, 4), (9, 57, 61))),
    (["4x4", "64x64", "--kernel-size", "4"], ((4, 4), (64, 64))),
    (["25", "6400", "--stride", "8"], ((25,), (6400,))),
])  # fmt: skip
@pytest.mark.filterwarnings("ignore::autoup.ArtifactWarning")
def test_the_code_makes_layers_of_these_sizes(words, sizes, capsys):
    status, out, err = answer(capsys, *words)
    assert (status, err) == (0, "")
    code = out[out.rindex("\n\nfrom ") :]
    assert "padding=0" not in code
    scope = {}
    exec(code, scope)
    layers, (first, last) = scope["layers"], sizes
    x = torch.zeros(1, scope["c"][0], *first)
    for layer, channels in zip(layers, itertools.islice(scope["c"], 1, None), strict=True):
        x = layer(x)
        assert x.shape[1] == channels
    assert x.shape[2:] == last
    assert ("smoothness=1" in code) == ("--smoothness" in words)


def test_each_axis_has_its_table_and_like_axes_share_one(capsys):
    _, out, _ = answer(capsys, "7x6", "218x178")
    height, width, _ = out.split("\n\n", 2)
    assert height == f"height\n{autoup.ladder(7, 218)}"
    assert width == f"width\n{autoup.ladder(6, 178)}"
    _, out, _ = answer(capsys, "7x7", "28x28")
    assert out.startswith("height and width\n7 -> 14 -> 28\n")
    _, out, _ = answer(capsys, "7", "28")
    assert out.startswith("7 -> 14 -> 28\n")


@pytest.mark.parametrize(("words", "told"), [
    (["28", "7"], "length: out_size must not be smaller than in_size, got 28 -> 7"),
    (["7", "100", "--steps", "1", "--kernel-size", "2", "--smoothness", "1"], "kernel_size=13"),
    (["7x7", "28x28x28"], "in_size 7x7 has 2 axes, out_size 28x28x28 has 3"),
    (["7", "28", "--steps", "0"], "steps must be at least 1, got 0"),
])  # fmt: skip
def test_what_cannot_be_is_told(words, told, capsys):
    status, out, err = answer(capsys, *words)
    assert (status, out) == (2, "")
    assert told in err


def test_the_layers_have_the_strides_of_the_ladder(capsys):
    chain = autoup.ladder(12, 23, steps=1, smoothness=1)
    assert chain.strides != autoup.AutoConvTranspose1d(1, 1, 12, 22).stride
    _, out, _ = answer(capsys, "12", "23", "--steps", "1", "--smoothness", "1")
    scope = {}
    exec(out[out.rindex("\n\nfrom ") :], scope)
    assert scope["layers"][0].stride == chain.strides
