"""How the layer's cost grows with size, channels and batch, and where it loses to the plain one.

Each row changes one quantity; both sides take turns. A ratio below 1 is a loss.

    python benchmarks/growth.py [--quick]
"""

import argparse

import torch
from speed import Case, check, measure
from timing import FORMATS, MODES, devices, geometric_mean, machine, milliseconds
from tqdm import tqdm

SWEEPS = {
    "size, batch 1, 32→16": [Case(1, 32, 16, size) for size in (16, 32, 64, 128, 256, 512)],
    "channels, batch 4, 32²": [Case(4, c, c // 2, 32) for c in (8, 16, 32, 64, 128, 256, 512)],
    "batch, 64→32, 32²": [Case(batch, 64, 32, 32) for batch in (1, 2, 4, 8, 16, 32, 64)],
    "size of an image head, batch 1, 64→3": [
        Case(1, 64, 3, size) for size in (16, 32, 64, 128, 256, 512)
    ],
    "batch of an image head, 64→3, 32²": [
        Case(batch, 64, 3, 32) for batch in (1, 2, 4, 8, 16, 32, 64)
    ],
    "output channels, batch 16, 32→, 32²": [Case(16, 32, made, 32) for made in range(1, 9)],
}


def main() -> None:
    """Print a Markdown table for each device."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=0.7, help="for each cell")
    parser.add_argument("--quick", action="store_true", help="one small case, briefly")
    options = parser.parse_args()
    sweeps = SWEEPS
    if options.quick:
        sweeps, options.seconds = {"quick": [Case(1, 8, 4, 8)]}, 0.05
    columns = [(mode, form) for mode in MODES for form in FORMATS]
    for device in devices():
        print(f"\n{machine(device)}, float32, eager: milliseconds of the layer, times faster\n")
        for name, cases in sweeps.items():
            print(f"\n**{name}**\n\n| case | {' | '.join(map(', '.join, columns))} |")
            print(f"|{'---|' * (len(columns) + 1)}")
            gains = []
            for case in tqdm(cases, desc=name):
                check(case, device)
                cells = []
                for mode, form in columns:
                    _, after, (_, gain, _) = measure(
                        case, form, mode == "training", device, torch.float32, options.seconds
                    )
                    gains.append(gain)
                    cells.append(f"{milliseconds(after)} ({gain:.2f})")
                print(f"| {case} | {' | '.join(cells)} |", flush=True)
            print(f"\nGeometric mean {geometric_mean(gains):.2f}, lowest {min(gains):.2f}")


if __name__ == "__main__":
    main()
