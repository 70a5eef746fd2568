"""A report as HTML is well formed and safe."""

from html.parser import HTMLParser

from support.oracle import count_coverage
from torch import nn

from autoup import audit


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
