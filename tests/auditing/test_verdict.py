"""How severe a finding is, and what decides it."""

import warnings

import torch
from support import models
from support.oracle import artifacts_allowed
from torch import nn

import autoup
from autoup import audit


@models.taken_from("monai")
def test_verdict_does_not_need_a_forward_pass():
    model, (size, *_) = models.build("monai UNet 2d")
    with_sizes, without = audit(model, size), audit(model)
    for a, b in zip(with_sizes, without, strict=True):
        assert (a.phases, a.even, a.shift, a.severity) == (b.phases, b.even, b.shift, b.severity)
        assert (a.seen, a.remedy, a.spread) == (b.seen, b.remedy, b.spread)
        assert b.in_size is None
        assert b.multiply_adds is None


def test_uncovered_lines_without_sizes_are_told_as_gaps():
    (row,) = audit(nn.ConvTranspose2d(1, 1, 1, 3))
    assert row.uncovered == (0, 0)
    assert "2 of every 3 lines hold nothing but the bias" in row.seen
    assert not any("dead" in each for each in row.seen)
    (row,) = audit(nn.ConvTranspose1d(1, 1, 1, 3))
    assert "2 of every 3 samples hold nothing but the bias" in row.seen
    (row,) = audit(nn.ConvTranspose2d(1, 1, 1, 3), (1, 1, 4, 4))
    assert row.uncovered == (6, 6)
    (row,) = audit(nn.ConvTranspose2d(1, 1, 1, 3), (1, 1, 4, 7))
    assert row.uncovered == (6, 12)
    assert "6 dead lines hold nothing but the bias" in row.seen
    assert "12 dead lines hold nothing but the bias" in row.seen


def test_lines_that_no_tap_reaches_at_the_end_are_told_without_sizes_too():
    (row,) = audit(nn.ConvTranspose2d(1, 1, 2, 2, 0, 1))
    assert (row.uncovered, row.severity) == ((1, 1), "severe")
    assert "1 dead line holds nothing but the bias" in row.seen


def test_what_axes_of_different_padding_show_is_told_once():
    (row,) = audit(nn.ConvTranspose2d(1, 1, 3, 2, (1, 0)))
    assert row.seen == ("uneven overlap, 1 to 2 taps a pixel, shows as a checkerboard",)


def test_layers_that_know_their_sizes_tell_them_without_a_forward_pass():
    (row,) = audit(autoup.AutoConvTranspose2d(1, 1, (7, 5), (14, 15)))
    assert (row.in_size, row.out_size, row.calls) == ((7, 5), (14, 15), None)


def test_wrong_scale_is_a_warning_unless_the_model_as_a_whole_undoes_it():
    layer = nn.ConvTranspose2d(1, 1, 10, 2, 14)
    (row,) = audit(layer, (1, 1, 30, 30))
    assert (row.out_size, row.severity) == ((40, 40), "warning")
    assert "wrong scale, 2 for a ratio of 1.33, draws the picture too large" in row.seen[0]
    assert audit(layer)[0].severity == "note", "sizes are not known"
    seen = "; ".join(audit(layer, (1, 1, 30, 60))[0].seen)
    assert "2 for a ratio of 1.33" in seen
    assert "2 for a ratio of 1.67" in seen
    report = audit(nn.Sequential(nn.ReflectionPad2d(5), layer), (1, 1, 20, 20))
    assert (report[0].in_size, report.stretched) == ((30, 30), (0.0, 0.0))
    assert (report[0].severity, "wrong scale" in report[0].seen[0]) == ("note", False)
    (row,) = audit(nn.Sequential(nn.ReflectionPad2d((5, 5, 0, 0)), layer), (1, 1, 30, 20))
    assert row.severity == "warning", "one axis of the two has the wrong scale still"


def test_guarantee_is_what_hides_uneven_overlap():
    with artifacts_allowed():
        layer = autoup.AutoConvTranspose2d(1, 1, 7, 14, kernel_size=3, smoothness=1)
    (row,) = audit(layer)
    assert row.even is False
    assert "which smoothness=1 hides in flat regions but not in texture" in row.seen[0]


def test_mirrors_are_not_told_a_wrong_scale():
    mirror = autoup.AutoConvTranspose2d.mirror(nn.Conv2d(1, 1, 4, 2, 9), (30, 30))
    assert mirror.round_trip_shift is not None
    (row,) = audit(mirror, (1, 1, *mirror.in_size))
    assert not any("wrong scale" in each for each in row.seen)


def test_weights_that_balance_uneven_taps_are_a_note():
    layer = nn.ConvTranspose1d(1, 1, 3, 2, 1)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[[0.5, 1.0, 0.5]]]))
    (row,) = audit(layer)
    assert (row.severity, row.even) == ("note", False)
    assert "these weights hide" in row.seen[0]
    assert audit(layer).clean


def test_even_layers_with_unequal_phases_are_a_note_and_equal_ones_clean():
    report = audit(nn.ConvTranspose2d(4, 4, 2, 2))
    assert report[0].severity == "note"
    assert report.summary() == "ConvTranspose2d: 1 upsampling step, clean, 1 with a note."
    equal = autoup.AutoConvTranspose2d(4, 4, 7, 14, init="phase_equal")
    assert audit(equal)[0].severity == "clean"
    assert audit(autoup.AutoConvTranspose2d(4, 4, 7, 14, smoothness=1))[0].severity == "clean"


def test_meta():
    model = nn.Sequential(nn.ConvTranspose2d(4, 4, 3, 2, 1, 1, device="meta"))
    report = audit(model, (1, 4, 8, 8))
    assert report[0].out_size == (16, 16)
    assert report[0].spread is None
    assert "meta device" in str(report)


def test_quantised():
    with warnings.catch_warnings(action="ignore"):
        layer = torch.ao.nn.quantized.ConvTranspose2d(1, 1, 3, 2, 1, 1)
        report = audit(nn.Sequential(layer))
    assert report[0].severity == "severe"
    assert "quantise" in report[0].remedy
    assert "Quantised" in str(report)
