"""Both U-Nets start alike, see the same pictures, and are measured as their page says."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

sys.path.append(str(Path(__file__).parents[1] / "examples" / "unets"))

import comparison
import learning
import nets
import scenes


def test_the_tables_know_every_class_and_both_models():
    assert scenes.CLASSES == comparison.CLASSES
    assert len(scenes.CLASSES) == nets.CLASSES
    assert tuple(nets.ARMS) == tuple(comparison.ARMS)


def test_pictures_of_a_seed_are_the_same_and_nothing_held_out_is_trained_on():
    size = (40, 60)
    first, same, other = (scenes.batch("training", size, 2, (0, n)) for n in (1, 1, 2))
    assert all(map(torch.equal, first, same))
    assert not torch.equal(first[0], other[0])
    assert first[0].shape == (2, 3, *size)
    assert first[1].shape == (2, *size)
    assert not set(scenes.TRAINING) & set(scenes.HELD_OUT)
    seen, held_out = (scenes.sources(each)[1] for each in ("training", "held out"))
    assert len(seen) == 4000
    assert len(held_out) == 1000


def test_every_class_is_drawn_and_things_are_brighter_than_what_they_lie_on():
    images, classes = scenes.batch("held out", (96, 96), 32, (3,))
    counts = torch.bincount(classes.flatten(), minlength=5) / classes.numel()
    assert counts.min() > 0.01
    assert counts[0] > 0.7
    flat = [torch.full((3, 80, 80), 0.2)]
    rng = np.random.default_rng(0)
    covered = scenes.cover(scenes.ellipse((80, 80), rng))
    texture = torch.rand(3, 80, 80)
    drawn = scenes.fill(flat[0], covered, texture, 0.3, rng)
    inside, outside = drawn[:, covered == 1], drawn[:, covered == 0]
    assert 0.2 + 0.3 * 0.4 < inside.mean() < 0.2 + 0.3 * 1.1
    assert torch.equal(outside, flat[0][:, covered == 0])
    assert images.shape[0] == 32


def test_an_outline_is_two_to_three_and_a_half_pixels_wide(monkeypatch):
    ramp = (torch.arange(40.0) - 20).expand(8, 40)
    for name in ("ellipse", "polygon"):
        monkeypatch.setattr(scenes, name, lambda *_: ramp)
    drawn = [scenes.outline((8, 40), np.random.default_rng(seed)) for seed in range(20)]
    widths = torch.stack([scenes.cover(each)[0].sum() for each in drawn])
    assert widths.min() >= 2
    assert widths.max() <= 3.5
    assert widths.max() - widths.min() > 1


def test_boundaries_are_the_pixels_within_two_of_another_class():
    classes = torch.zeros(1, 9, 9, dtype=torch.long)
    classes[0, :, 5:] = 3
    wanted = torch.zeros(9, dtype=torch.bool)
    wanted[3:7] = True
    assert torch.equal(scenes.boundaries(classes)[0, 4], wanted)
    assert not scenes.boundaries(torch.ones(1, 5, 5, dtype=torch.long)).any()


class Said(nn.Module):
    """Says what is so, but for what is changed."""

    def __init__(self, classes, change):
        super().__init__()
        self.made = nn.functional.one_hot(change(classes), 5).permute(0, 3, 1, 2).float()
        self.at = 0

    def forward(self, images):
        self.at += len(images)
        return self.made[self.at - len(images) : self.at]


def test_the_measures_are_those_of_a_loop_over_pixels():
    _, wanted = learning.held_out((60, 64), 3)
    generator = torch.Generator().manual_seed(0)
    noise = torch.rand(wanted.shape, generator=generator) < 0.2

    def change(classes):
        return torch.where(noise, (classes + 1) % 5, classes)

    told = learning.measure(Said(wanted, change), (60, 64), pictures=3)
    said, edge = change(wanted), scenes.boundaries(wanted)
    ious = []
    for each in range(5):
        both = ((said == each) & (wanted == each)).sum()
        ious.append(float(both / ((said == each) | (wanted == each)).sum()))
    assert told["classes"] == pytest.approx(ious, abs=1e-4)
    assert told["iou"] == pytest.approx(sum(ious) / 5, abs=1e-4)
    assert told["boundary"] == pytest.approx(100 * float(noise[edge].float().mean()), abs=1e-2)
    assert told["interior"] == pytest.approx(100 * float(noise[~edge].float().mean()), abs=1e-2)
    assert told["boundary"] != told["interior"]
    assert learning.measure(Said(wanted, lambda classes: classes), (60, 64), pictures=3)["iou"] == 1


@pytest.mark.parametrize("way", learning.WAYS)
def test_every_way_of_an_odd_size_gives_back_its_size(way):
    sizes = []

    class Seen(nn.Conv2d):
        def forward(self, images):
            sizes.append(tuple(images.shape[2:]))
            return super().forward(images)

    torch.manual_seed(0)
    model, images = Seen(3, 5, 1), torch.randn(1, 3, *learning.ODD)
    made = learning.WAYS[way](model, images)
    assert made.shape == (1, 5, *learning.ODD)
    assert sizes == [{"as it is": (71, 97), "resized": (64, 96)}.get(way, (96, 128))]
    if way != "resized":
        torch.testing.assert_close(made, nn.Conv2d.forward(model, images))


def test_dice_is_zero_where_all_is_said_right_and_one_where_nothing_is():
    wanted = torch.arange(5).repeat(2000).view(1, 100, 100)
    sure = 50.0 * nn.functional.one_hot(wanted, 5).permute(0, 3, 1, 2)
    assert float(learning.dice(sure, wanted)) == pytest.approx(0, abs=1e-6)
    assert float(learning.dice(sure.roll(1, 1), wanted)) == pytest.approx(1, abs=1e-3)


def test_the_peak_of_a_step_grows_by_what_more_pictures_take(monkeypatch):
    model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 5, 1))
    peaks = []
    for count in (2, 4):
        monkeypatch.setattr(learning, "BATCH", count)
        peaks.append(learning.peak(model))
    map_of_one = 8 * nets.SIZE**2 * 4 / 2**20
    assert peaks[1] - peaks[0] > 2 * 2 * map_of_one  # Two more, and at least two maps of each.
    assert peaks[1] / peaks[0] == pytest.approx(2, rel=0.1)


@pytest.mark.slow
def test_both_start_from_one_encoder_and_have_as_many_parameters():
    nets.import_torchvision()
    pytest.importorskip("segmentation_models_pytorch")
    own, peer = (build(4) for build in nets.ARMS.values())
    mine = own.encoder.state_dict()
    assert all(torch.equal(value, mine[name]) for name, value in peer.encoder.state_dict().items())
    assert [*own.unused] == ["encoder.fc.weight", "encoder.fc.bias"]
    assert nets.parameters(own) == pytest.approx(nets.parameters(peer), rel=0.01)
    assert nets.parameters(own) == sum(p.numel() for p in own.parameters()) - 513_000


@pytest.mark.slow
@pytest.mark.parametrize("size", [(64, 64), learning.ODD, (96, 65)])
def test_with_the_weights_of_the_other_it_begins_as_the_other(size):
    """Pixels repeated and cut off are nearest enlargement to any size; gradients too."""
    nets.import_torchvision()
    pytest.importorskip("segmentation_models_pytorch")
    own, other = (build(0).train() for build in nets.ARMS.values())
    parts = own.decoder.named_parameters(), other.decoder.named_parameters()
    named = [[each for name, each in part if ".up." not in f".{name}"] for part in parts]
    with torch.no_grad():
        for ours, theirs in zip(*named, strict=True):
            ours.copy_(theirs)
    own.head.load_state_dict(other.segmentation_head[0].state_dict())
    images = torch.rand(2, 3, *size)
    wanted = torch.randint(nets.CLASSES, (2, *size))
    losses = [learning.loss(model(images), wanted) for model in (own, other)]
    for each in losses:
        each.backward()
    torch.testing.assert_close(*losses)
    for ours, theirs in zip(*named, strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad)


def test_the_page_shows_the_tables_of_the_results():
    page = (Path(__file__).parents[1] / "docs" / "evidence.md").read_text()
    start = page.index("## A U-Net against another package")
    part = page[start : page.index("## A mirrored decoder against resizing")]
    rows = [line for line in part.splitlines() if line.startswith("| ")]
    made = comparison.compose(comparison.read(comparison.RESULTS)).splitlines()
    assert len(rows) > 10
    assert [row for row in rows if row not in made] == []
