"""Two gloo processes on this machine against one: run as a script, this file is what they run."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import traceback
import warnings
from argparse import Namespace
from datetime import timedelta
from functools import cache
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    set_model_state_dict,
)
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.nn import functional as F  # noqa: N812
from torch.nn.parallel import DistributedDataParallel

from autoup import (
    ArtifactWarning,
    AutoConvTranspose1d,
    AutoConvTranspose2d,
    AutoConvTranspose3d,
    UNet,
    mirror_decoder,
    phase_spread,
    unet,
)

pytestmark = [pytest.mark.slow, pytest.mark.together("distributed")]

EXAMPLE = Path(__file__).parents[2] / "examples" / "distributed_train.py"
STEPS, BATCH, LIMIT = 4, 8, 300  # Steps, samples of all processes together, seconds.
TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-4}
FULL = StateDictOptions(full_state_dict=True)


class ChannelsLast(nn.Module):
    def forward(self, x):
        return x.contiguous(memory_format=torch.channels_last)


def images(*first, **options):
    """Large enough for the ways of computing that `autoup.layers.dispatch` takes."""
    return nn.Sequential(
        *first,
        AutoConvTranspose2d(16, 8, 64, 128, **options),
        nn.ReLU(),
        AutoConvTranspose2d(8, 1, 128, 256, **options),
    )


def autoencoder():
    encoder = nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1), nn.GroupNorm(2, 8), nn.ReLU(), nn.Conv2d(8, 12, 3, 2, 1)
    )
    return nn.Sequential(encoder, mirror_decoder(encoder, (1, 3, 18, 23), smoothness=1))


def segmenter(**options):
    encoder = nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1),
        nn.GroupNorm(2, 8),
        nn.ReLU(),
        nn.Conv2d(8, 12, 3, 2, 1),
        nn.ReLU(),
    )
    bounded = {"output_activation": nn.Tanh(), **options}
    return nn.Sequential(unet(encoder, (1, 3, 18, 23), 2, **bounded))


def chain(*layers):
    return nn.Sequential(layers[0], nn.ReLU(), *layers[1:])


# A model and the shape of one sample. Odd channels do not divide by two processes.
CASES = {
    "images": (images, (16, 64, 64)),
    "images, channels last": (lambda: images(ChannelsLast()), (16, 64, 64)),
    "images, smoothness 1": (lambda: images(smoothness=1), (16, 64, 64)),
    "images, smoothness 2, default init": (
        lambda: images(smoothness=2, init="torch"),
        (16, 64, 64),
    ),
    "1d": (
        lambda: chain(AutoConvTranspose1d(6, 5, 10, 40), AutoConvTranspose1d(5, 3, 40, 83)),
        (6, 10),
    ),
    "1d, smoothness 1": (lambda: chain(AutoConvTranspose1d(5, 3, 10, 30, smoothness=1)), (5, 10)),
    "output padding": (lambda: chain(AutoConvTranspose2d(5, 3, 7, 15)), (5, 7, 7)),
    "output padding, smoothness 1": (
        lambda: chain(AutoConvTranspose2d(5, 3, (7, 6), (15, 18), smoothness=1)),
        (5, 7, 6),
    ),
    "groups, no bias": (
        lambda: chain(AutoConvTranspose2d(8, 4, 7, 21, groups=2, bias=False)),
        (8, 7, 7),
    ),
    "3d": (
        lambda: chain(
            AutoConvTranspose3d(4, 6, (2, 3, 5), (4, 9, 10)),
            AutoConvTranspose3d(6, 1, (4, 9, 10), (8, 18, 20), smoothness=1),
        ),
        (4, 2, 3, 5),
    ),
    "mirror decoder": (autoencoder, (3, 18, 23)),
    "U-Net": (segmenter, (3, 17, 21)),
    "U-Net, smoothness 1": (lambda: segmenter(smoothness=1, image_skip=True), (3, 18, 23)),
}
ENGINES = "ddp", "fsdp"
RUNS = [
    pytest.param(name, dtype, engine, id=f"{name}, {str(dtype)[6:]}, {engine}")
    for name in CASES
    for dtype in TOLERANCE
    for engine in ENGINES
]


def build(name, dtype):
    torch.manual_seed(0)
    torch.set_default_dtype(dtype)  # Single precision rounds as the threads share the work.
    try:
        with warnings.catch_warnings(action="ignore", category=ArtifactWarning):
            return CASES[name][0]()
    finally:
        torch.set_default_dtype(torch.float32)


def draw(name, dtype):
    """Every sample differs, so that a lost or wrongly averaged gradient shows."""
    generator = torch.Generator().manual_seed(1)
    size = (STEPS, BATCH, *CASES[name][1])
    return torch.randn(size, generator=generator, dtype=torch.float64).to(dtype)


def connect(model, engine, **options):
    if engine == "ddp":
        return DistributedDataParallel(model)
    if engine == "fsdp":
        for layer in model:
            if isinstance(layer, UNet):
                for part in (layer.encoder, *layer.decoder):
                    fully_shard(part, **options)
            fully_shard(layer, **options)
        fully_shard(model, **options)
    return model


def mean(value):
    """Return the mean over the processes, where there are several."""
    if dist.is_initialized():
        dist.all_reduce(value)
        value /= dist.get_world_size()
    return value


def train(name, dtype, engine=None, rank=0, world=1, **options):
    """Return losses, gathered parameters and an output, after steps of plain gradient descent.

    Unlike Adam, it shows a gradient that is off by a factor.
    """
    model, data = build(name, dtype), draw(name, dtype)
    with torch.no_grad():
        targets = torch.ones_like(model(data[0])).cumsum(0) / BATCH
    module = connect(model, engine, **options)
    optimiser = torch.optim.SGD(module.parameters(), lr=0.1, momentum=0.9)
    losses = []
    for x in data:
        made = module(x[rank::world]).to(targets.dtype)  # 2.9 takes no two dtypes.
        loss = F.mse_loss(made, targets[rank::world])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(mean(loss.detach().double()))
    with torch.no_grad():
        output = module(data[0][:2])
    state = get_model_state_dict(module, options=FULL)
    return {"losses": torch.stack(losses), "output": output, "state": state}


@cache
def train_alone(name, dtype):
    return train(name, dtype)


def start_on_meta(m):
    """Return the parameters that FSDP2 makes of a layer without values, and one output."""
    layer = fully_shard(AutoConvTranspose2d(6, 5, 7, 14, device="meta", smoothness=m))
    layer.to_empty(device="cpu")
    torch.manual_seed(0)
    layer.reset_parameters()
    with torch.no_grad():
        output = layer(torch.ones(2, 6, 7, 7))
    return {"output": output, "state": get_model_state_dict(layer, options=FULL)}


def load_on_meta(rank):
    """Return what FSDP2 makes of a one-process state that only the first process has."""
    name, dtype = "images, smoothness 1", torch.float32
    state = build(name, dtype).state_dict() if rank == 0 else {}
    model = connect(build(name, dtype).to("meta"), "fsdp")
    model.to_empty(device="cpu")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(torch.nan)
    spread = StateDictOptions(full_state_dict=True, broadcast_from_rank0=True)
    set_model_state_dict(model, state, options=spread)
    with torch.no_grad():
        return model(draw(name, dtype)[0][:2])


def train_in_bfloat16(rank, world):
    name, dtype = "images, smoothness 1", torch.float32
    policy = MixedPrecisionPolicy(torch.bfloat16, reduce_dtype=torch.float32)
    return train(name, dtype, "fsdp", rank, world, mp_policy=policy)


def attempt(work, *arguments):
    """Return what the work returns, or the text of its error: all processes fail alike."""
    try:
        return work(*arguments)
    except Exception:
        return traceback.format_exc()


def work(folder):
    """Run in each of the processes; the first writes what all of them found together."""
    warnings.simplefilter("error")
    # What PyTorch says of its own layers, too.
    warnings.filterwarnings("ignore", "Grad strides do not match bucket view strides")
    warnings.filterwarnings("ignore", "DTensor random operators may not have complete support")
    dist.init_process_group("gloo", timeout=timedelta(seconds=60))
    rank, world = dist.get_rank(), dist.get_world_size()
    found = {run.values: attempt(train, *run.values, rank, world) for run in RUNS}
    for m in (0, 1, 2):
        found["meta", m] = attempt(start_on_meta, m)
    found["load"] = attempt(load_on_meta, rank)
    found["bfloat16"] = attempt(train_in_bfloat16, rank, world)
    found["world"] = world
    if rank == 0:
        torch.save(found, Path(folder, "found.pt"))
    dist.barrier()
    dist.destroy_process_group()
    os._exit(0)  # See `leave` in the example.


def launch(*command, cwd, processes=2):
    """Run a script under torchrun, on the loopback device alone; nothing outlives the limit."""
    loopback = "lo" if sys.platform == "linux" else "lo0"
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": loopback}
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--local-addr", "127.0.0.1"]
    with subprocess.Popen(
        [sys.executable, *torchrun, "--nproc-per-node", str(processes), *map(str, command)],
        cwd=cwd,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            output, errors = process.communicate(timeout=LIMIT)
        except subprocess.TimeoutExpired:
            process.terminate()  # torchrun then ends its processes, too.
            output, errors = process.communicate()
            pytest.fail(f"no end after {LIMIT} seconds:\n{output}\n{errors}")
    return subprocess.CompletedProcess(command, process.returncode, output, errors)


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    folder = tmp_path_factory.mktemp("two")
    done = launch(__file__, folder, cwd=folder)
    assert done.returncode == 0, done.stderr
    found = torch.load(folder / "found.pt", weights_only=False)
    assert found["world"] == 2
    return found


def of(found, key):
    """Return the finding, or fail with the error of the processes."""
    if isinstance(found[key], str):
        without_fsdp(found[key])
        pytest.fail(found[key])
    return found[key]


def without_fsdp(said):
    """Expect a failure where it is FSDP2's own: that of 2.6 runs on no CPU, whatever the layer."""
    from support import versions  # Not where this file runs as a script.

    if versions.TORCH < (2, 7) and "'Stream' object has no attribute 'record_event'" in said:
        pytest.xfail("FSDP2 of PyTorch 2.6 needs an accelerator")


