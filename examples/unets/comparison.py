"""The tables of both U-Nets from the results file: nothing is trained."""

import argparse
import statistics
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "shared"))

from lines import find, read, table

RESULTS = Path(__file__).parent / "results.jsonl"
ARMS = {"autoup": "`autoup.unet`", "smp": "segmentation_models.pytorch"}
CLASSES = ("background", "ellipse", "polygon", "outline", "digit")
MEASURES = {  # Key: heading, digits.
    "iou": ("IoU, mean of the classes", 3),
    "boundary": ("wrong near boundaries, %", 2),
    "interior": ("wrong elsewhere, %", 2),
}


def spread(values: list[float], digits: int) -> str:
    """Return the mean, and half of what lies between least and most."""
    if any(value != value for value in values):
        return "diverged"
    half = (max(values) - min(values)) / 2
    return f"{statistics.mean(values):.{digits}f} ± {half:.{digits}f}"


def by_size(size: list[int]) -> str:
    """Return a size as it is written."""
    return " x ".join(map(str, size))


def quality(lines: list[dict]) -> str:
    """Return what both say of pictures they have not seen, a row a size, a U-Net and a way."""
    rows, measured = [], find(lines, what="measure")
    for size in _distinct(measured, "size"):
        for arm, name in ARMS.items():
            here = find(measured, size=size, arm=arm)
            for way in _distinct(here, "way"):
                values = find(here, way=way)
                cells = [
                    spread([line[key] for line in values], digits)
                    for key, (_, digits) in MEASURES.items()
                ]
                rows.append((by_size(size), name, way, *cells))
    return table(("size", "U-Net", "input", *[heading for heading, _ in MEASURES.values()]), rows)


def _distinct(lines: list[dict], key: str) -> list:
    return [each for n, line in enumerate(lines) if (each := line[key]) not in
            [other[key] for other in lines[:n]]]  # fmt: skip


def overlaps(lines: list[dict]) -> str:
    """Return the IoU of each class at the size of the training, a row a U-Net."""
    rows, measured = [], find(lines, what="measure", way="as it is")
    measured = find(measured, size=measured[0]["size"])
    for arm, name in ARMS.items():
        values = [line["classes"] for line in find(measured, arm=arm)]
        if values:
            rows.append((name, *[spread(list(each), 3) for each in zip(*values, strict=True)]))
    return table(("U-Net", *CLASSES), rows)


def curves(lines: list[dict]) -> str:
    """Return the loss along the training, a row a U-Net."""
    trained = find(lines, what="train")
    rows, parts = [], len(trained[0]["loss"])
    picked = sorted({max(round(part * parts), 1) - 1 for part in (0.05, 0.1, 0.25, 0.5, 0.75, 1)})
    for arm, name in ARMS.items():
        values = [[line["loss"][n] for n in picked] for line in find(trained, arm=arm)]
        if values:
            rows.append((name, *[spread(list(each), 3) for each in zip(*values, strict=True)]))
    steps = trained[0]["steps"]
    told = [f"{n * steps // parts + 1:,} to {(n + 1) * steps // parts:,}" for n in picked]
    return table(("steps", *told), rows)


def costs(lines: list[dict]) -> str:
    """Return parameters, the median seconds of a step in turns, and its memory."""
    rows, clocked = [], find(lines, what="time")
    for arm, name in ARMS.items():
        counts = {line["parameters"] for line in find(lines, what="train", arm=arm)}
        held = [line["mib"] for line in find(lines, what="memory", arm=arm)]
        cells = [f"{line['seconds'][arm]:.3f}" for line in clocked]
        memory = f"{held[-1]:.1f}" if held else "-"
        rows.append((name, " or ".join(f"{n:,}" for n in sorted(counts)), *cells, memory))
    ratios = [f"{line['ratio']:.3f}" for line in clocked]
    rows.append(("ratio", "", *ratios, ""))
    told = [f"seconds of a step at {by_size(line['size'])}, {line['device']}" for line in clocked]
    return table(
        ("U-Net", "parameters", *told, "MiB of a step at most, without the optimiser's"), rows
    )


def compose(lines: list[dict]) -> str:
    """Return all comparison."""
    parts: list[str] = []
    if find(lines, what="measure"):
        parts += ["### Pictures held out", quality(lines)]
        parts += ["### IoU of each class", overlaps(lines)]
    if find(lines, what="train"):
        parts += ["### Loss along the training", curves(lines)]
        parts += ["### Cost", costs(lines)]
    return "\n\n".join(parts)


def main() -> None:
    """Print the comparison."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", type=Path, nargs="?", default=RESULTS)
    print(compose(read(parser.parse_args().results)))


if __name__ == "__main__":
    main()
