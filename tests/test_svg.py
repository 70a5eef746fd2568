"""Drawings are well formed whatever stands in them, and save themselves."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.pictures import Picture

import autoup
from autoup.svg import draw, element, escape, tell, write


@given(st.text(min_size=1))
def test_any_text_is_shown_as_it_is(text):
    shown = "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in text)
    body = [tell(text, element("path", d=text)), write(1, 2, text)]
    picture = Picture(draw(text, 40, 20, body))
    ((told, ((_, path),)),) = picture.told("")
    assert [picture.title, told, path.get("d"), *picture.texts] == [shown] * 4


def test_a_drawing_is_what_a_notebook_shows_and_what_is_saved(tmp_path, monkeypatch):
    solution = autoup.solve(7, 15)
    drawing = solution.draw()
    assert drawing._repr_svg_() == drawing.svg == solution._repr_svg_()
    monkeypatch.chdir(tmp_path)
    for path in (tmp_path / "axis.svg", "other.SVG"):
        drawing.save(path)
        assert Path(path).read_text(encoding="utf-8") == drawing.svg
    assert repr(drawing).startswith("Drawing of 7 -> 15 with kernel_size=4")
    assert "\n" not in repr(drawing)


@pytest.mark.parametrize("name", ["axis.png", "axis", "axis.svg.pdf"])
def test_only_svg_is_saved(tmp_path, name):
    with pytest.raises(ValueError, match=r"saved as SVG, got .*name it .*\.svg'"):
        autoup.solve(7, 15).draw().save(tmp_path / name)
    assert not [*tmp_path.iterdir()]


def test_a_drawing_stands_on_its_own_ground():
    picture = Picture(draw("ground", 30, 20, []))
    ground = picture.root[1]
    assert [ground.get(name) for name in ("width", "height", "fill")] == ["30", "20", "#ffffff"]


def test_html_shows_escaped_text():
    assert escape("<b>&\"'") == "&lt;b&gt;&amp;&quot;'"