def assert_near(actual, expected, tolerance):
    scale = expected.abs().max().item()
    torch.testing.assert_close(actual, expected, rtol=0, atol=tolerance * scale)


@pytest.mark.parametrize(("name", "dtype", "engine"), RUNS)
def test_two_processes_train_as_one(found, name, dtype, engine):
    two, one = of(found, (name, dtype, engine)), train_alone(name, dtype)
    assert_near(two["losses"], one["losses"], TOLERANCE[dtype])
    assert list(two["state"]) == list(one["state"])
    for key, start in build(name, dtype).state_dict().items():
        moved = one["state"][key] - start
        assert_near(two["state"][key] - start, moved, 1e3 * TOLERANCE[dtype])
        assert moved.abs().max() > 1e-4, key


@pytest.mark.parametrize(("name", "dtype", "engine"), RUNS)
def test_the_gathered_state_loads_strictly_into_one_process(found, name, dtype, engine):
    two, model = of(found, (name, dtype, engine)), build(name, dtype)
    model.load_state_dict(two["state"], strict=True)
    with torch.no_grad():
        assert_near(model(draw(name, dtype)[0][:2]), two["output"], TOLERANCE[dtype] / 10)


@pytest.mark.parametrize("m", [0, 1, 2])
def test_a_layer_on_meta_starts_under_fsdp_with_as_little_grid(found, m):
    started = of(found, ("meta", m))
    layer = AutoConvTranspose2d(6, 5, 7, 14, smoothness=m)
    layer.load_state_dict(started["state"], strict=True)
    with torch.no_grad():
        assert_near(layer(torch.ones(2, 6, 7, 7)), started["output"], 1e-6)
    plain = nn.ConvTranspose2d(6, 5, layer.kernel_size, layer.stride, layer.padding)
    plain.load_state_dict(started["state"], strict=True)
    least, most = (0, 1e-5) if m else (0.3, 0.75)  # Damped, of 0.9 where taps are drawn alone.
    assert least <= phase_spread(layer) < most
    torch.manual_seed(0)
    alone = AutoConvTranspose2d(6, 5, 7, 14, smoothness=m, device="meta").to_empty(device="cpu")
    torch.manual_seed(0)
    alone.reset_parameters()
    assert 0.5 < plain.weight.std() / alone.weight.std() < 2
    assert not torch.equal(plain.weight[:3], plain.weight[3:]), "both processes drew the same"
    assert plain.bias.count_nonzero() == 0


