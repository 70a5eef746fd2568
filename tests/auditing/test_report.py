"""What a report says, holds and iterates over."""

import json
import pickle
import re
from collections import Counter

from support import models
from torch import nn

import autoup
from autoup import audit
from autoup.auditing.upsampling import cells


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
    lines = str(audit(model)).splitlines()
    assert max(map(len, lines)) <= 100
    name = audit(model)[0].name
    at = lines.index(f"  {name[:98]}")
    assert lines[at + 1].strip() == name[98:196]


def test_a_table_of_volumes_fits_100_columns_with_every_number_whole():
    model = nn.Sequential()
    up = nn.ConvTranspose3d(1, 1, (3, 4, 5), (1, 2, 3), 1, (0, 1, 2))
    model.add_module(80 * "n", nn.Sequential(up, nn.Upsample(scale_factor=(1.5, 2, 2.25))))
    report = audit(model.to("meta"), (1, 1, 16, 128, 128))
    table = str(report).split("\n\n")[1].splitlines()
    assert max(map(len, table)) <= 100
    assert f"  {80 * 'n'}.0" in table
    written = re.findall(r"[\d.]+", " ".join(table).replace(80 * "n", ""))
    for row in report:
        given = [each for cell in cells(row)[2:] for each in re.findall(r"[\d.]+", cell)]
        assert not Counter(given) - Counter(written), row


def test_a_report_and_its_rows_show_themselves_and_keep_what_values_have():
    report = audit(nn.ConvTranspose1d(1, 1, 3, 2, 1, 1), (1, 1, 64))
    assert repr(report) == str(report)
    assert repr([report[0]]) == (
        "[(model): transposed, 64 -> 128, k 3, s 2, p 1, op 1, taps 1-2, shift -0.5, "
        f"spread {report[0].spread:.2g}, severe]"
    )
    assert repr(report.constants) == str(report.constants)
    assert "the phases of the output, 2 samples, differ" in repr(report.constants)
    twin = pickle.loads(pickle.dumps(report))
    assert twin.rows == report.rows
    assert str(twin) == str(report)
    bare = audit(nn.PixelShuffle(2))[0]
    assert repr(bare) == "(model): shuffle, s 2, op 0, taps 1, shift 0, note"


def test_same_findings_are_told_once():
    model = nn.Sequential(*(nn.ConvTranspose2d(1, 1, 3, 2, 1, 1) for _ in range(9)))
    text = str(audit(model))
    assert text.count("checkerboard") == 1
    assert "severe: 0, 1, 2, 3, 4, 5, 9 in all\n" in text


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
    assert [*audit(nn.Linear(16, 32), (2, 9, 16))] == [], "more features are no picture"
    made = nn.Sequential(nn.Linear(2, 16), nn.Unflatten(1, (1, 4, 4)))
    assert [*audit(made, (1, 2))] == [], "no picture was there that became larger"
    report = audit(nn.Linear(2, 2), (1, 2))
    assert report.clean
    assert str(report) == "Linear: no upsampling step found; clean."
    assert str(audit(nn.Linear(2, 2))).startswith("Linear: no upsampling layer found.\n")
