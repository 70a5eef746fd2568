"""How severe a finding is, and what decides it."""

import warnings

import torch
from support import models
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
    (row,) = audit(nn.ConvTranspose2d(1, 1, 1, 3), (1, 1, 4, 4))
    assert row.uncovered == (6, 6)


def test_weights_that_balance_uneven_taps_are_a_note():
    layer = nn.ConvTranspose1d(1, 1, 3, 2, 1)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[[0.5, 1.0, 0.5]]]))
    (row,) = audit(layer)
    assert (row.severity, row.even) == ("note", False)
    assert "these weights hide" in row.seen[0]
    assert audit(layer).clean


def test_even_layers_with_unequal_phases_are_a_note_and_equal_ones_clean():
    assert audit(nn.ConvTranspose2d(4, 4, 2, 2))[0].severity == "note"
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