def test_a_state_of_one_process_reaches_shards_on_meta(found):
    name, dtype = "images, smoothness 1", torch.float32
    with torch.no_grad():
        assert_near(of(found, "load"), build(name, dtype)(draw(name, dtype)[0][:2]), 1e-5)


def test_mixed_precision_keeps_single_weights_and_trains_alike(found):
    name = "images, smoothness 1"
    two, one = of(found, "bfloat16"), train_alone(name, torch.float32)
    assert two["output"].dtype == torch.bfloat16
    assert {values.dtype for values in two["state"].values()} == {torch.float32}
    assert_near(two["losses"], one["losses"], 0.02)
    for key, start in build(name, torch.float32).state_dict().items():
        assert_near(two["state"][key] - start, one["state"][key] - start, 0.05)
    model = build(name, torch.float32)
    model.load_state_dict(two["state"], strict=True)
    x = draw(name, torch.float32)[0][:2]
    with torch.no_grad():
        assert_near(model.to(torch.bfloat16)(x.bfloat16()).float(), two["output"].float(), 0.01)


def rows(done):
    """Return the losses that the example prints, as text, by step."""
    assert done.returncode == 0, done.stderr
    return dict(re.findall(r"^ +(\d+) +(\d\.\d{8}) +\d", done.stdout, re.MULTILINE))


