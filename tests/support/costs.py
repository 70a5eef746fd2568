"""What a call costs, in numbers that do not depend on the clock."""

import gc
import sys

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


def count_bytecodes(call):
    """Return how many instructions of Python a call runs."""
    count, before = 0, sys.gettrace()

    def trace(frame, event, _):
        nonlocal count
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        count += event == "opcode"
        return trace

    gc.disable()  # Others' callbacks run in a collection.
    sys.settrace(trace)
    try:
        call()
    finally:
        sys.settrace(before)
        gc.enable()
    return count


class Operators(TorchDispatchMode):
    """The operators that torch runs, and how many numbers the largest tensor made holds."""

    def __init__(self):
        super().__init__()
        self.names, self.largest = [], 0

    def __torch_dispatch__(self, function, _types, arguments=(), options=None):
        made = function(*arguments, **(options or {}))
        self.names.append(str(function))
        for each in tree_leaves(made):
            if type(each) is torch.Tensor and not each.is_meta:
                self.largest = max(self.largest, each.numel())
        return made
