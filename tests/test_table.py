"""Tables fit their width, and lose nothing."""

import re
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from autoup.auditing.upsampling import HEADER
from autoup.table import lay_out

SIZE, SMALL = st.integers(1, 1_000_000), st.integers(0, 64)


def per_axis(numbers):
    return st.lists(numbers, min_size=1, max_size=3).map(lambda each: "x".join(map(str, each)))


ROWS = st.lists(
    st.tuples(
        st.text("abz_.0", min_size=1, max_size=80).map(lambda name: name.strip(".") or "0"),
        st.sampled_from(["transposed", "conv + shuffle", "nearest-exact + conv", "trilinear"]),
        st.tuples(per_axis(SIZE), per_axis(SIZE)).map(" -> ".join),
        per_axis(SMALL),
        per_axis(st.sampled_from([1, 2, 2.247, 16])),
        per_axis(SMALL),
        per_axis(SMALL),
        per_axis(st.sampled_from(["1-2", "2", "12-13"])),
        per_axis(st.sampled_from([0, -0.5, -1.5])),
        st.sampled_from(["-", "0.87", "1.2e-05"]),
        st.sampled_from(["clean", "warning"]),
    ),
    min_size=1,
    max_size=6,
)
NUMBER = re.compile(r"-?\d[\d.]*(?:e-\d+)?")


@given(ROWS)
def test_lines_fit_and_every_number_and_name_is_whole(rows):
    lines = lay_out([HEADER, *rows])
    assert max(map(len, lines)) <= 100
    written = "\n".join(lines)
    for name, *_ in rows:
        assert re.search(rf"^  {re.escape(name)}(  |$)", written, re.MULTILINE)
    numbers = [each for row in rows for cell in row[1:] for each in NUMBER.findall(cell)]
    shown = written
    for name, *_ in sorted(rows, key=lambda row: -len(row[0])):
        shown = re.sub(rf"^  {re.escape(name)}(?=  |$)", "", shown, count=1, flags=re.MULTILINE)
    assert Counter(NUMBER.findall(shown)) == Counter(numbers)


@given(ROWS)
def test_cells_stand_below_their_header(rows):
    lines = lay_out([HEADER, *rows])
    first = lines.index(next(line for line in lines if "verdict" in line))
    verdict = lines[first].index("verdict")
    rest = [line[verdict:] for line in lines[first + 1 :] if len(line) > verdict]
    assert [each for each in rest if each in ("clean", "warning")] == [row[-1] for row in rows]


def test_what_fits_has_one_line_a_row():
    rows = [["layer", "k"], ["decoder.up", "3x4x5"], ["0", "2"]]
    assert lay_out(rows) == ["  layer       k", "  decoder.up  3x4x5", "  0           2"]


def test_a_name_longer_than_a_line_goes_on():
    lines = lay_out([["layer", "k"], [250 * "n", "3"]])
    assert [len(line) for line in lines[1:4]] == [100, 100, 56]
    assert lines[4].split() == ["3"]