def assert_same(actual, expected, steps):
    assert list(actual) == list(map(str, steps))
    wanted = {step: float(expected[step]) for step in actual}
    assert {step: float(loss) for step, loss in actual.items()} == pytest.approx(wanted, rel=1e-5)


TRAIN = (EXAMPLE, "--batch", 30, "--steps", 6, "--save-every", 3, "--checkpoint")


def stopped(source, target, step):
    """Copy a folder of checkpoints as a run leaves it that stopped after ``step`` steps."""
    target.mkdir()
    shutil.copytree(source / f"step-{step:08}", target / f"step-{step:08}")
    return target


def alone(*command, cwd):
    from support import versions

    return subprocess.run(
        [sys.executable, "-W", "error", *versions.FLAGS, *map(str, command)],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=LIMIT,
    )


@pytest.fixture(scope="module")
def never_stopped(tmp_path_factory):
    """What two processes print that train to the end with DDP, and where they saved."""
    folder = tmp_path_factory.mktemp("example")
    return launch(*TRAIN, folder / "saved", cwd=folder), folder / "saved"


def test_the_example_loses_alike_in_one_and_two_processes(never_stopped, tmp_path):
    done, saved = never_stopped
    one = alone(*TRAIN, "one", cwd=tmp_path)
    assert_same(rows(done), rows(one), range(1, 7))
    assert "ddp, processes: 2, cpu." in done.stdout
    assert done.stdout.count("PSNR") == 1
    assert f"Checkpoint: {saved / 'step-00000006'}" in done.stdout
    assert {path.name for path in saved.iterdir()} == {"step-00000003", "step-00000006"}
    assert len(set(rows(one).values())) == 6


