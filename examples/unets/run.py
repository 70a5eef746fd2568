"""A U-Net of autoup against that of segmentation_models.pytorch, over one ResNet-18.

Both start from the same random encoder and see the same pictures: shapes and digits on photographs
(``scenes.py``). Measured are IoU and what is wrong near boundaries and elsewhere, on photographs
held out, at the size of the training and at an odd one, where the other is used in all the ways
that people use it. Every run is a line of the results file: stop the program when you like, and the
next call goes on. ``comparison.py`` makes the tables from that file without training.
"""

import argparse
import json
import multiprocessing
import statistics
import warnings
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

import comparison
import torch
from tqdm import tqdm


def prepare() -> None:
    """Set up a process: one thread, and no warnings of packages about their own insides."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")


def write(path: Path, lines: list[dict[str, object]]) -> None:
    """Append lines."""
    with path.open("a") as file:
        file.writelines(json.dumps(line, separators=(",", ":")) + "\n" for line in lines)


def train(arm: str, seed: int, steps: int, pictures: int) -> list[dict[str, object]]:
    """Train one, and return what is told of it."""
    import learning
    import nets

    model = nets.ARMS[arm](seed)
    trial = learning.Trial(model, seed, steps)
    for _ in range(steps):
        trial.step()
    about = {"arm": arm, "seed": seed, "steps": steps}
    lines: list[dict[str, object]] = [
        {"what": "train", **about, "parameters": nets.parameters(model), "loss": trial.curve()}
    ]
    trained = (nets.SIZE, nets.SIZE)
    cases = [(trained, "as it is"), (learning.ODD, "as it is")]
    if arm != "autoup":
        cases += [(learning.ODD, way) for way in learning.WAYS if way != "as it is"]
    for size, way in cases:
        told = learning.measure(model, size, way, pictures)
        lines.append({"what": "measure", **about, "size": size, "way": way, **told})
    return lines


def compare(count: int) -> list[dict[str, object]]:
    """Return the seconds and the memory of a step."""
    import learning
    import nets

    lines: list[dict[str, object]] = []
    for size in ((nets.SIZE, nets.SIZE), learning.ODD):
        times = learning.clock(0, count, size)
        medians = {arm: round(statistics.median(each), 4) for arm, each in times.items()}
        about = {"what": "time", "device": "CPU, one thread", "size": size, "rounds": count}
        lines.append({**about, "seconds": medians, "ratio": round(learning.ratio(times), 4)})
    for arm, build in nets.ARMS.items():
        held = learning.peak(build(0).train())
        lines.append({"what": "memory", "arm": arm, "mib": held})
    return lines


def fill(options: argparse.Namespace) -> None:
    """Do what the results file lacks."""
    lines = comparison.read(options.out)
    context = multiprocessing.get_context("spawn")
    if options.time and not comparison.find(lines, what="memory"):
        with ProcessPoolExecutor(1, context, prepare) as pool:  # Alone, for the sake of the clock.
            write(options.out, pool.submit(compare, options.count).result())
    done = {(line["arm"], line["seed"]) for line in comparison.find(lines, what="train")}
    todo = [(arm, seed) for seed in options.seeds for arm in options.arms]
    todo = [each for each in todo if each not in done and options.steps]
    with ProcessPoolExecutor(options.jobs, context, prepare) as pool:
        futures = [pool.submit(train, *each, options.steps, options.pictures) for each in todo]
        for future in tqdm(as_completed(futures), total=len(futures), desc="training", unit="run"):
            write(options.out, future.result())


def main() -> None:
    """Do what is not done yet, and print the comparison."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--quick", action="store_true", help="one seed, 20 steps, 16 pictures: a minute"
    )
    parser.add_argument("--steps", type=int, help="of each training: 2000; 0 for none")
    parser.add_argument("--seeds", type=int, nargs="+", help="0 1 2")
    parser.add_argument("--arms", nargs="+", choices=comparison.ARMS, default=[*comparison.ARMS])
    parser.add_argument("--time", action="store_true", help="measure time and memory of a step too")
    parser.add_argument("--count", type=int, default=40, help="steps of each that are timed")
    parser.add_argument("--jobs", type=int, default=2, help="processes side by side")
    parser.add_argument("--out", type=Path, help="the results file; with --quick under output/")
    options = parser.parse_args()
    quick = options.quick
    options.seeds = options.seeds or ([0] if quick else [0, 1, 2])
    options.pictures = 16 if quick else 256
    options.steps = (20 if quick else 2000) if options.steps is None else options.steps
    options.out = options.out or (Path("output/unets_quick.jsonl") if quick else comparison.RESULTS)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.touch()
    fill(options)
    print(comparison.compose(comparison.read(options.out)))


if __name__ == "__main__":
    main()
