"""What other versions of PyTorch do than the one that the tests are written with."""

from importlib import import_module
from importlib.metadata import version

TORCH = tuple(map(int, version("torch").split("+")[0].split(".")[:2]))

# What PyTorch says of itself below a version: how the message starts, as a regular expression.
_SAID = [
    ((2, 7), "Attempted to insert a get_attr Node"),  # `ExportedProgram.module`
    ((2, 7), ".*does not reference an nn.Module, nn.Parameter, or buffer"),  # the same
    ((2, 7), "Skipping serialization of"),  # inductor
    ((2, 13), "TypedStorage is deprecated"),  # torch.distributed.checkpoint
    ((2, 7), ".*param_schemas' is deprecated"),  # by the onnxscript that it takes
    ((2, 9), "Please use `torch.vmap` instead of"),  # `gradcheck`, batched
]
TOLERATED = [words for end, words in _SAID if end > TORCH]
FLAGS = [f"-Wignore:{words}" for words in TOLERATED]  # Of Python; regular expressions match none.


def pt2e(module):
    """Return a module of pt2e: torchao's, or PyTorch's own, from where it went there."""
    own = {"quantizer": "quantizer", "quantize_pt2e": "quantize_pt2e", "": "observer",
           "xnnpack": "quantizer.xnnpack_quantizer"}  # fmt: skip
    if TORCH < (2, 7):
        return import_module(f"torch.ao.quantization.{own[module]}")
    if module == "xnnpack":
        return import_module("torchao.testing.pt2e._xnnpack_quantizer")
    return import_module(f"torchao.quantization.pt2e.{module}".rstrip("."))


def without_newer_words(expected):
    """Return what a doctest expects as this version says it: norms name their bias since 2.13."""
    older = expected.replace("affine=True, bias=True", "affine=True")
    return older if TORCH < (2, 13) else expected
