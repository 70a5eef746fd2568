"""What it takes to build decoders of whole encoders: seconds, each encoder in a process of its own.

The first decoder of a process also loads what captures need. After it the capture alone, the mirror
and the U-Net, which hold a capture each, take turns. The bigger the weights, the longer they are
drawn.

    python benchmarks/construction.py [--encoders NAME ...] [--quick]
"""

import argparse
import json
import subprocess
import sys
from functools import partial
from pathlib import Path
from time import perf_counter

from timing import machine, take_turns
from tqdm import tqdm

sys.path.append(str(Path(__file__).parents[1] / "tests"))

from support.backbones import build, without_head

from autoup import mirror_decoder, unet
from autoup.capturing.capture import capture

ENCODERS = ["resnet18", "resnet50", "efficientnet_b0", "densenet121", "convnext_tiny"]
SIZE = (1, 3, 224, 224)


def measure(name: str, seconds: float) -> list[float]:
    """Return the seconds of the first mirror, and medians of capture, mirror and U-Net."""
    encoder = without_head(build(name))
    start = perf_counter()
    mirror_decoder(encoder, SIZE)
    first = perf_counter() - start
    sides = {
        "capture": partial(capture, encoder, SIZE, None),
        "mirror": partial(mirror_decoder, encoder, SIZE),
        "U-Net": partial(unet, encoder, SIZE, 2),
    }
    return [first, *take_turns(sides, seconds).median(0).values.tolist()]


def main() -> None:
    """Print a Markdown table, a row for each encoder."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--encoders", nargs="+", default=ENCODERS)
    parser.add_argument("--seconds", type=float, default=20.0, help="for each encoder")
    parser.add_argument("--quick", action="store_true", help="one encoder, briefly")
    parser.add_argument("--alone", help=argparse.SUPPRESS)  # The encoder of such a process.
    options = parser.parse_args()
    if options.alone:
        print(json.dumps(measure(options.alone, options.seconds)))
        return
    if options.quick:
        options.encoders, options.seconds = ["squeezenet1_1"], 0.05
    print(f"\n{machine('cpu')}: seconds\n")
    print("| encoder | first mirror | capture | mirror | U-Net |\n|---|---|---|---|---|")
    for name in tqdm(options.encoders, unit="encoder"):
        command = [sys.executable, __file__, "--alone", name, "--seconds", str(options.seconds)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
        cells = [f"{each:.2f}" for each in json.loads(done.stdout)]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
