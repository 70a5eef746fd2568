"""The wrong scale in an audit: of a layer, of the whole model, and apart from any shift."""

import pytest
import torch
from support.comparing import quietly
from torch import nn

from autoup import AutoConvTranspose2d, audit
from autoup.solving.solution import three_digits


@pytest.mark.parametrize(("i", "o"), [(128, 192), (97, 150), (20, 30), (32, 48), (64, 100)])
def test_layers_of_the_wrong_scale_are_not_clean(i, o):
    layer = quietly(lambda: AutoConvTranspose2d(1, 1, i, o, smoothness=1))
    report = audit(layer, (1, 1, i, i))
    (row,) = report
    stretch = (layer.stride[0] - o / i) * (i - 1) / 2
    assert (row.severity, report.clean) == ("warning", False)
    assert "wrong scale" in row.seen[0]
    assert report.stretched == pytest.approx((stretch,) * 2)
    assert report.displaced == ((layer.solutions[0].shift,) * 2,) * 2
    side = "outward" if stretch > 0 else "inward"
    assert (
        f"not the ratio of the sizes: the ends of the input lie {three_digits(abs(stretch))} px"
        in str(report)
    )
    assert side in str(report)


@pytest.mark.parametrize(("i", "o"), [(28, 32), (55, 224), (13, 28), (62, 488)])
def test_what_unpadded_convolutions_leave_is_told_and_clean(i, o):
    report = audit(AutoConvTranspose2d(1, 1, i, o, smoothness=1), (1, 1, i, i))
    assert report.clean
    assert any(report.stretched)
    assert "scale" in str(report)


def test_a_step_that_undoes_what_was_cut_off_is_clean():
    up = nn.ConvTranspose2d(1, 1, 15)
    assert audit(up, (1, 1, 26, 26))[0].severity == "warning"
    report = audit(nn.Sequential(nn.Conv2d(1, 1, 15), up), (1, 1, 40, 40))
    assert (report[0].in_size, report[0].severity) == ((26, 26), "clean")
    assert report.stretched == (0.0, 0.0)


def test_mirrors_are_trusted():
    conv = nn.Conv2d(1, 1, 15)
    mirror = AutoConvTranspose2d.mirror(conv, 40)
    assert audit(mirror, (1, 1, 26, 26)).clean


def test_scale_without_shift_and_shift_without_scale():
    cropped = audit(nn.ConvTranspose2d(1, 1, 4, 2, 3), (1, 1, 16, 16))
    assert (cropped.displaced, cropped.stretched) == (((0.0, 0.0),) * 2, (1.875, 1.875))
    shifted = audit(nn.ConvTranspose2d(1, 1, 3, 2, 1, 1), (1, 1, 16, 16))
    assert (shifted.displaced, shifted.stretched) == (((-0.5, -0.5),) * 2, (0.0, 0.0))
    corners = audit(nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True), (1, 1, 9, 9))
    assert (corners.displaced, corners.stretched) == (((0.0, 0.0),) * 2, (0.5, 0.5))


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_units_and_axes(dims):
    layer = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)[dims - 1]
    sizes = (20, 24, 28)[:dims]
    text = str(audit(layer(1, 1, 4, 2, 3), (1, 1, *sizes)))
    ends = [three_digits((2 - (2 * i - 4) / i) * (i - 1) / 2) for i in sizes]
    assert f"lie {'x'.join(ends)} {'samples' if dims == 1 else 'px'} from" in " ".join(text.split())


def test_place_is_where_pixels_really_come_to_lie():
    """A pixel in the middle of the input lights up one in the middle of the output."""
    model = nn.Sequential(nn.Conv2d(1, 1, 3, 2), nn.ConvTranspose2d(1, 1, 5, 3, 1, 1)).double()
    for each in model.parameters():
        nn.init.ones_(each)
    x = torch.zeros(1, 1, 33, 33, dtype=torch.float64)
    x[..., 14:19, 14:19] = 1
    with torch.no_grad():
        made = (model(x) - model(x * 0))[0, 0]
    y = torch.arange(len(made), dtype=torch.float64)
    centre = float((made.sum(1) * y).sum() / made.sum())
    report = audit(model, (1, 1, 33, 33))
    assert report.displaced[0][0] == pytest.approx(centre - (len(made) - 1) / 2, abs=0.01)
