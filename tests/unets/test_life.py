"""What happens to a U-Net beside the matrix: what is done to its encoder, by whom it is called."""

import copy
import gc
import io
import pickle
import re
import warnings
import weakref
from functools import partial
from threading import Barrier, Thread

import onnxruntime
import pytest
import torch
from support import versions
from support.backbones import import_timm, import_torchvision
from torch import nn
from torch.ao.quantization import fuse_modules
from torch.export import Dim
from torch.func import functional_call
from torch.nn.utils.parametrizations import weight_norm
from torch.utils.checkpoint import checkpoint

import autoup
from autoup.inspecting.copies import hooks_of

SIZES = (2, 3, 33, 47), (1, 3, 32, 32), (3, 3, 97, 131), (2, 3, 41, 64)
DOUBLE = torch.float64

# Torch says so of what comes into a compiled part of a net, and hides it where it is no error.
ignore_grad = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")


def straight(stage, x):
    return stage(x)


class Encoder(nn.Module):
    """Three stages; ``run`` says how each is called."""

    def __init__(self, run=straight):
        super().__init__()
        self.a, self.b, self.c = stage(3, 4), stage(4, 6), stage(6, 8)
        self.run = run

    def forward(self, x):
        for each in (self.a, self.b, self.c):
            x = self.run(each, x)
        return x


def stage(*channels):
    norm, activation = nn.BatchNorm2d(channels[1]), nn.ReLU(inplace=True)
    return nn.Sequential(nn.Conv2d(*channels, 3, 2, 1), norm, activation)


