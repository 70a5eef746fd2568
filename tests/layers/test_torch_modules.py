"""PyTorch's generic tests of modules, on the plain layers and on ours with the same code."""

from copy import deepcopy
from itertools import product

import pytest
import torch
from support.harness import (
    DECODERS,
    ENTRIES,
    LAYOUTS,
    SPECS,
    OlderTestCase,
    common_device_type,
    common_modules,
    common_utils,
    in_formats,
    layout,
    run,
    save_and_load,
    with_gaps,
    without_threshold,
)
from torch.autograd import forward_ad
from torch.func import functional_call, vmap

import autoup
from autoup.checks import INITS

pytestmark = [
    pytest.mark.filterwarnings("ignore:Complex modules are a new feature:UserWarning"),
    pytest.mark.filterwarnings("ignore:ComplexHalf support is experimental:UserWarning"),
    pytest.mark.filterwarnings("ignore:.*torch.jit"),  # torch's forward mode
]
DOUBLES = [torch.float64, torch.complex128]
# A dilation that shares a factor with the stride leaves phases without taps: always a grid.
INFEASIBLE = {"AutoConvTranspose1d_dilated_smooth", "AutoConvTranspose2d_dilated_smooth"}

modules = common_modules.modules
tol = common_device_type.tol
looser = common_device_type.toleranceOverride(
    {torch.float32: tol(1e-4, 1e-4), torch.cfloat: tol(1e-4, 1e-4), torch.chalf: tol(5e-2, 5e-3)}
)


def to_plain(layer):
    return layer.to_plain() if hasattr(layer, "to_plain") else deepcopy(layer)


