"""A drawn report has every step, its sizes, shift and verdict, and where the output lies."""

import pytest
from support.pictures import Picture
from torch import nn

from autoup import audit
from autoup.auditing.drawing import COLOURS
from autoup.auditing.verdict import SEVERITIES


def up(*numbers):
    return nn.ConvTranspose2d(1, 1, *numbers)


CHAIN = nn.Sequential(up(4, 1, 0), up(4, 2, 1), up(3, 2, 1, 1), up(3, 2, 1, 1), up(2, 2))


def numbers(element, *names):
    return [float(element.get(name)) for name in names]


def test_every_step_has_its_sizes_shift_and_verdict():
    report = audit(CHAIN, (1, 1, 1, 1))
    picture = Picture(report.draw())
    assert picture.title == report.summary()
    steps = [
        {tag: [e for kind, e in parts if kind == tag] for tag, _ in parts}
        for text, parts in picture.told("")
        if text in map(repr, report)
    ]
    assert len(steps) == len(report)
    zero = numbers(steps[0]["circle"][0], "cx")[0]
    for row, parts in zip(report, steps, strict=True):
        assert COLOURS[row.severity] == parts["circle"][0].get("fill")
        x = numbers(parts["circle"][0], "cx")[0]
        assert (x < zero) == (row.shift[0] < 0)
        outer, inner = ([*numbers(each, "x", "width")] for each in parts["rect"])
        assert sum(outer) - outer[1] / 2 == pytest.approx(sum(inner) - inner[1] / 2)
        assert outer[1] > inner[1]
        texts = [each.text for each in parts["text"]]
        assert f"{row.in_size[0]} -> {row.out_size[0]}" in texts
        assert row.severity in texts
        assert ("-0.5 px" in texts) == (row.severity == "severe")
    widths = [numbers(each, "width")[0] for parts in steps for each in parts["rect"]]
    for before, after in zip(widths[::2], widths[3::2], strict=False):
        assert before == after, "a step begins with what the one before it made"
    assert picture.stays_inside()


def test_where_the_output_lies_is_drawn():
    texts = Picture(audit(CHAIN, (1, 1, 1, 1)).draw()).texts
    assert texts[-4:] == [
        "all steps added up, at the output", "-3 px", "output, the whole model counted", "-3 px",
    ]  # fmt: skip
    signal = nn.Sequential(nn.Conv1d(1, 1, 3, 2, 1), nn.ConvTranspose1d(1, 1, 3, 2, 1, 1))
    assert Picture(audit(signal, (1, 1, 64)).draw()).texts[-3:] == [
        "-0.5 samples", "output, the whole model counted", "none",
    ]  # fmt: skip


def test_volumes_show_each_axis():
    layer = nn.ConvTranspose3d(1, 1, (3, 4, 3), (1, 2, 2), 1, (0, 0, 1))
    report = audit(layer.to("meta"), (1, 1, 16, 128, 128))
    picture = Picture(report.draw())
    assert "16x128x128 -> 16x256x256" in picture.texts
    assert "transposed k3x4x3 s1x2x2 p1 op0x0x1" in picture.texts
    assert "0x0x-0.5 px" in picture.texts
    assert picture.stays_inside()


def test_what_the_audit_could_not_look_at_is_told():
    texts = Picture(audit(CHAIN).draw()).texts
    assert texts[-1].startswith("Without input_size functions")


def test_every_verdict_has_a_colour():
    assert [*COLOURS] == [*SEVERITIES]


def test_without_sizes_the_stride_is_drawn():
    assert "times 2" in Picture(audit(CHAIN).draw()).texts


def test_many_steps_and_long_names():
    model = nn.Sequential()
    for n in range(45):
        model.add_module(f"{n}{79 * 'n'}", up(2, 2))
    picture = Picture(audit(model).draw())
    assert "and 5 more, which the table tells of" in picture.texts
    assert "…" + 33 * "n" in picture.texts
    assert picture.told(f"0{79 * 'n'}: transposed"), "the whole name is told"
    assert picture.stays_inside()


def test_nothing_to_draw():
    report = audit(nn.Linear(2, 2), (1, 2))
    assert Picture(report.draw()).title == str(report)
    assert "<svg" not in report._repr_html_()


def test_a_notebook_shows_the_drawing_above_the_table():
    report = audit(CHAIN)
    above, table, _ = report._repr_html_().partition("<table>")
    assert above.endswith(report.draw().svg)
    assert table
