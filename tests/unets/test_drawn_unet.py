"""A drawn U-Net has every level, its sizes and channels, and where each skip comes from."""

import re
from itertools import combinations, pairwise

import pytest
from support.oracle import CONV
from support.pictures import Picture
from torch import nn

from autoup import unet
from autoup.unets.drawing import draw_levels
from autoup.unets.summary import Level, Summary


def chain(dims, *strides):
    layers, channels = nn.Sequential(), 3
    for number, stride in enumerate(strides):
        layers.add_module(f"conv{number}", CONV[dims](channels, 4 << number, 3, stride, 1))
        channels = 4 << number
    return layers


NETS = {
    "signal": (chain(1, 4, 5, 2), (1, 3, 1001), {}),
    "image": (chain(2, 1, 2, 2, 2, 2), (1, 3, 97, 131), {"deep_supervision": 3}),
    "smaller": (chain(2, 2, 2), (1, 3, 224, 224), {"out_channels": 1}),
    "input": (chain(2, 2), (1, 3, 20, 16), {"image_skip": True}),
    "both": (chain(2, 1, 2), (1, 3, 20, 16), {"image_skip": True, "out_channels": 1000}),
    "volume": (chain(3, (1, 2, 3), 2), (1, 3, 1000, 1000, 999), {"widths": [3, 4]}),
}


def build(name, **others):
    encoder, size, options = NETS[name]
    return unet(encoder, size, **{"out_channels": 2, **options, **others})


def boxes(picture, start):
    """Return the box of each group that tells of something, as left, top, right and bottom."""
    found = []
    for told, parts in picture.told(start):
        rects = [each for tag, each in parts if tag == "rect"]
        for rect in rects:
            x, y, w, h = (float(rect.get(name)) for name in ("x", "y", "width", "height"))
            texts = [each for tag, each in parts if tag == "text"]
            found.append((told, (x, y, x + w, y + h), texts))
    return found


@pytest.mark.parametrize("name", NETS)
def test_every_level_is_drawn_with_its_size_and_channels(name):
    net = build(name)
    picture = Picture(net.draw())
    assert picture.title == str(net).split("\n\n")[0].replace("\n ", "")
    for number, stage in enumerate(net.decoder):
        ((told, _, texts),) = boxes(picture, f"decoder[{number}]: ")
        size, shown = (each.text for each in texts)
        assert shown == f"{stage.channels} channels"
        assert told.endswith(f" to {size}, {shown}")
        if not stage.is_within:
            target = net.input_size[2:] if stage.target < 0 else net.skips[stage.target].size
            assert size == "x".join(map(str, target))
    for skip in (*net.skips, net.deepest):
        size = "x".join(map(str, skip.size))
        ((told, _, texts),) = boxes(picture, f"{skip.path}: ")
        assert told.startswith(f"{skip.path}: {skip.channels} channels of {size}")
        assert [each.text for each in texts] == [size, f"{skip.channels} channels"]
        assert any(skip.path in (text or "") for text in picture.texts)
    ((_, _, texts),) = boxes(picture, "input: ")
    assert [each.text for each in texts] == ["input", "3 channels"]
    assert any("the input" in text for text in picture.texts) == (name in ("input", "both"))
    heads = [*boxes(picture, "head: "), *boxes(picture, "heads[")]
    channels = NETS[name][2].get("out_channels", 2)
    shown = f"{channels} channel{'s' * (channels > 1)}"
    assert [[each.text for each in texts] for _, _, texts in heads] == [
        ["head", shown], *([f"heads[{n}]", shown] for n in range(len(net.heads)))
    ]  # fmt: skip


@pytest.mark.parametrize("name", NETS)
def test_boxes_have_room_and_texts_fit(name):
    net = build(name)
    picture = Picture(net.draw())
    assert picture.stays_inside()
    found = boxes(picture, "")
    assert len(found) == len(net.skips) + 1 + len(net.decoder) + 1 + len(net.heads) + 1
    for (_, one, _), (_, other, _) in combinations(found, 2):
        assert one[2] < other[0] or other[2] < one[0] or one[3] < other[1] or other[3] < one[1]
    for _, (left, top, right, bottom), texts in found:
        for text in texts:
            half = 0.62 * float(text.get("font-size")) * len(text.text) / 2
            assert left <= float(text.get("x")) - half
            assert float(text.get("x")) + half <= right
            assert top + 11 <= float(text.get("y")) <= bottom - 3