class Within(nn.Module):
    """A module around another, as a low-rank adapter is."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return self.inner(x)


def build(make=Encoder, **options):
    """Return a U-Net in double precision, the same at every call, with statistics of its own."""
    torch.manual_seed(0)
    net = autoup.unet(make(), SIZES[0], 2, **options).double()
    for each in net.modules():
        if isinstance(each, nn.BatchNorm2d):
            nn.init.normal_(each.running_mean, std=0.1)
            nn.init.uniform_(each.weight, 0.5, 2)
    return net.eval()


def draw(size=SIZES[0], seed=1, dtype=DOUBLE):
    return torch.randn(size, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def near(made, wanted, rounding=1e-12):
    largest = float(wanted.detach().abs().max())
    assert largest > 0, "a comparison with zeros is void"
    torch.testing.assert_close(made, wanted, rtol=0, atol=rounding * largest)


def gradients(net, x, run=None):
    """Return the output, and the gradients of the input and of what it depends on."""
    x = x.clone().requires_grad_()
    net.zero_grad()
    made = (net if run is None else run)(x)
    made.square().sum().backward()
    used = [each for name, each in net.named_parameters() if name not in net.unused]
    return [made.detach(), x.grad, *(each.grad.clone() for each in used)]


def all_near(made, wanted, rounding=1e-12):
    assert len(made) == len(wanted)
    for one, other in zip(made, wanted, strict=True):
        if other.any():
            near(one, other, rounding)
        else:  # As of a block whose last weights start at zero.
            assert not one.any()
    assert wanted[0].any()


def heard(net):
    """Return the map that the deepest stage joins, as it is heard."""
    seen = []
    handle = net.decoder[0].register_forward_pre_hook(lambda _, args: seen.append(args[2]))
    net(draw())
    handle.remove()
    return seen[0]


# Compilers and exporters.


@pytest.mark.slow
@pytest.mark.together("compiles")
@pytest.mark.xfail(versions.TORCH < (2, 8), reason="compiled anew for odd sizes", strict=True)
@pytest.mark.parametrize("dynamic", [None, True])
@pytest.mark.parametrize("smoothness", [0, 1])
def test_a_compiled_net_is_compiled_once_for_all_sizes(dynamic, smoothness):
    torch.compiler.reset()
    net, compiled = build(smoothness=smoothness).float(), []

    def backend(graph, _):
        compiled.append(graph)
        return graph.forward

    run = torch.compile(net, fullgraph=True, dynamic=dynamic, backend=backend)
    with torch.no_grad():
        for height in (*range(30, 50), 128, 199, 256, 401):
            x = draw((2, 3, height, 2 * height + 1), dtype=torch.float32)
            near(run(x), net(x), 1e-5)
    assert len(compiled) == (1 if dynamic else 2)  # Sizes are left open when a second comes.


@pytest.mark.filterwarnings("ignore:`torch.jit")  # What inductor imports says so.
@pytest.mark.slow
@pytest.mark.together("compiles")
@pytest.mark.parametrize(
    ("backend", "dynamic"), [("inductor", True), ("aot_eager", False), ("aot_eager", True)]
)
def test_a_compiled_net_has_the_same_gradients_at_every_size(backend, dynamic):
    torch.compiler.reset()
    net = build()
    run = torch.compile(net, fullgraph=True, dynamic=dynamic, backend=backend)
    for size in SIZES[: 2 + dynamic]:
        x = draw(size)
        all_near(gradients(net, x, run), gradients(net, x), 1e-9)
    assert net._stash.heard is None


@pytest.mark.slow
@pytest.mark.together("exports")
@pytest.mark.parametrize("smoothness", [0, 1])
@pytest.mark.parametrize("strict", [False, True])
def test_an_exported_net_takes_every_size(strict, smoothness):
    net = build(smoothness=smoothness)
    shapes = (dict.fromkeys((0, 2, 3), Dim.DYNAMIC),)
    with warnings.catch_warnings():
        if strict:  # Of what the stash is set to, which it is set back from.
            warnings.filterwarnings("ignore", r"(?s).*side effects happened.*_stash\"\]$")
        program = torch.export.export(net, (draw(),), dynamic_shapes=shapes, strict=strict)
    for size in SIZES:
        near(program.module()(draw(size)), net(draw(size)))


@pytest.mark.slow
@pytest.mark.together("exports_onnx")
@pytest.mark.xfail(versions.TORCH < (2, 8), reason="ONNX has no open padding", strict=True)
@pytest.mark.parametrize("smoothness", [0, 1])
def test_onnx_runtime_takes_every_size(smoothness):
    net, shapes = build(smoothness=smoothness).float(), (dict.fromkeys((0, 2, 3), Dim.DYNAMIC),)
    with warnings.catch_warnings(action="ignore"):
        given = draw(dtype=torch.float32)
        exported = torch.onnx.export(
            net, (given,), dynamic_shapes=shapes, dynamo=True, verbose=False
        )
    session = onnxruntime.InferenceSession(exported.model_proto.SerializeToString())
    for size in SIZES:
        x = draw(size, dtype=torch.float32)
        (made,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
        near(torch.from_numpy(made), net(x).detach(), 1e-5)


@pytest.mark.filterwarnings("ignore:`torch.jit")
@pytest.mark.parametrize("smoothness", [0, 1])
def test_a_traced_net_takes_every_size(smoothness):
    net = build(smoothness=smoothness)
    traced = torch.jit.trace(net, draw())
    for size in SIZES:
        near(traced(draw(size)), net(draw(size)))


@ignore_grad
@pytest.mark.slow
@pytest.mark.together("compiles")
@pytest.mark.parametrize("when", ["before", "behind", "in place", "a stage", "a stage in place"])
def test_an_encoder_may_be_compiled(when):
    torch.compiler.reset()
    options, wanted = {"backend": "aot_eager", "dynamic": True}, build()(draw())
    net = build(lambda: torch.compile(Encoder(), **options) if when == "before" else Encoder())
    if when == "behind":
        net.encoder(draw())
        net.encoder = torch.compile(net.encoder, **options)
    elif when == "a stage":
        net.encoder.b = torch.compile(net.encoder.b, **options)
    elif when != "before":
        (net.encoder if when == "in place" else net.encoder.b).compile(**options)
    for _ in range(2):
        near(net(draw()), wanted)
        net.encoder(draw())
        assert net._stash.heard is None


@ignore_grad
@pytest.mark.slow
@pytest.mark.together("compiles")
def test_an_encoder_that_ran_compiled_before_says_what_to_do():
    torch.compiler.reset()
    torch.manual_seed(0)
    encoder = torch.compile(Encoder().double().eval(), backend="aot_eager")
    encoder(draw())
    net = build(lambda: encoder)
    with pytest.raises(RuntimeError, match=r"'a'.*ran before.*torch.compiler.reset\(\)"):
        net(draw())
    torch.compiler.reset()
    made = net(draw())
    net.encoder = encoder._orig_mod
    near(made, net(draw()))


@pytest.mark.slow
@pytest.mark.together("compiles")
@pytest.mark.parametrize("change", ["encoder", "stage"])
def test_a_net_is_compiled_right_after_a_module_was_replaced(change):
    torch.compiler.reset()
    net, wanted = build(), build()(draw())
    if change == "encoder":
        net.encoder = copy.deepcopy(net.encoder)
    else:
        net.encoder.b = Within(net.encoder.b)
    near(torch.compile(net, fullgraph=True, backend="aot_eager")(draw()), wanted)


# Modules of the encoder that are replaced or made differently.


def replace(net, path, make):
    parent, _, name = path.rpartition(".")
    parent = net.encoder.get_submodule(parent)
    setattr(parent, name, make(getattr(parent, name)))
    return net


@pytest.mark.parametrize("path", ["a", "b", "c", "b.0", "b.1", "b.2", "c.2"])
@pytest.mark.parametrize("make", [copy.deepcopy, Within, nn.Sequential])
def test_a_module_may_be_replaced_by_one_that_does_the_same(path, make):
    net = replace(build(), path, make)
    near(net(draw()), build()(draw()))


def test_a_stage_may_be_replaced_by_another():
    net, other = build(), nn.Sequential(nn.Conv2d(4, 6, 3, 2, 1), nn.Tanh()).double()
    net.encoder.b = other
    near(heard(net), other(net.encoder.a(draw())))


def test_a_map_that_is_gone_is_named():
    net = build()
    net.encoder.run = lambda each, x: x if each is net.encoder.b else each(x)
    net.encoder.c = stage(4, 8).double().eval()
    with pytest.raises(RuntimeError, match=r"'b' of the encoder.* 6 channels .*net anew"):
        net(draw())
    assert net._stash.heard is None


@pytest.mark.parametrize("convert", [nn.SyncBatchNorm.convert_sync_batchnorm, copy.deepcopy])
def test_a_converted_net_is_the_same(convert):
    near(convert(build())(draw()), build()(draw()))


def test_layers_of_the_encoder_may_be_fused():
    net = build()
    names = [[f"{name}.{n}" for n in range(3)] for name in "abc"]
    net.encoder = fuse_modules(net.encoder, names)
    near(net(draw()), build()(draw()), 1e-9)


def test_layers_of_the_encoder_may_be_parametrised():
    def make():
        encoder = Encoder()
        for each in (encoder.a, encoder.b):
            weight_norm(each[0])
        return encoder

    net = build(make)
    twin = copy.deepcopy(net)
    near(twin(draw()), net(draw()))
    originals = [each for name, each in net.named_parameters() if "original" in name]
    assert len(originals) == 4
    assert all(each.any() for each in torch.autograd.grad(net(draw()).square().sum(), originals))


@pytest.mark.parametrize("is_before", [True, False])
@pytest.mark.parametrize("path", ["b", "b.2"])
def test_what_a_hook_of_the_user_puts_in_place_of_a_map_is_heard(is_before, path):
    def make(encoder=None):
        encoder = encoder or Encoder()
        encoder.get_submodule(path).register_forward_hook(lambda _module, _args, made: 2 * made + 1)
        return encoder

    net = build(make if is_before else Encoder)
    if not is_before:
        make(net.encoder)
    for _ in range(2):
        torch.testing.assert_close(heard(net), 2 * heard(build()) + 1)


# Copies, and several nets on one encoder.


def hooks(module):
    return [hook for each in module.modules() for hook in each._forward_hooks.values()]


def saved(net):
    file = io.BytesIO()
    torch.save(net, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


@pytest.mark.parametrize(
    "duplicate", [copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net)), saved]
)
def test_a_copy_hears_its_own_encoder(duplicate):
    net = build()
    wanted, twin = net(draw()), duplicate(net)
    near(twin(draw()), wanted)
    assert len(hooks(twin)) == len(hooks(net))
    assert {id(each.stash) for each in hooks(twin)} == {id(twin._stash)} != {id(net._stash)}
    with torch.no_grad():
        twin.encoder.b[1].bias.add_(1)
    near(net(draw()), wanted)
    assert not torch.allclose(twin(draw()), wanted)


def test_a_copied_encoder_takes_a_net_of_its_own():
    net = build()
    other = autoup.unet(copy.deepcopy(net.encoder), SIZES[0], 2).eval()
    other.load_state_dict(net.state_dict())
    near(other(draw()), net(draw()))
    near(copy.deepcopy(net.encoder)(draw()), net.encoder(draw()))


def test_two_nets_share_an_encoder():
    net = build()
    wanted = net(draw())
    other = autoup.unet(net.encoder, SIZES[0], 5, skips=1).eval()
    for _ in range(2):
        near(net(draw()), wanted)
        assert other(draw()).shape == (2, 5, 33, 47)


def test_an_encoder_s_own_keys_load():
    net, encoder = build(), Encoder().double().eval()
    assert [f"encoder.{key}" for key in encoder.state_dict()] == [
        key for key in net.state_dict() if key.startswith("encoder.")
    ]
    net.encoder.load_state_dict(encoder.state_dict())
    near(net.encoder(draw()), encoder(draw()))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_gives_half_precision(dtype):
    made = build().to(dtype)(draw().to(dtype))
    assert made.dtype == dtype
    near(made.double(), build()(draw()), 0.05)


def test_channels_last_stays_and_has_the_same_gradients():
    net, last = build(), torch.channels_last
    wanted = gradients(net, draw())
    x = draw().contiguous(memory_format=last)
    made = gradients(net.to(memory_format=last), x)
    assert made[0].is_contiguous(memory_format=last)
    assert not wanted[0].is_contiguous(memory_format=last)
    all_near(made, wanted)


def test_a_net_built_on_meta_starts_anew():
    net = build().to("meta").to_empty(device="cpu")
    net.load_state_dict(build().state_dict())
    near(net(draw()), build()(draw()))


# What is kept, and by whom.


class HalfwayError(Exception):
    pass


def raises(*_):
    raise HalfwayError


@pytest.mark.parametrize("where", ["b", "c", "decoder"])
def test_nothing_is_kept_where_the_net_fails(where):
    net = build()
    module = net.decoder[0] if where == "decoder" else net.encoder.get_submodule(where)
    handle = module.register_forward_pre_hook(raises)
    with pytest.raises(HalfwayError):
        net(draw())
    assert net._stash.heard is None
    handle.remove()
    near(net(draw()), build()(draw()))


def test_maps_are_freed_with_the_pass():
    net, alive = build(), []
    for each in (net.encoder.a, net.encoder.b, net.encoder.c):
        each.register_forward_hook(lambda _module, _args, made: alive.append(weakref.ref(made)))
    gc.disable()  # No cycle holds them either.
    try:
        with torch.no_grad():
            for run in (net, net.encoder):
                kept = run(draw()) if run is net else None
                run(draw())
                assert [each() for each in alive] == [None] * len(alive)
                assert kept is None or kept.shape == (2, 2, 33, 47)
    finally:
        gc.enable()
    assert len(alive) == 9


def test_an_encoder_called_alone_is_not_listened_to(monkeypatch):
    net = build()
    monkeypatch.setattr("autoup.unets.stash.look_up", raises)
    assert net.encoder(draw()).shape == (2, 8, 5, 6)
    with pytest.raises(HalfwayError):
        net(draw())


def in_threads(runs):
    """Run each function in a thread, and raise the first error of any."""
    errors = []

    def guarded(run):
        try:
            run()
        except Exception as error:
            errors.append(error)

    threads = [Thread(target=guarded, args=(run,)) for run in runs]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    if errors:
        raise errors[0]


def replica(module):
    """Return what ``torch.nn.parallel.replicate`` makes of a module, on the same device."""
    made = module._replicate_for_data_parallel()
    for name, each in module._parameters.items():
        setattr(made, name, None if each is None else each.clone())
    for name, each in module._modules.items():
        made._modules[name] = replica(each) if each is not None else None
    return made


@pytest.mark.parametrize("copy_of", [lambda net: net, replica])
def test_threads_that_call_one_net_get_their_own_maps(copy_of):
    net = build()
    inputs = [draw((1, 3, 33 + n, 40 + 2 * n), seed=n) for n in range(6)]
    with torch.no_grad():
        wanted = [net(x) for x in inputs]

    meeting = Barrier(len(inputs), timeout=60)  # All are within the encoder at once.

    def meet(*_):
        meeting.wait()

    net.encoder.b.register_forward_hook(meet)

    @torch.no_grad()
    def run(n, twin):
        for _ in range(20):
            near(twin(inputs[n]), wanted[n])

    in_threads([partial(run, n, copy_of(net)) for n in range(len(inputs))])
    assert net._stash.heard is None


# Gradients: checkpoints, frozen encoders, functions of torch.func.


def assert_recomputes(net, x, switch, watched, rounding=1e-12):
    """Check that a switch makes a module run twice a step, and leaves the gradients."""
    calls = []
    watched.register_forward_hook(lambda *_: calls.append(1))
    wanted = gradients(net, x)
    once = len(calls)
    switch()
    all_near(gradients(net, x), wanted, rounding)
    assert len(calls) == 3 * once, "nothing was computed again"
    assert net._stash.heard is None


@pytest.mark.parametrize("use_reentrant", [True, False])
def test_checkpoints_inside_the_encoder_keep_the_gradients(use_reentrant):
    net = build()

    def switch():
        net.encoder.run = partial(checkpoint, use_reentrant=use_reentrant)

    assert_recomputes(net, draw(), switch, net.encoder.b[0])


@pytest.mark.slow
@pytest.mark.together("timm")
@pytest.mark.parametrize("features_only", [True, False])
@pytest.mark.parametrize(
    ("name", "watched"),
    [("resnet18", "layer2"), ("convnext_atto", "stages[._]2")],
)
def test_timm_s_own_checkpoints_keep_the_gradients(name, watched, features_only):
    torch.manual_seed(0)
    encoder = import_timm().create_model(name, features_only=features_only)
    net = autoup.unet(encoder, (1, 3, 64, 64), 2).double().eval()
    paths = re.compile(rf"(.*\.)?{watched}(\..*)?\.(conv1|conv_dw)")
    inner = next(each for path, each in encoder.named_modules() if paths.fullmatch(path))

    def switch():
        net.train()  # It computes again in training alone.
        for each in net.modules():
            if isinstance(each, nn.BatchNorm2d):
                each.eval()
        encoder.set_grad_checkpointing(True)

    assert_recomputes(net, draw((1, 3, 65, 67)), switch, inner, 1e-9)


@pytest.mark.filterwarnings("ignore:`gradient_checkpointing_enable` is deprecated")
@pytest.mark.slow
@pytest.mark.together("transformers")
@pytest.mark.parametrize("use_reentrant", [True, False])
def test_transformers_own_checkpoints_keep_the_gradients(use_reentrant):
    import_torchvision()  # Which transformers looks for.
    from transformers import SegformerConfig, SegformerModel

    sizes = {"hidden_sizes": [8, 16, 24, 32], "num_attention_heads": [1, 1, 2, 2]}
    rates = ("hidden_dropout_prob", "attention_probs_dropout_prob", "drop_path_rate")
    config = SegformerConfig(depths=[1] * 4, **sizes, **dict.fromkeys(rates, 0.0))
    torch.manual_seed(0)
    encoder = SegformerModel(config)
    net = autoup.unet(encoder, (1, 3, 64, 64), 2).double().train()
    for each in net.modules():
        if isinstance(each, nn.BatchNorm2d):
            each.eval()
    switch = partial(encoder.gradient_checkpointing_enable, {"use_reentrant": use_reentrant})
    inner = next(each for each in encoder.modules() if getattr(each, "groups", 1) > 1)
    assert_recomputes(net, draw((1, 3, 65, 67)), switch, inner, 1e-9)


class Frozen(Encoder):
    def train(self, mode=True):  # noqa: ARG002
        return super().train(False)


def test_an_encoder_that_stays_in_evaluation_mode_stays_so():
    net = build(lambda: Frozen().requires_grad_(False)).train()
    assert net.decoder.training
    assert not any(each.training for each in net.encoder.modules())
    before = copy.deepcopy(net.encoder.state_dict())
    net(draw()).square().sum().backward()
    assert all(each.grad is None for each in net.encoder.parameters())
    assert all(each.grad.any() for each in net.head.parameters())
    assert all(torch.equal(before[key], each) for key, each in net.encoder.state_dict().items())


def test_an_encoder_without_gradients_trains_its_decoder_alone():
    class Without(Encoder):
        @torch.no_grad()
        def forward(self, x):
            return super().forward(x)

    net = build(Without)
    net(draw()).square().sum().backward()
    with_grad = {name.partition(".")[0] for name, p in net.named_parameters() if p.grad is not None}
    assert with_grad == {"decoder", "head"}


def test_functional_calls_take_other_parameters_of_the_encoder():
    net, other = build(), build()
    with torch.no_grad():
        other.encoder.a[0].weight.mul_(2)
    state = dict(other.named_parameters())
    near(functional_call(net, state, (draw(),)), other(draw()))
    made = torch.func.grad(lambda state: functional_call(net, state, (draw(),)).square().sum())(
        state
    )
    all_near([*made.values()], gradients(other, draw())[2:])
    inputs = torch.stack([draw(seed=n) for n in range(3)])
    near(torch.vmap(net)(inputs), torch.stack([*map(net, inputs)]))


# The rest of this package.


def test_a_net_is_audited_clean_without_a_word_of_its_hooks():
    net = build()
    report = autoup.audit(net, SIZES[0])
    assert report.clean
    assert "hook" not in str(report)
    assert len(hooks(net)) == 10
    assert hooks_of(net) == []


def test_a_repaired_net_hears_its_own_encoder():
    net = build()
    repaired = autoup.repair(net, SIZES[0])
    near(repaired(draw()), net(draw()))
    assert {id(each.stash) for each in hooks(repaired)} == {id(repaired._stash)}
    assert repaired._stash is not net._stash


def test_the_encoder_of_a_net_has_a_mirrored_decoder():
    net = build()
    size = (2, 3, 32, 48)
    decoder = autoup.mirror_decoder(net.encoder, size)
    assert decoder(net.encoder(draw(size))).shape == size
    assert len(hooks(decoder)) == 0
    near(net(draw()), build()(draw()))
