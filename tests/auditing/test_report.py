"""What a report says, holds and iterates over."""

import json

from support import models
from torch import nn

import autoup
from autoup import audit


def test_several_inputs_and_outputs():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.up = nn.ConvTranspose2d(4, 1, 4, 2, 1)
            self.linear = nn.Linear(3, 4)

        def forward(self, x, z):
            return {"z": z, "pictures": [self.up(x + self.linear(z)[:, :, None, None])]}

    report = audit(Two(), [(2, 4, 16, 16), (2, 3)])
    assert report.constants.out_size == (32, 32)
    assert report.input_size == ((2, 4, 16, 16), (2, 3))


def test_table_fits_100_columns_for_the_longest_names():
    model = nn.ConvTranspose3d(1, 1, (3, 13, 113), (2, 12, 112), (1, 0, 0), (1, 11, 111))
    for depth in range(12):
        model = nn.ModuleDict({f"a_rather_long_name_{depth}": model})
    for line in str(audit(model)).splitlines():
        assert len(line) <= 100
    assert "…" in str(audit(model))


def test_same_findings_are_told_once():
    model = nn.Sequential(*(nn.ConvTranspose2d(1, 1, 3, 2, 1, 1) for _ in range(9)))
    text = str(audit(model))
    assert text.count("checkerboard") == 1
    assert "9 in all" in text


@models.taken_from("monai")
def test_json_holds_every_field():
    model, (size, *_) = models.build("monai UNet 2d")
    report = audit(model, size)
    read = json.loads(json.dumps(report.to_dict()))
    assert read["clean"] is False
    assert read["rows"][0]["phases"] == [[2, 1], [2, 1]]
    assert set(autoup.Upsampling.__slots__) == set(read["rows"][0])
    assert set(read) == {*autoup.AuditReport.__slots__, "clean"}


def test_rows_are_a_sequence():
    report = audit(nn.Sequential(nn.PixelShuffle(2), nn.ConvTranspose2d(1, 1, 2, 2)))
    assert [row.kind for row in report] == ["shuffle", "transposed"]
    assert len(report) == 2
    assert report[1].name == "1"
    assert report[:1] == (report[0],)


def test_no_upsampling_is_a_clean_report():
    report = audit(nn.Linear(2, 2), (1, 2))
    assert report.clean
    assert str(report) == "Linear: no upsampling step found; clean."
