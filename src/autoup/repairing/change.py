"""What is done to a model: the same to a copy, to that in double precision, to the model itself."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn
from torch.nn.utils import parametrize

from autoup.errors import ArtifactWarning, Refusal, first_line
from autoup.inspecting.calls import Call
from autoup.inspecting.modules import modules_by_path, paths_by_module, paths_by_parameter
from autoup.inspecting.recording import record
from autoup.inspecting.runs import InputSizes
from autoup.inspecting.sites import TRANSPOSED, Site, find_sites
from autoup.layers.conv_transpose import AUTO, AutoConvTransposeNd
from autoup.repairing.folding import fold
from autoup.repairing.remedies import Remedy, plan_fold, plan_growth
from autoup.repairing.surgery import Journal, grow_layer

_HOOKS = [name for name in vars(nn.Module()) if "_hooks" in name and "state_dict" not in name]


@dataclass(frozen=True, slots=True)
class Change:
    """What is to be done to a model.

    Args:
        sizes: Of its inputs; None where no forward pass may run.
        even: Whether kernels grow to a multiple of the stride.
        fold: Whether resizes are folded.
        order: Of the guarantee; None where layers keep their class.
    """

    sizes: InputSizes | None
    even: bool
    fold: bool
    order: int | None

    def apply(self, model: nn.Module, journal: Journal) -> dict[str, str]:
        """Change a model; return what stays as it is, by path, with the reasons."""
        left = self.keep_function(model, journal)
        if self.order is not None:
            left.update(self._guarantee(model, journal, self.order))
        return left

    def keep_function(self, model: nn.Module, journal: Journal) -> dict[str, str]:
        """Grow and fold."""
        left: dict[str, str] = {}
        grown: set[int] = set()
        for remedy in self._plan(model):
            if remedy.stays:
                left[remedy.site.path] = remedy.text
            try:
                if remedy.growths:
                    grow_layer(remedy.site.module, remedy.growths, journal, grown)
                elif remedy.enlargement:
                    _fold_into(model, remedy, journal)
            except Refusal as refusal:
                left[remedy.site.path] = f"stays, as {refusal}"
        return left

    def _plan(self, model: nn.Module) -> list[Remedy]:
        """Plan all before anything changes: layers that share a weight are compared."""
        paths, modules = paths_by_module(model), modules_by_path(model)
        owners = paths_by_parameter(model)
        sites = find_sites(model, self._record(model))
        found = [
            plan_growth(site, owners, modules, even=self.even, smoothness=self.order or 0)
            for site in sites
            if site.kind == "transposed"
        ]
        resizes = [site for site in sites if site.kind == "resize" and self.fold]
        return found + [plan_fold(site, paths) for site in resizes]

    def _record(self, model: nn.Module) -> list[Call] | None:
        return None if self.sizes is None else record(model, self.sizes).calls

    def _guarantee(self, model: nn.Module, journal: Journal, order: int) -> dict[str, str]:
        """Put layers that hold the guarantee in the places of plain ones."""
        paths, owners = paths_by_module(model), paths_by_parameter(model)
        left: dict[str, str] = {}
        for site in find_sites(model, self._record(model)):
            layer: Any = site.module
            if site.kind != "transposed" or isinstance(layer, AutoConvTransposeNd):
                continue
            try:
                _put(model, paths.get(layer, []), _guaranteed(site, owners, order), journal)
            except Refusal as refusal:
                left[site.path] = f"stays without smoothness: {refusal}"
        return left


def _fold_into(model: nn.Module, remedy: Remedy, journal: Journal) -> None:
    site, paths = remedy.site, paths_by_module(model)
    assert site.module is not None
    assert site.conv is not None
    _put(model, paths[site.conv], fold(site.conv, remedy.enlargement), journal)
    identity = nn.Identity().train(site.module.training)
    _put(model, paths[site.module], identity, journal)


def _put(model: nn.Module, paths: Sequence[str], module: nn.Module, journal: Journal) -> None:
    """Put a module in place of another, wherever that stands."""
    for path in paths:
        if not path:
            raise ValueError("model is one layer, which cannot be replaced: wrap it in Sequential.")
        parent, _, name = path.rpartition(".")
        children: dict[str, Any] = model.get_submodule(parent)._modules  # pyright: ignore
        journal.set_entry(children, name, module)


def _guaranteed(site: Site, owners: Mapping[int, Sequence[str]], order: int) -> nn.Module:
    """Return the layer that holds the guarantee in place of a plain one; refuse others."""
    layer: Any = site.module
    if layer is None:
        raise Refusal("a function makes it")
    if type(layer) not in TRANSPOSED:
        raise Refusal(f"{type(layer).__name__} is no plain layer")
    if parametrize.is_parametrized(layer) or "weight" not in layer._parameters:
        raise Refusal("its weight is made by a parametrisation")
    if len(set(owners[id(layer.weight)])) > 1:
        raise Refusal("it shares its weight")
    if not site.calls:
        raise Refusal("is not reached by this input, so that its sizes are not known")
    return _replace(layer, site.calls[0].shape[2:], site.calls[0].made[2:], order)


def _replace(
    layer: Any, in_size: tuple[int, ...], out_size: tuple[int, ...], order: int
) -> nn.Module:
    """Return the AutoConvTranspose with a layer's Parameters; refuse where it computes others."""
    try:
        with warnings.catch_warnings(action="ignore", category=ArtifactWarning):
            made = AUTO[len(layer.kernel_size)](
                layer.in_channels,
                layer.out_channels,
                in_size,
                out_size,
                kernel_size=layer.kernel_size,
                stride=layer.stride,
                dilation=layer.dilation,
                groups=layer.groups,
                bias=layer.bias is not None,
                smoothness=order,
                init="torch",
                device="meta",
            )
    except ValueError as error:
        raise Refusal(first_line(error)) from None
    settings = [
        (each.padding, each.output_padding, each.kernel_size, each.stride) for each in (made, layer)
    ]
    if settings[0] != settings[1]:
        raise Refusal(
            f"for {in_size} -> {out_size} the solver pads by {made.padding} and "
            f"{made.output_padding}, this layer by {layer.padding} and {layer.output_padding}"
        )
    made.weight, made.bias = layer.weight, layer.bias
    made._prepare()  # pyright: ignore[reportPrivateUsage]
    for name in _HOOKS:
        vars(made)[name] = vars(layer)[name]
    return made.train(layer.training)
