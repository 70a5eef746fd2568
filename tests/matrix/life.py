"""What happens to a model: copied, stored, normalised, pruned, quantised, trained.

More places, as in ``places``: each function raises where a model does not work as PyTorch's own.
"""

import copy
import io
import logging
from functools import partial

import safetensors.torch
import torch
from support import versions
from support.backbones import import_torchvision
from torch import nn
from torch.nn.utils import prune
from torch.optim.swa_utils import AveragedModel
from torch.utils.checkpoint import checkpoint
from torch.utils.data import DataLoader, TensorDataset
from torch.utils.flop_counter import FlopCounterMode

from matrix.places import (
    agrees,
    expected,
    layers,
    near,
    numbers,
    other_state,
    plain,
    smooth,
    standard,
    state_of,
)

INT8_ROUNDING = 0.05  # Relative to the largest output.


def copies(model, x, *, duplicate):
    twin = duplicate(model)
    assert repr(twin) == repr(model)
    assert not {*map(id, twin.parameters())} & {*map(id, model.parameters())}
    agrees(twin, twin, x)
    near(twin(x), expected(model, x))


def saved(model):
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    return torch.load(file, weights_only=not isinstance(model, nn.Module))


def stores(model, x, *, through):
    """Take the state there and back, and into PyTorch's own model and back."""
    state, other, rough = through(model.state_dict()), copy.deepcopy(model), plain(model)
    other.load_state_dict(other_state(model))
    for target in (other, rough):
        target.load_state_dict(state, strict=True)
    near(other(x), expected(model, x))
    other.load_state_dict(other_state(model))
    other.load_state_dict(through(rough.state_dict()), strict=True)
    near(other(x), expected(model, x))


def through_safetensors(state):
    return safetensors.torch.load(safetensors.torch.save(state))


def normalises(model, x, *, norm):
    """A parametrised weight is the one PyTorch's layer has, made once a forward pass."""
    ours, theirs, made = copy.deepcopy(model), plain(model), []
    theirs.load_state_dict(model.state_dict())
    for twin in (ours, theirs):
        torch.manual_seed(0)
        for layer in layers(twin).values():
            norm(layer)
            layer.parametrizations.weight.register_forward_hook(lambda *_: made.append(1))

    def run(x):
        weights = {key: layer.weight for key, layer in layers(theirs).items()}
        return standard(model)({**state_of(model), **weights}, x)

    originals = [
        [each for name, each in twin.named_parameters() if "parametrizations" in name]
        for twin in (ours, theirs)
    ]
    for mode in (True, True, False):
        made.clear()
        ours.train(mode)(x)
        assert len(made) == len(layers(model)), "made more than once a forward pass"
        theirs.train(mode)
        run(x)
        near(numbers(ours, originals[0], x), numbers(run, originals[1], x))


def prunes(model, x):
    twin = copy.deepcopy(model)
    for layer in layers(twin).values():
        prune.l1_unstructured(layer, "weight", amount=0.5)
    made = twin(x)
    kept = {key: layer.weight.detach() for key, layer in layers(twin).items()}
    near(made, standard(model)({**state_of(model), **kept}, x))
    made.square().sum().backward()
    for key, layer in layers(twin).items():
        gone = layer.weight_mask == 0
        assert gone.sum() == round(gone.numel() / 2)
        assert not kept[key][gone].any()
        assert not layer.weight_orig.grad[gone].any()
        assert layer.weight_orig.grad[~gone].any()
        prune.remove(layer, "weight")
    agrees(twin, twin, x)
    near(twin(x), made)


def quantises_graphs(model, x):
    """Eight bits through torchao's pt2e: what comes in, the weights, what goes out."""
    pt2e, q = versions.pt2e("quantize_pt2e"), versions.pt2e("quantizer")
    observer = versions.pt2e("").MinMaxObserver.with_args(
        dtype=torch.int8, qscheme=torch.per_tensor_affine
    )
    spec = q.QuantizationSpec(torch.int8, observer, -128, 127, torch.per_tensor_affine)

    class Quantizer(q.Quantizer):
        def annotate(self, model):
            for node in model.graph.nodes:
                if "conv_transpose" in str(node.target):
                    inputs = dict.fromkeys(node.args[:2], spec)
                    annotation = q.QuantizationAnnotation(inputs, spec, _annotated=True)
                    node.meta["quantization_annotation"] = annotation
            return model

        def validate(self, model):
            pass

    torch.compiler.reset()  # Up to 2.6 it counts how often any module was exported.
    captured = torch.export.export(plain(model).eval(), (x,)).module()
    prepared = pt2e.prepare_pt2e(captured, Quantizer())
    prepared(x)
    quantised = pt2e.convert_pt2e(prepared)
    kernels = [each for each in quantised.state_dict().values() if each.dtype == torch.int8]
    assert len(kernels) == len(layers(model))
    near(quantised(x), expected(model, x), INT8_ROUNDING)


STEPS, RATE = 10, 0.05


def descend(run, parameters, x, target):
    """Return the losses of a few steps."""
    optimiser, losses = torch.optim.SGD(parameters, RATE, momentum=0.9), []
    for _ in range(STEPS):
        losses.append((run(x) - target).square().mean())
        optimiser.zero_grad()
        losses[-1].backward()
        optimiser.step()
    return torch.stack(losses).detach()


def expected_descent(model, x):
    """Return a target, and the losses of PyTorch's own model."""
    torch.manual_seed(3)
    target = torch.randn_like(expected(model, x))
    state = {name: each.detach().clone().requires_grad_() for name, each in state_of(model).items()}
    return target, descend(partial(standard(model), state), state.values(), x, target)


def trains(model, x):
    target, theirs = expected_descent(model, x)
    twin = copy.deepcopy(model)
    ours = descend(twin, twin.parameters(), x, target)
    near(ours, theirs)
    assert ours[-1] < ours[0]


def trains_in_lightning(model, x):
    import_torchvision()
    import pytorch_lightning as lightning

    class Module(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.model, self.losses = copy.deepcopy(model), []

        def training_step(self, batch, _):
            self.losses.append((self.model(batch[0]) - batch[1]).square().mean())
            return self.losses[-1]

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), RATE, momentum=0.9)

    target, theirs = expected_descent(model, x)
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    off = ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary")
    trainer = lightning.Trainer(
        max_steps=STEPS, max_epochs=-1, accelerator="cpu", **dict.fromkeys(off, False)
    )
    module = Module()
    trainer.fit(module, DataLoader(TensorDataset(x, target), batch_size=len(x)))
    near(torch.stack(module.losses).detach(), theirs)


def checkpoints(model, x):
    agrees(partial(checkpoint, model, use_reentrant=False), model, x)


def averages(model, x):
    average, twin = AveragedModel(model), copy.deepcopy(model)
    twin.load_state_dict(other_state(model))
    for each in (model, twin):
        average.update_parameters(each)
    mean = {name: (each + state_of(twin)[name]) / 2 for name, each in state_of(model).items()}
    near(average(x), standard(model)(mean, x))


def counts_flops(model, x):
    """Forward and backward cost what PyTorch's own model costs; a projection comes on top."""
    counts = []
    for run in (model, partial(standard(model), state_of(model))):
        with FlopCounterMode(display=False) as counter:
            run(x.clone().requires_grad_()).square().sum().backward()
        each = counter.get_flop_counts()["Global"]
        counts.append({name: n for name, n in each.items() if "conv" in str(name)})
        if not smooth(model):
            counts[-1] = sum(each.values())
    assert counts[0] == counts[1]
    assert counts[0]