@pytest.mark.parametrize("name", NETS)
def test_larger_maps_are_higher_and_more_channels_wider(name):
    net = build(name)
    picture = Picture(net.draw())
    made = [box for _, box, _ in reversed(boxes(picture, "decoder["))]
    made.sort(key=lambda box: -box[1])  # From below, as the stages.
    highs = [box[3] - box[1] for box in made]
    assert highs == sorted(highs)
    assert len(set(highs)) == len(highs)
    ((_, deepest, _),) = boxes(picture, f"{net.deepest.path}: ")
    assert deepest[3] - deepest[1] < highs[0]
    wide = {stage.channels: box[2] - box[0] for stage, box in zip(net.decoder, made, strict=True)}
    for skip in (*net.skips, net.deepest):
        ((_, box, _),) = boxes(picture, f"{skip.path}: ")
        assert wide.setdefault(skip.channels, box[2] - box[0]) == pytest.approx(
            box[2] - box[0], abs=0.02
        )
    for (_, less), (_, more) in pairwise(sorted(wide.items())):
        assert less < more


@pytest.mark.parametrize("name", NETS)
def test_every_arrow_leads_from_box_to_box(name):
    net = build(name)
    picture = Picture(net.draw())
    found = {told.partition(":")[0]: box for told, box, _ in boxes(picture, "")}

    def at(x, y):
        return [
            name for name, (left, top, right, bottom) in found.items()
            if left - 3.1 <= x <= right + 3.1 and top - 3.1 <= y <= bottom + 3.1
        ]  # fmt: skip

    ways = []
    for each in picture.root.iter():
        if each.tag.endswith("path") and each.get("fill") == "none":
            numbers = [float(n) for n in re.findall(r"-?[\d.]+", each.get("d"))]
            (start,) = at(*numbers[:2])
            x, y = numbers[-2:]
            before = numbers[-4:-2]
            step = [(a > b) - (a < b) for a, b in zip((x, y), before, strict=True)]
            assert 0 in step, "an arrow ends along an axis of the screen"
            (end,) = at(x + 7 * step[0], y + 7 * step[1])
            ways.append((start, end))
    paths = [*(skip.path for skip in net.skips), net.deepest.path]
    last = len(net.decoder) - 1
    wanted = [*pairwise(["input", *paths])]
    wanted += pairwise([net.deepest.path, *(f"decoder[{n}]" for n in range(last + 1))])
    wanted += [(f"decoder[{last}]", "head")]
    wanted += [(f"decoder[{last - 1 - n}]", f"heads[{n}]") for n in range(len(net.heads))]
    for number, stage in enumerate(net.decoder):
        if stage.joined:
            source = "input" if stage.target < 0 else net.skips[stage.target].path
            wanted.append((source, f"decoder[{number}]"))
    assert sorted(ways) == sorted(wanted)


def test_the_ways_up_tell_the_enlargement_and_the_shift():
    texts = Picture(build("signal", smoothness=0).draw()).texts
    assert [each for each in texts if re.match(r"x\d", each)] == [
        "x2, shift +0.5 samples", "x5", "x2", "x2, shift +0.5 samples",
    ]  # fmt: skip
    texts = Picture(build("volume", smoothness=0).draw()).texts
    assert "x1x2x3, shift 0x+0.5x0 px" in texts


def test_what_holds_for_the_whole_net_is_told_below():
    encoder = chain(2, 1, 2)
    encoder.add_module(
        "head", nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5))
    )
    net = unet(encoder, (1, 3, 16, 16), 2)
    texts = Picture(net.draw()).texts
    notes = str(net).split("\n\n")[-1].split()
    assert " ".join(texts).endswith(" ".join(notes))
    assert notes[-1] == "head."


def test_of_a_long_name_the_end_is_drawn_and_the_whole_is_told():
    encoder = nn.Sequential()
    encoder.add_module(70 * "n", nn.Conv2d(3, 4, 3, 1, 1))
    encoder.add_module("1", nn.Conv2d(4, 8, 3, 2, 1))
    picture = Picture(unet(encoder, (1, 3, 16, 16), 2).draw())
    assert "…" + 43 * "n" in picture.texts
    assert "module 1" in picture.texts, "a number alone says nothing"
    ((_, given, _),) = boxes(picture, f"{70 * 'n'}: 4 channels of 16x16")
    ((_, made, _),) = boxes(picture, "decoder[0]")
    assert made[0] - given[2] > 44 * 0.62 * 11, "a name has room between the boxes"
    assert picture.stays_inside()


def test_a_notebook_shows_the_drawing(tmp_path):
    net = build("input")
    drawing = net.draw()
    assert net._repr_svg_() == drawing.svg
    drawing.save(tmp_path / "unet.svg")
    assert (tmp_path / "unet.svg").read_text(encoding="utf-8") == drawing.svg


def test_long_shifts_stay_inside():
    levels = (
        Level((8, 9, 8), (("the.skip" * 5, 4),), 4, (2, 3, 4), (0.125, -0.375, 0.4375), 1),
        Level((4, 3, 2), (("deep", 4),), None),
    )
    picture = Picture(draw_levels(Summary("A", (1, 4, 8, 9, 8), levels, (1, 1), (0, 0), ())))
    assert "x2x3x4, shift +0.125x-0.375x+0.438 px" in picture.texts
    assert picture.stays_inside()
