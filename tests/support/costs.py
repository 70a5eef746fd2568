"""What a call costs, in numbers that do not depend on the clock."""

import gc
import sys

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


def count_bytecodes(call):
    """Return how many instructions of Python a call runs."""
    gc.disable()  # Others' callbacks run in a collection.
    try:
        return (_count_by_events if hasattr(sys, "monitoring") else _count_by_trace)(call)
    finally:
        gc.enable()


def _count_by_events(call):  # From 3.12 on a trace misses the start of each function's first run.
    count, events = 0, sys.monitoring
    tool = next(each for each in range(6) if events.get_tool(each) is None)

    def add(*_):
        nonlocal count
        count += 1

    events.use_tool_id(tool, "autoup")
    events.register_callback(tool, events.events.INSTRUCTION, add)
    events.set_events(tool, events.events.INSTRUCTION)
    try:
        call()
    finally:
        events.set_events(tool, events.events.NO_EVENTS)
        events.free_tool_id(tool)
    return count


def _count_by_trace(call):  # Python 3.11 has no events.
    count, before = 0, sys.gettrace()

    def trace(frame, event, _):
        nonlocal count
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        count += event == "opcode"
        return trace

    sys.settrace(trace)
    try:
        call()
    finally:
        sys.settrace(before)
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