class TestModule(common_utils.TestCase):
    """Torch's entries look up tolerances and expected failures by the names of class and tests."""

    precision = 1e-5
    rel_tol = 1e-5

    def same(self, made, wanted, **tolerances):
        """Compare tensors with the tolerances of torch's entry; anything else is asserted."""
        self.assertEqual(made, wanted, **tolerances)  # noqa: PT009

    def builders(self, info, device, dtype, training, requires_grad=False):
        """Go through the samples: how to build the layer, its input, and torch's reference."""
        options = {"dtype": dtype, "requires_grad": requires_grad, "training": training}
        samples = info.module_inputs_func(info, device=device, **options)
        assert len(samples) == 2 + len(DECODERS) - 2
        for sample in samples:
            given, (x,) = sample.constructor_input, sample.forward_input.args

            def build(given=given, **options):
                return info.module_cls(*given.args, **given.kwargs | options).train(training)

            yield build, x, sample.reference_fn

    def layers(self, info, device, dtype, training, requires_grad=False):
        for build, x, _ in self.builders(info, device, dtype, training, requires_grad):
            yield build().to(device).to(dtype), x

    def check_state(self, layer, device, dtype):
        state = layer.state_dict()
        assert list(state) == ["weight", "bias"]
        assert {(each.device, each.dtype) for each in state.values()} == {
            (torch.device(device), dtype)
        }

    @looser
    @modules(ENTRIES)
    def test_forward(self, device, dtype, module_info, training):
        for build, x, reference in self.builders(module_info, device, dtype, training):
            layer, version = build().to(device).to(dtype), x._version
            made, plain = layer(x), to_plain(layer)
            self.same(made, plain(x))
            if reference is not None:
                self.same(made, reference(layer, x))
            spatial = made.shape[-len(layer.stride) :]
            larger = [n + s - 1 for n, s in zip(spatial, layer.stride, strict=True)]
            self.same(layer(x, larger), plain(x, larger))
            assert x._version == version
            self.check_state(layer, device, dtype)

    @modules(ENTRIES)
    def test_factory_kwargs(self, device, dtype, module_info, training):
        inits = [{}] if module_info.variant is None else [{"init": each} for each in INITS]
        samples = self.builders(module_info, device, dtype, training)
        for (build, x, _), init in product(samples, inits):
            layer = build(device=device, dtype=dtype, **init)
            self.check_state(layer, device, dtype)
            assert layer.weight.to(torch.complex128).abs().sum() > 0
            assert layer(x).dtype == dtype

    @modules(ENTRIES)
    def test_repr(self, device, dtype, module_info, training):
        for layer, _ in self.layers(module_info, device, dtype, training):
            assert repr(layer).startswith(f"{module_info.module_cls.__name__}(")
            assert str(layer) == repr(layer)
            assert f" kernel_size={layer.kernel_size}, stride={layer.stride}" in repr(layer)

    @modules(ENTRIES)
    def test_pickle(self, device, dtype, module_info, training):
        for layer, x in self.layers(module_info, device, dtype, training):
            for twin in (save_and_load(layer, weights_only=False), deepcopy(layer)):
                assert type(twin) is module_info.module_cls
                assert twin.weight is not layer.weight
                assert repr(twin) == repr(layer)
                self.same(twin(x), layer(x), atol=0, rtol=0)

    @modules(ENTRIES)
    def test_save_load(self, device, dtype, module_info, training):
        for build, x, _ in self.builders(module_info, device, dtype, training):
            layer, other = (build().to(device).to(dtype) for _ in range(2))
            assert (other.weight != layer.weight).any()
            other.load_state_dict(save_and_load(layer.state_dict(), weights_only=True))
            self.same(other(x), layer(x), atol=0, rtol=0)

    @looser
    @modules(ENTRIES)
    def test_non_contiguous_tensors(self, device, dtype, module_info, training):
        for layer, x in self.layers(module_info, device, dtype, training, requires_grad=True):
            grad_output = torch.randn_like(layer(x))
            wanted = run(layer, x, grad_output)
            for given, grad in product((x, with_gaps(x)), (grad_output, with_gaps(grad_output))):
                self.same(run(layer, given, grad), wanted)

    def functions(self, info, *where):
        """Go through the layers as functions of the input and the parameters, by name."""
        for layer, x in self.layers(info, *where, requires_grad=True):
            tensors = {"x": x, **dict(layer.named_parameters())}

            def call(x, *values, layer=layer, names=tuple(tensors)[1:]):
                return functional_call(layer, dict(zip(names, values, strict=True)), (x,))

            yield call, tensors

    def check_gradients(self, check, info, *where, **modes):
        for call, tensors in self.functions(info, *where):
            for wanted in (tuple(tensors), *((name,) for name in tensors)):
                given = [
                    each.detach().clone().requires_grad_(name in wanted)
                    for name, each in tensors.items()
                ]
                tolerance = info.gradcheck_nondet_tol if given[0].is_cuda else 0.0
                assert check(call, given, nondet_tol=tolerance, **modes)

    @pytest.mark.slow
    @modules(ENTRIES, allowed_dtypes=DOUBLES)
    def test_grad(self, device, dtype, module_info, training):
        modes = {"check_forward_ad": True, "check_batched_forward_grad": True}
        check = common_utils.gradcheck
        self.check_gradients(check, module_info, device, dtype, training, **modes)

    @pytest.mark.slow
    @modules([entry for entry in ENTRIES if entry.supports_gradgrad], allowed_dtypes=DOUBLES)
    def test_gradgrad(self, device, dtype, module_info, training):
        modes = {"check_fwd_over_rev": True}
        check = common_utils.gradgradcheck
        self.check_gradients(check, module_info, device, dtype, training, **modes)

    @modules(ENTRIES, allowed_dtypes=DOUBLES)
    def test_forward_mode(self, device, dtype, module_info, training):
        """What is linear in the input and in the parameters is exact as a central difference."""
        for call, tensors in self.functions(module_info, device, dtype, training):
            values, steps = tensors.values(), [torch.randn_like(v) for v in tensors.values()]
            with forward_ad.dual_level():
                duals = map(forward_ad.make_dual, values, steps)
                made = forward_ad.unpack_dual(call(*duals)).tangent
            moves = list(zip(values, steps, strict=True))
            ahead, behind = (call(*(v + n * d for v, d in moves)) for n in (1, -1))
            self.same(made, (ahead - behind) / 2)

    @modules(ENTRIES, allowed_dtypes=DOUBLES)
    def test_gradients_sample_by_sample(self, device, dtype, module_info, training):
        for call, tensors in self.functions(module_info, device, dtype, training):

            def loss(x, *values, call=call):
                return call(x, *values).abs().square().sum()

            x, *values = (each.detach() for each in tensors.values())
            samples, which = torch.stack((x, 2 * x)), tuple(range(3))
            made = vmap(torch.func.grad(loss, which), (0, None, None))(samples, *values)
            alone = [torch.autograd.functional.jacobian(loss, (each, *values)) for each in samples]
            self.same(made, tuple(map(torch.stack, zip(*alone, strict=True))))

    @modules(ENTRIES)
    def test_memory_format(self, device, dtype, module_info, training):
        """Torch expects 3d and complex 2d to fail; the next test asks all that they can give."""
        assert module_info.module_memformat_affects_out
        for layer, x in self.layers(module_info, device, dtype, training, requires_grad=True):
            grad_output = torch.rand_like(layer(x))
            wanted = run(layer, x, grad_output)
            for of_input, of_layer, moved, given in in_formats(layer, x, x.ndim):
                grad = torch.empty_like(moved(given)).copy_(grad_output)
                made = run(moved, given, grad)
                self.same(made, wanted)
                if getattr(layer, "smoothness", 0):  # Autograd lays this one out when it is kept.
                    made = (*made[:2], made[3])
                for each in made:
                    wanted_format = LAYOUTS.get(each.ndim)
                    if wanted_format not in (of_input, of_layer):
                        wanted_format = torch.contiguous_format
                    assert each.is_contiguous(memory_format=wanted_format)

    @looser
    @modules(ENTRIES)
    def test_memory_format_of_the_plain_layer(self, device, dtype, module_info, training):
        for layer, x in self.layers(module_info, device, dtype, training, requires_grad=True):
            grad_output = torch.rand_like(layer(x))
            wanted = run(layer, x, grad_output)
            for _, of_layer, moved, given in in_formats(layer, x, layer.weight.ndim):
                grad = torch.empty_like(moved(given)).copy_(grad_output)
                made = run(moved, given, grad)
                plain = run(to_plain(moved).to(memory_format=of_layer), given, grad)
                self.same(made, wanted)
                if (module_info.variant, dtype) == ("_fast", torch.float64):
                    continue  # Left to torch outside of these tests, which lays 3d out otherwise.
                assert [layout(each) for each in made[:2]] == [layout(each) for each in plain[:2]]

    @modules(ENTRIES, train_eval_mode=common_modules.TrainEvalMode.train_only)
    def test_if_train_and_eval_modes_differ(self, device, dtype, module_info, training):
        assert not module_info.train_and_eval_differ
        for layer, x in self.layers(module_info, device, dtype, training):
            made = layer(x)
            self.same(layer.eval()(x), made, atol=0, rtol=0)
            del layer.training
            self.same(layer(x), made, atol=0, rtol=0)

    @common_device_type.onlyCPU
    @modules(ENTRIES)
    def test_device_ctx_init(self, device, dtype, module_info, training):
        for build, x, _ in self.builders(module_info, device, dtype, training):
            layer = build(dtype=dtype)
            with torch.device("meta"):
                on_meta = build(dtype=dtype)
            for ours, other in zip(on_meta.parameters(), layer.parameters(), strict=True):
                assert ours.is_meta
                assert (ours.shape, ours.dtype) == (other.shape, other.dtype)
                assert (ours.stride(), ours.requires_grad) == (other.stride(), True)
            assert on_meta(x.to("meta")).shape == layer(x).shape

    @modules(ENTRIES, allowed_dtypes=[torch.float32])
    @common_utils.parametrize("swap", [True, False])
    @common_utils.parametrize("set_grad", [True, False])
    @common_utils.wrapSwapTensorsTest()
    def test_to(self, device, dtype, module_info, training, swap, set_grad):
        torch.__future__.set_swap_module_params_on_conversion(swap)
        for layer, x in self.layers(module_info, device, dtype, training):
            for target in set(module_info.dtypes) - {dtype}:
                moved = deepcopy(layer)
                for each in moved.parameters():
                    each.grad = torch.ones_like(each) if set_grad else None
                before = [(id(each), each._cdata) for each in moved.parameters()]
                moved.to(device=device, dtype=target)
                self.check_state(moved, device, target)
                for each, (name, cdata) in zip(moved.parameters(), before, strict=True):
                    assert type(each) is torch.nn.Parameter
                    assert (id(each) == name, each._cdata == cdata) == (True, not swap)
                    assert getattr(each.grad, "dtype", None) == (target if set_grad else None)
                self.same(moved(x.to(target)), to_plain(moved)(x.to(target)))

    @modules(ENTRIES, allowed_dtypes=[torch.float32])
    @common_utils.parametrize("swap", [True, False])
    @common_utils.wrapSwapTensorsTest()
    def test_to_empty(self, device, dtype, module_info, training, swap):
        torch.__future__.set_swap_module_params_on_conversion(swap)
        for build, x, _ in self.builders(module_info, device, dtype, training):
            with torch.device("meta"):
                layer = build()
            before = [(id(each), each._cdata) for each in layer.parameters()]
            layer.to_empty(device=device)
            self.check_state(layer, device, dtype)
            for each, (name, cdata) in zip(layer.parameters(), before, strict=True):
                assert type(each) is torch.nn.Parameter
                assert (id(each) == name, each._cdata == cdata) == (swap, False)
            filled = build().to(device)
            layer.load_state_dict(filled.state_dict())
            self.same(layer(x), filled(x), atol=0, rtol=0)

    @modules(ENTRIES)
    def test_errors(self, device, dtype, module_info, training):
        for layer, x in self.layers(module_info, device, dtype, training):
            channels = torch.cat((x, x), -len(layer.stride) - 1)
            kin = {each for each in module_info.dtypes if each.is_complex == dtype.is_complex}
            other = x.to((kin - {dtype}).pop())
            for wrong in (channels, other, x[None, None], x.flatten()):
                with pytest.raises((RuntimeError, ValueError)) as plain:
                    to_plain(layer)(wrong)
                with pytest.raises(plain.type) as ours:
                    layer(wrong)
                assert str(ours.value) == str(plain.value)

    @common_device_type.onlyCUDA
    @modules(ENTRIES)
    def test_multiple_device_transfer(self, device, dtype, module_info, training):
        for layer, x in self.layers(module_info, device, dtype, training):
            for place in (device, "cpu", device):
                layer.to(place)
                self.check_state(layer, place, dtype)
                assert layer(x.to(place)).device == torch.device(place)

    @common_device_type.onlyCUDA
    @common_device_type.precisionOverride({torch.float32: 5e-2, torch.float64: 4e-4})
    @modules(ENTRIES)
    def test_cpu_gpu_parity(self, device, dtype, module_info, training):
        for layer, x in self.layers(module_info, "cpu", dtype, training, requires_grad=True):
            twin, there = deepcopy(layer).to(device), x.detach().to(device).requires_grad_()
            grad_output = torch.randn_like(layer(x))
            made = run(twin, there, grad_output.to(device))
            self.same(run(layer, x, grad_output), made, exact_device=False)


common_device_type.instantiate_device_type_tests(TestModule, globals())


class TestNN(OlderTestCase):
    """Torch's older tests, which bring their own code."""


def refuse(spec, _):
    with pytest.raises(autoup.InfeasibleError, match="dilation=2 cannot have smoothness=1"):
        spec.constructor(*spec.constructor_args)


def as_method(name, spec):
    run = refuse if name in INFEASIBLE else type(spec).__call__
    run = without_threshold(run) if name.endswith("_fast") else run
    return lambda case: run(spec, case)


for name, spec in SPECS.items():
    setattr(TestNN, f"test_{name}", as_method(name, spec))


def test_every_sample_of_torch_is_there():
    assert len(ENTRIES) == 4 * 3
    assert len(SPECS) == 4 * (10 + 3 * len(DECODERS))
    assert set(SPECS) > INFEASIBLE
