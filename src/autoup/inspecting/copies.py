"""Copy a model so that nothing done to the copy reaches it."""

import copy
import warnings
from collections.abc import Callable, Container, Sequence
from typing import Any, TypeVar

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from autoup.errors import first_line

Result = TypeVar("Result")

_FUNCTIONS = ("ScriptFunction", "CustomOpDef", "OpOverload", "OpOverloadPacket")
_OWN = __name__.partition(".")[0]
HOOKS = ("_forward_hooks", "_forward_pre_hooks")


def check_module(name: str, model: object) -> nn.Module:
    """Return a module that can be copied and read; a compiled one without its compiler.

    Raises:
        TypeError: It is no module, or a scripted one.
        ValueError: It is lazy.

    Example:
        >>> check_module("model", nn.ReLU())
        ReLU()
    """
    model = getattr(model, "_orig_mod", model)
    if isinstance(model, type):
        raise TypeError(f"{name} must be an nn.Module, got the class {model.__name__}: make one.")
    if not isinstance(model, nn.Module):
        raise TypeError(f"{name} must be an nn.Module, got {model!r}.")
    if isinstance(model, torch.jit.ScriptModule):
        raise TypeError(
            f"{name} is a torch.jit.ScriptModule, whose graph is fixed: "
            "pass the module that it was made from."
        )
    for path, parameter in model.named_parameters():
        if is_lazy(parameter):
            raise ValueError(
                f"{name} has a lazy parameter, {path}, whose size is not known yet: "
                "pass one batch through it first."
            )
    return model


def copy_model(name: str, model: nn.Module, shared: Sequence[torch.Tensor] = ()) -> nn.Module:
    """Return a deep copy that shares some tensors.

    A tensor in an autograd graph, as an old weight normalisation keeps one, is copied without it.

    Raises:
        TypeError: It cannot be copied.

    Example:
        >>> layer = nn.Linear(2, 2)
        >>> copy_model("model", layer, [layer.weight]).weight is layer.weight
        True
    """
    memo: dict[int, Any] = {
        id(each): each.detach().clone() for each in tensors_of(model) if not each.is_leaf
    }
    memo.update((id(each), each) for each in [*shared, *_functions_of(model)])
    try:
        with warnings.catch_warnings(action="ignore"):  # Of what an exported graph is made of.
            return copy.deepcopy(model, memo)
    except Exception as error:
        raise TypeError(
            f"{name} cannot be copied ({type(error).__name__}: {first_line(error)}), and only "
            "a copy can be changed or run without a trace on it: pass the module without its "
            "wrapper, or the attribute that cannot be copied."
        ) from error


def _functions_of(model: nn.Module) -> list[Any]:
    """Return compiled functions and operators that modules hold, which nothing changes."""
    held = [value for module in model.modules() for value in vars(module).values()]
    return [each for each in held if type(each).__name__ in _FUNCTIONS]


def tensors_of(model: nn.Module) -> list[torch.Tensor]:
    """Return parameters, buffers and tensors that modules hold as attributes.

    Example:
        >>> len(tensors_of(nn.Linear(2, 2)))
        2
    """
    held = [value for module in model.modules() for value in vars(module).values()]
    found = [each for each in held if isinstance(each, torch.Tensor)]
    return [*found, *model.parameters(), *model.buffers()]


def attempt(
    model: nn.Module, act: Callable[[nn.Module], Result], shared: Sequence[torch.Tensor], name: str
) -> Result:
    """Act on a copy in evaluation mode without hooks, save those that a model is made of.

    Where that fails and the package of the model's classes has hooks of its own on the model, as
    transformers has to gather outputs, act on a copy with these.

    Example:
        >>> attempt(nn.Dropout(), lambda twin: twin.training, [], "model")
        False
    """
    try:
        return act(evaluate(copy_model(name, model, shared)))
    except Exception:
        packages = {_package_of(type(each)) for each in model.modules()} - {"torch", "__main__"}
        if not any(_package_of(hook) in packages for hook in hooks_of(model)):
            raise
        try:
            return act(evaluate(copy_model(name, model, shared), packages))
        except Exception:  # What was seen without hooks is what the user can read.
            pass
        raise


def evaluate(twin: nn.Module, packages: Container[str] = ()) -> nn.Module:
    """Set evaluation mode and remove hooks, save torch's own that make weights.

    Args:
        twin: A copy.
        packages: Whose hooks stay too.

    Example:
        >>> evaluate(nn.Dropout()).training
        False
    """
    for module in twin.modules():
        module.training = False
        for name in HOOKS:
            hooks: dict[int, Any] = getattr(module, name)
            for key in [*hooks]:
                if not makes_weight(hooks[key]) and _package_of(hooks[key]) not in packages:
                    del hooks[key]
    return twin


def hooks_of(model: nn.Module) -> list[Any]:
    """Return the forward hooks of a model, save torch's own that make weights.

    Those of this package only listen, and are left out too.

    Example:
        >>> hooks_of(nn.ReLU())
        []
    """
    found = [
        each for module in model.modules() for name in HOOKS for each in vars(module)[name].values()
    ]
    return [each for each in found if not makes_weight(each) and _package_of(each) != _OWN]


def _package_of(thing: Any) -> str:
    module: str = getattr(thing, "__module__", None) or type(thing).__module__
    return module.partition(".")[0]


def makes_weight(hook: Any) -> bool:
    """Tell whether a hook is one of torch's own that set a weight before the forward pass.

    Example:
        >>> makes_weight(print)
        False
    """
    return type(hook).__module__.startswith("torch.nn.utils")
