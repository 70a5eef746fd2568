"""Each row equals a count of taps, for models that nobody here wrote."""

import warnings

import pytest
import torch
from support import models
from support.comparing import TRANSPOSED, assert_same, quietly, snapshot
from support.oracle import PLAIN, count_coverage, count_phases
from torch.utils.flop_counter import FlopCounterMode

import autoup
from autoup import audit


@pytest.mark.parametrize("name", models.each())
def test_every_transposed_layer_is_found_and_judged_as_a_count_of_taps_judges(name):
    model, sizes = models.build(name)
    before = snapshot(model)
    layers = {path: layer for path, layer in model.named_modules() if isinstance(layer, TRANSPOSED)}
    for size in sizes:
        report = quietly(lambda size=size: audit(model, size))
        rows = {row.name: row for row in report if row.kind == "transposed"}
        assert rows.keys() == layers.keys()
        shapes = record_shapes(model, layers, size)
        for path, layer in layers.items():
            assert_counts(rows[path], layer, *shapes[path])
        assert_products(report, model, size)
    assert_same(model, before)
    assert not model.training


def record_shapes(model, layers, size):
    shapes, handles = {}, []
    for path, layer in layers.items():

        def note(_layer, inputs, output, path=path):
            shapes[path] = inputs[0].shape, output.shape

        handles.append(layer.register_forward_hook(note))
    with torch.no_grad(), warnings.catch_warnings(action="ignore"):
        model(torch.randn(size))
    for handle in handles:
        handle.remove()
    return shapes


def assert_counts(row, layer, shape, made):
    assert row.in_size == tuple(shape[2:])
    assert row.out_size == tuple(made[2:])
    severe = False
    for axis, (k, s, p, a, d) in enumerate(
        zip(
            layer.kernel_size,
            layer.stride,
            layer.padding,
            layer.output_padding,
            layer.dilation,
            strict=True,
        )
    ):
        i, o = row.in_size[axis], row.out_size[axis]
        phases, covered = count_phases(k, s, d), count_coverage(i, o, k, s, p, d)
        assert row.phases[axis] == phases
        assert row.uncovered[axis] == covered.count(0)
        full = [phases[(y + p) % s] for y in range(o)]
        assert row.border[axis] == sum(c < f for c, f in zip(covered, full, strict=True))
        assert row.shift[axis] == -a / 2
        severe |= len(set(phases)) > 1 or 0 in covered
    assert row.even == all(len(set(phases)) == 1 for phases in row.phases)
    shifted = any(row.shift)
    assert row.severity in (
        ("severe",) if severe else ("warning",) if shifted else ("clean", "note")
    )
    assert row.spread == pytest.approx(autoup.phase_spread(layer), abs=1e-6)


def assert_products(report, model, size):
    """Compare with torch's own counter, which counts two operations for a product."""
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter, warnings.catch_warnings(action="ignore"):
        model(torch.randn(size))
    counts = {
        name.partition(".")[2]: sum(each.values())
        for name, each in counter.get_flop_counts().items()
    }
    for row in report:
        if row.kind == "transposed":
            assert 2 * row.multiply_adds == counts[row.name]


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize(("k", "s", "p", "a", "d"), [
    (3, 2, 1, 1, 1), (2, 2, 0, 0, 1), (4, 2, 1, 0, 1), (5, 3, 1, 2, 1), (1, 2, 0, 1, 1),
    (2, 2, 0, 1, 1), (4, 2, 0, 0, 2), (3, 4, 0, 0, 1), (4, 2, 1, 1, 1),
])  # fmt: skip
def test_layers_of_any_dimension_are_counted(dims, k, s, p, a, d):
    layer = PLAIN[dims](2, 3, k, s, p, a, dilation=d)
    size = (2, 2, *(5, 6, 4)[:dims])
    (row,) = audit(layer, size)
    with torch.no_grad():
        assert_counts(row, layer, size, layer(torch.zeros(size)).shape)
