"""What an action costs, told without a clock."""

import sys


def count_lines(act):
    """Return how many lines of Python run, in whatever functions."""
    lines = 0

    def trace(_frame, event, _argument):
        nonlocal lines
        lines += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        act()
    finally:
        sys.settrace(before)
    return lines
