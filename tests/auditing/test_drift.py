"""Where the output of a whole model lies in its input."""

import pytest
from torch import nn

from autoup import audit


class Branches(nn.Module):
    def __init__(self):
        super().__init__()
        self.deep = nn.Sequential(
            nn.ConvTranspose2d(1, 1, 4, 2, 1), nn.ConvTranspose2d(1, 1, 3, 2, 1, 1)
        )
        self.first = nn.ConvTranspose2d(1, 1, 3, 4, 0, 1)
        self.last = nn.ConvTranspose2d(1, 1, 3, 2, 1, 1)

    def forward(self, x):
        return self.last(self.deep(x) + self.first(x))


def test_drift_adds_up_along_the_longest_way():
    report = audit(Branches(), (1, 1, 8, 8))
    drifts = {row.name: row.drift for row in report}
    assert drifts == {
        "deep.0": (0.0, 0.0),
        "deep.1": (-1.0, -1.0),
        "first": (-1.0, -1.0),
        "last": (-0.5, -0.5),
    }
    assert report.drift == (-1.5, -1.5)


def test_drift_counts_strides_not_sizes():
    model = nn.Sequential(
        nn.ConvTranspose2d(1, 1, (3, 4), 2, 1, (1, 0)),
        nn.Conv2d(1, 1, 3),
        nn.Upsample(scale_factor=(2, 1.5)),
        nn.ConvTranspose2d(1, 1, 4, 2, 1, 1),
    )
    report = audit(model, (1, 1, 17, 16))
    assert report[0].drift == (-2.0, 0.0)
    assert report.drift == (-2.5, -0.5)


def test_drift_ends_where_pixels_become_features():
    model = nn.Sequential(
        nn.ConvTranspose2d(1, 1, 3, 2, 1, 1), nn.Flatten(), nn.Linear(64, 16),
        nn.Unflatten(1, (1, 4, 4)), nn.ConvTranspose2d(1, 1, 4, 2, 1),
    )  # fmt: skip
    assert audit(model, (1, 1, 4, 4)).drift == (0.0, 0.0)


def test_misplaced_output_is_told_without_output_padding_too():
    model = nn.Sequential(nn.Conv2d(1, 1, 7, 2, 3), nn.Upsample(scale_factor=2, mode="bilinear"))
    report = audit(model, (1, 1, 32, 32))
    assert report.clean
    assert report.displaced == ((0.5, 0.5), (0.5, 0.5))
    assert "The output lies 0.5 px toward the bottom and right" in str(report)


@pytest.mark.parametrize(("padding", "ends", "sides"), [
    (14, "9.67 px", "outward, as where borders are cropped or corners aligned"),
    (0, "3.87 px", "inward"),
    ((14, 0), "9.67x3.87 px", "outward and inward"),
])  # fmt: skip
def test_scale_that_is_no_ratio_of_the_sizes_is_told(padding, ends, sides):
    text = str(audit(nn.ConvTranspose2d(1, 1, 10, 2, padding), (1, 1, 30, 30)))
    said = " ".join(text.split())
    assert f"the ends of the input lie {ends} from where that" in said
    assert f"puts them, {sides}." in said


def test_offsets_are_told_without_rounding():
    model = nn.Sequential(*(nn.ConvTranspose1d(1, 1, 5, 3, 1) for _ in range(3)))
    report = audit(model, (1, 1, 50))
    assert report.displaced == ((0.0, 0.0),)
    assert "px toward" not in str(report)
