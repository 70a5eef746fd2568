"""What the guarantee costs: a training step with ``smoothness`` against the plain layer.

First both are checked to be the same function, output and gradients, in double precision: the
smooth layer and a plain one whose kernel is projected with the matrices written out. Then all
layers take turns on the same input, without gradients, and forward and backward; medians, and
ratios to plain. Where a map is small the kernel is most of the work.
"""

import argparse
import statistics
import time

import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812
from tqdm import tqdm

from autoup import AutoConvTranspose2d, AutoConvTranspose3d


def check_equality(order: int) -> None:
    """Raise an AssertionError where the layer is not the projection written out."""
    torch.manual_seed(0)
    layer = AutoConvTranspose2d(
        6, 4, 8, 16, kernel_size=4, smoothness=order, init="torch", dtype=torch.float64
    )
    rows, columns = torch.meshgrid(*[torch.arange(4, dtype=torch.float64)] * 2, indexing="ij")
    powers = [torch.ones(4, 4), rows, columns][: 1 if order == 1 else 3]
    signs = [(-1) ** rows, (-1) ** columns, (-1) ** (rows + columns)]  # The grid frequencies.
    conditions = torch.stack([(power * sign).flatten() for power in powers for sign in signs])
    projector = torch.eye(16) - torch.linalg.pinv(conditions) @ conditions
    weight = layer.weight.detach().clone().requires_grad_()
    x = torch.randn(2, 6, 8, 8, dtype=torch.float64)
    wanted = F.conv_transpose2d(
        x, (weight.flatten(2) @ projector).view_as(weight), layer.bias, 2, 1
    )
    made = layer(x)
    torch.testing.assert_close(made, wanted, rtol=0, atol=1e-13)
    cotangent = torch.randn_like(made)
    made.backward(cotangent)
    wanted.backward(cotangent)
    torch.testing.assert_close(layer.weight.grad, weight.grad, rtol=0, atol=1e-12)
    torch.testing.assert_close(layer.to_plain()(x), made, rtol=0, atol=1e-13)


def time_calls(
    layers: dict[str, nn.Module], x: torch.Tensor, rounds: int, *, train: bool
) -> dict[str, float]:
    """Return the median milliseconds of each layer, in turns; backward too where it is trained."""
    times: dict[str, list[float]] = {name: [] for name in layers}
    for turn in tqdm(range(rounds + 2), desc=f"{tuple(x.shape)}, {train=}", unit="round"):
        for name, layer in layers.items():
            layer.zero_grad()
            start = time.perf_counter()
            with torch.set_grad_enabled(train):
                made = layer(x)
            if train:
                made.sum().backward()
            if turn >= 2:
                times[name].append(1e3 * (time.perf_counter() - start))
    return {name: statistics.median(each) for name, each in times.items()}


def count_kept(layer: nn.Module, x: torch.Tensor) -> int:
    """Return the bytes that a training step holds until its end: output, kernels, gradients."""
    seen: dict[int, int] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        seen[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        made = layer(x)
        note(made)
        made.sum().backward()
    return sum(seen.values()) + sum(each.grad.nbytes for each in (x, *layer.parameters()))


def compare(dims: int, batch: int, channels: tuple[int, int], size: int, rounds: int) -> list[str]:
    """Return a row for inference and one for training: milliseconds of plain, ratios to it."""
    x = torch.randn(batch, channels[0], *[size] * dims, requires_grad=True)
    auto = (AutoConvTranspose2d, AutoConvTranspose3d)[dims - 2]
    smooth = [auto(*channels, size, 2 * size, kernel_size=4, smoothness=order) for order in (1, 2)]
    plain = (nn.ConvTranspose2d, nn.ConvTranspose3d)[dims - 2](*channels, 4, 2, 1)
    layers = {"plain": plain, "1": smooth[0], "2": smooth[1], "baked": smooth[0].to_plain()}
    rows = []
    for train in (False, True):
        least, *others = time_calls(layers, x, rounds, train=train).values()
        cells = "".join(f"{ms / least:>14.2f}" for ms in others)
        name = f"{dims}-d, {batch} x {channels[0]} -> {channels[1]}, {size}"
        rows.append(f"{name:<24}{least:>9.2f}{cells}")
    kept = [count_kept(layer, x) for layer in (plain, smooth[0])]
    rows[1] += f"{kept[1] / kept[0]:>14.3f}"
    return rows


def main() -> None:
    """Check, measure, print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--sizes", type=int, nargs="+", default=[32, 64, 128], help="input, pixels")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    for order in (1, 2):
        check_equality(order)
    cases = [(2, batch, (512, 256), 4) for batch in (1, 16, 64)]
    cases += [(2, 4, (128, 64), size) for size in options.sizes]
    cases += [(3, 1, (256, 128), 4), (3, 2, (128, 64), 4)]
    cases += [(3, 2, (64, 32), max(2, size // 4)) for size in options.sizes[-2:]]
    tables = zip(*(compare(*case, options.rounds) for case in cases), strict=True)
    heads = "".join(f"{head:>14}" for head in ("smoothness 1", "smoothness 2", "baked"))
    more = f"{'bytes, 1':>14}"  # That a step keeps until its end.
    for rows, title in zip(tables, ("without gradients", "forward and backward"), strict=True):
        print(f"\nk4 s2, {title}: ms of the plain layer, ratios to it")
        print(f"{'batch, channels, input':<24}{'plain':>9}{heads}{more if 'back' in title else ''}")
        print("\n".join(rows))


if __name__ == "__main__":
    main()
