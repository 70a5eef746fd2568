"""A report as HTML is well formed and safe."""

from html.parser import HTMLParser

from support.oracle import count_coverage
from torch import nn

from autoup import audit
from autoup.auditing.report import drawings


def test_html_escapes_names_and_closes_its_tags():
    model = nn.Sequential()
    model.add_module('<img src=x onerror="alert(1)">&', nn.ConvTranspose2d(1, 1, 3, 2))
    page = audit(model)._repr_html_()
    assert "<img" not in page
    assert "&lt;img" in page
    assert page.partition("<table>")[2].count("<rect") == len(count_coverage(6, 13, 3, 2, 0, 1))
    assert "http" not in page.replace('xmlns="http://www.w3.org/2000/svg"', "")
    stack = []

    class Checker(HTMLParser):
        def handle_starttag(self, tag, _attrs):
            if tag not in ("br", "rect", "path", "circle"):
                stack.append(tag)

        def handle_endtag(self, tag):
            assert stack.pop() == tag

    Checker().feed(page.replace("/>", ">"))
    assert not stack


def test_only_transposed_convolutions_are_drawn_by_their_taps():
    up, conv = nn.ConvTranspose2d(1, 1, 3, 2), nn.Conv2d(1, 1, 3, padding=1)
    rows = audit(nn.Sequential(up, nn.Upsample(scale_factor=2), conv))
    assert [(row.kind, row.padding, len(drawings(row))) for row in rows] == [
        ("transposed", (0, 0), 1),
        ("resize", (1, 1), 0),
    ]
