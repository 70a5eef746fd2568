"""What other versions of PyTorch do than the one that the tests are written with."""

from importlib.metadata import version

TORCH = tuple(map(int, version("torch").split("+")[0].split(".")[:2]))

# What PyTorch says of itself, from which version on and below which.
_WARNINGS = [
    ((0,), (2, 7), "Attempted to insert a get_attr Node:UserWarning"),  # `ExportedProgram.module`
    ((0,), (2, 9), "Please use `torch.vmap` instead of:FutureWarning"),  # `gradcheck`, batched
]


def filters():
    """Return the filters of warnings that this version needs, as pytest takes them."""
    return [f"ignore:{words}" for first, end, words in _WARNINGS if first <= TORCH < end]


def without_newer_words(expected):
    """Return what a doctest expects as this version says it: norms name their bias since 2.13."""
    older = expected.replace("affine=True, bias=True", "affine=True")
    return older if TORCH < (2, 13) else expected