def test_the_resumed_example_continues_with_the_same_losses(never_stopped, tmp_path):
    done, saved = never_stopped
    folder = stopped(saved, tmp_path / "again", 3)
    again = launch(*TRAIN, folder, "--resume", cwd=tmp_path)
    wanted = rows(done)
    assert rows(again) == {step: wanted[step] for step in ("4", "5", "6")}
    assert f"Resumed from {folder / 'step-00000003'}." in again.stdout


def test_another_engine_and_then_another_number_of_processes_go_on(never_stopped, tmp_path):
    done, saved = never_stopped
    folder = stopped(saved, tmp_path / "sharded", 3)
    sharded = launch(
        *TRAIN, folder, "--resume", "--engine", "fsdp", "--save-every", 1, cwd=tmp_path
    )
    without_fsdp(sharded.stderr)
    assert_same(rows(sharded), rows(done), range(4, 7))
    folder = stopped(folder, tmp_path / "one", 5)
    one = alone(*TRAIN, folder, "--resume", cwd=tmp_path)
    assert_same(rows(one), rows(done), [6])


def test_a_batch_that_two_processes_cannot_share_is_refused_once(tmp_path):
    done = launch(EXAMPLE, "--batch", 31, cwd=tmp_path)
    assert done.returncode != 0
    assert done.stderr.count("--batch 31 must be a multiple of the 2 processes") == 1
    assert not re.sub(r"^\[Gloo\].*\n", "", done.stdout, flags=re.MULTILINE)  # Said up to 2.9.
    assert "SystemExit" not in done.stderr


def load_example():
    spec = importlib.util.spec_from_file_location("distributed_train", EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("changes", "found", "saved", "message"),
    [
        ({"batch": 31}, False, {}, "--batch 31 must be a multiple of the 2 processes"),
        ({"batch": 860}, False, {}, "at most the 858 tiles"),
        ({"resume": True, "checkpoint": None}, False, {}, "--checkpoint, which was not given"),
        ({"resume": True}, False, {}, "--resume finds no checkpoint in folder"),
        ({}, True, {"step": 3}, "step-3 is there already: add --resume"),
        ({"resume": True}, True, {"step": 3, "seed": 5}, "--seed 5 --batch 30"),
        ({"resume": True}, True, {"step": 6}, "--steps must be above 6"),
        ({}, False, {}, None),
        ({"resume": True}, True, {"step": 3}, None),
    ],
)
def test_the_example_names_what_is_wrong(changes, found, saved, message, monkeypatch):
    monkeypatch.setattr(dist, "get_world_size", lambda: 2)
    options = {"batch": 30, "steps": 6, "seed": 0, "checkpoint": Path("folder"), "resume": False}
    progress = {"step": 0, "seed": 0, "batch": 30, **saved}
    path = Path("folder/step-3") if found else None
    problem = load_example().find_problem(Namespace(**{**options, **changes}), 858, path, progress)
    assert problem is None if message is None else message in problem


def test_a_checkpoint_that_was_not_written_to_its_end_is_passed_over(tmp_path):
    newest = load_example().newest
    assert newest(None) is None
    assert newest(tmp_path) is None
    for step, complete in ((90, True), (100, True), (110, False)):
        folder = tmp_path / f"step-{step:08}"
        folder.mkdir()
        (folder / "__0_0.distcp").touch()
        if complete:
            (folder / ".metadata").touch()
    assert newest(tmp_path) == tmp_path / "step-00000100"


if __name__ == "__main__":
    work(sys.argv[1])
