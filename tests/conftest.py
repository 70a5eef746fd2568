"""Keeps what torch.jit knows by its ``id`` alone, so that it takes nothing else for it."""

import torch

kept = []
_register = torch.jit._builtins._register_builtin


def _keep(operator, name):
    """Register an operator that must not die.

    An operator that gets a second overload replaces its first object (compiling brings some).
    PyTorch forgets that object, but not its ``id``: a list made there later is an operator to
    ``torch.jit.script``, which then fails with "builtin cannot be used as a value".
    """
    kept.append(operator)
    _register(operator, name)


torch.jit._builtins._register_builtin = _keep
