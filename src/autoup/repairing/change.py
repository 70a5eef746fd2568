"""What is done to a model: the same to a copy, to that in double precision, to the model itself."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import nn
from torch.nn.utils import parametrize

from autoup.errors import ArtifactWarning, Refusal, first_line
from autoup.inspecting.modules import modules_by_path, paths_by_module, paths_by_parameter
from autoup.inspecting.runs import InputSizes
from autoup.inspecting.sites import CONV, TRANSPOSED, find_sites, is_quantised
from autoup.layers.conv_transpose import AUTO, AutoConvTransposeNd
from autoup.repairing.folding import fold
from autoup.repairing.output_sizes import Asked, Shapes, ask_further, record_asked
from autoup.repairing.remedies import Remedy, plan_fold, plan_growth
from autoup.repairing.scripted import is_scripted, scripted_layers
from autoup.repairing.surgery import Journal, grow_layer

Sizes = tuple[tuple[int, ...], tuple[int, ...]]

_HOOKS = [name for name in vars(nn.Module()) if "_hooks" in name and "state_dict" not in name]


@dataclass(frozen=True, slots=True)
class Change:
    """What is to be done to a model, decided once and done to it and its copies alike.

    Args:
        remedies: For every place that changes.
        left: What stays as it is, or in part, by path, with the reasons.
        uses: Input and output size, in pixels, of every place that may hold the guarantee, by path;
            without sizes those that are not reached.
        order: Of the guarantee; None where layers keep their class.
        made: Shapes that the model makes of inputs of other sizes; tried where a kernel grows that
            is called with ``output_size``.
    """

    remedies: tuple[Remedy, ...]
    left: Mapping[str, str]
    uses: Mapping[str, Sizes | None]
    order: int | None
    made: Mapping[InputSizes, Shapes]

    @property
    def rounds(self) -> bool:
        """Whether kernels are made that have to be rounded, and not of old taps and zeros alone."""
        return any(remedy.enlargement for remedy in self.remedies)

    def keep_function(self, model: nn.Module, journal: Journal) -> dict[str, str]:
        """Grow and fold; return what stays all the same, by path, with the reasons."""
        left: dict[str, str] = {}
        grown: set[int] = set()
        for remedy in self.remedies:
            try:
                if remedy.growths:
                    layer = model.get_submodule(remedy.site.path)
                    grow_layer(layer, remedy.growths, journal, grown)
                else:
                    _fold_into(model, remedy, journal)
            except Refusal as refusal:
                left[remedy.site.path] = f"stays, as {refusal}"
        return left

    def guarantee(self, model: nn.Module, journal: Journal) -> dict[str, str]:
        """Put layers that hold the guarantee in the places of plain ones; return what stays."""
        if self.order is None:
            return {}
        paths, owners = paths_by_module(model), paths_by_parameter(model)
        modules, left = modules_by_path(model), dict[str, str]()
        for path, sizes in self.uses.items():
            layer = modules.get(path)
            if isinstance(layer, (*CONV, AutoConvTransposeNd)):  # Not folded, or solved before.
                continue
            try:
                made = _guaranteed(layer, sizes, owners, self.order)
                _put(model, paths.get(layer, []) if layer else [], made, journal)
            except Refusal as refusal:
                left[path] = f"stays without smoothness: {refusal}"
        return left


def plan_change(
    model: nn.Module,
    sizes: InputSizes | None,
    *,
    even: bool = True,
    fold: bool = False,
    order: int | None = None,
) -> Change:
    """Decide all before anything changes: layers that share a weight are compared.

    Args:
        model: Of which copies run.
        sizes: Of its inputs; None where no forward pass may run.
        even: Whether kernels grow to a multiple of the stride.
        fold: Whether resizes are folded.
        order: Of the guarantee; None where layers keep their class.
    """
    calls, reached = (None, {}) if sizes is None else record_asked(model, sizes)
    asked = _by_size(reached)
    sites = find_sites(model, calls)
    plan = partial(
        plan_growth,
        owners=paths_by_parameter(model),
        modules=modules_by_path(model),
        even=even,
        smoothness=order or 0,
    )
    scripted = scripted_layers(model)
    transposed = [
        site for site in sites if site.kind == "transposed" and not is_scripted(site, model)
    ]
    made = dict[InputSizes, Shapes]()
    if sizes and any(plan(site, asked=asked).text for site in transposed if site.path in asked):
        tried, made = ask_further(model, sizes, reached)
        asked = _by_size(tried)
    found = [plan(site, asked=asked) for site in transposed]
    if fold:
        paths = paths_by_module(model)
        found += [plan_fold(site, paths) for site in sites if site.kind == "resize"]
    grown_by_size = any(each.growths for each in found if each.site.path in asked)
    return Change(
        tuple(each for each in found if each.growths or each.enlargement),
        {each.site.path: each.text for each in found if each.stays} | scripted,
        _uses(found, reached),
        order,
        made if grown_by_size else {},
    )


def _by_size(reached: Mapping[str, Asked]) -> dict[str, Asked]:
    """Return the layers that are called with ``output_size``."""
    return {path: each for path, each in reached.items() if each.by_size}


def _uses(remedies: Sequence[Remedy], asked: Mapping[str, Asked]) -> dict[str, Sizes | None]:
    """Return the sizes of transposed convolutions, and of those that folding makes."""
    found: dict[str, Sizes | None] = {}
    for remedy in remedies:
        site, ask = remedy.site, asked.get(remedy.site.path)
        if site.kind == "transposed":
            found[site.path] = (ask.asks[0].in_size, ask.asks[0].out_size) if ask else None
        elif site.partner is not None and remedy.enlargement and site.calls:
            found[site.partner] = (site.calls[0].shape[2:], site.conv_calls[0].made[2:])
    return found


def _fold_into(model: nn.Module, remedy: Remedy, journal: Journal) -> None:
    site, paths = remedy.site, paths_by_module(model)
    assert site.partner is not None
    resize, conv = model.get_submodule(site.path), model.get_submodule(site.partner)
    _put(model, paths[conv], fold(conv, remedy.enlargement), journal)
    _put(model, paths[resize], nn.Identity().train(resize.training), journal)


def _put(model: nn.Module, paths: Sequence[str], module: nn.Module, journal: Journal) -> None:
    """Put a module in place of another, wherever that stands."""
    for path in paths:
        if not path:
            raise ValueError("model is one layer, which cannot be replaced: wrap it in Sequential.")
        parent, _, name = path.rpartition(".")
        children: dict[str, Any] = model.get_submodule(parent)._modules  # pyright: ignore
        journal.set_entry(children, name, module)


def _guaranteed(
    layer: Any, sizes: Sizes | None, owners: Mapping[int, Sequence[str]], order: int
) -> nn.Module:
    """Return the layer that holds the guarantee in place of a plain one; refuse others."""
    if layer is None:
        raise Refusal("a function makes it")
    if is_quantised(layer):
        raise Refusal("it is quantised: repair the float model and quantise that")
    if type(layer) not in TRANSPOSED:
        raise Refusal(f"{type(layer).__name__} is no plain layer")
    if parametrize.is_parametrized(layer) or "weight" not in layer._parameters:
        raise Refusal("its weight is made by a parametrisation")
    if len(set(owners[id(layer.weight)])) > 1:
        raise Refusal("it shares its weight")
    if sizes is None:
        raise Refusal("is not reached by this input, so that its sizes are not known")
    return _replace(layer, *sizes, order)


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
