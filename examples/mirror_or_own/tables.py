"""The tables of mirrors and packages' own decoders, from the results file: nothing is trained."""

import argparse
import statistics
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "shared"))

from lines import find, read, table

RESULTS = Path(__file__).parent / "results.jsonl"
MODELS = {
    "Encodec": "sound",
    "DAC": "sound",
    "Mimi": "sound",
    "SNAC": "sound",
    "AutoencoderKL, diffusers": "picture",
    "AutoencoderTiny": "picture",
    "AutoencoderKL, MONAI": "picture",
    "VQ-VAE": "picture",
    "DCGAN": "picture",
}
ARMS = ("own", "mirror", "mirror, smoothness 0", "mirror, residual=False")
MEASURES = {  # Kind, key, heading, digits.
    "psnr": ("picture", "PSNR, dB, on crops held out", 2),
    "spectral": ("sound", "distance of spectra, on windows held out", 3),
    "snr": ("sound", "signal-to-noise ratio, dB, on windows held out", 2),
}


def arms_of(lines: list[dict]) -> list[str]:
    """Return the arms that there are lines of."""
    present = {line["arm"] for line in lines}
    return [arm for arm in ARMS if arm in present]


def listed(counts: dict[str, int]) -> str:
    """Return counts as words."""
    return ", ".join(f"{number} {name}" for name, number in counts.items()) or "none"


def reached(reach: list[int]) -> str:
    """Return how much of the output a code position reaches, in samples."""
    first, last, least, most = reach
    if last == most:
        return "all" if first == least else "all that follows"
    return str(last - first + 1)


def structure(lines: list[dict]) -> str:
    """Return what the decoders are made of."""
    rows = []
    for line in find(lines, what="structure"):
        layers, kinds = line["layers"], ("transposed", "convolutions", "norms")
        rest = {name: count for name, count in layers.items() if name not in kinds}
        odd, made = (" x ".join(map(str, each)) for each in line["odd"])
        rows.append(
            (line["model"], line["arm"], f"{line['parameters']:,}",
             *[str(layers.get(kind, 0)) for kind in kinds], listed(rest),
             listed(line["activations"]), reached(line["reach"]),
             "yes" if line["exact"] else "no", "exact" if odd == made else f"{made} for {odd}")
        )  # fmt: skip
    order = {(model, arm): number for number, (model, arm) in enumerate(
        (model, arm) for model in MODELS for arm in ARMS)}  # fmt: skip
    rows.sort(key=lambda row: order[row[:2]])
    head = ("model", "decoder", "parameters", "transposed", "convolutions", "norms", "others",
            "activations", "a code position reaches", "exact", "at an odd size")  # fmt: skip
    return table(head, rows)


def spread(values: list[float | None], digits: int) -> str:
    """Return the mean, and half of what lies between least and most."""
    if any(value is None or value != value for value in values):
        return "diverged"
    half = (max(values) - min(values)) / 2
    return f"{statistics.mean(values):.{digits}f} ± {half:.{digits}f}"


def trained(lines: list[dict], key: str) -> str:
    """Return a measure of all trainings, a row a model."""
    kind, _, digits = MEASURES[key]
    lines = find(lines, what="train")
    arms, rows = arms_of(lines), []
    for model in [each for each, of in MODELS.items() if of == kind]:
        cells = []
        for arm in arms:
            values = [line[key] for line in find(lines, model=model, arm=arm)]
            cells.append(spread(values, digits) if values else "-")
        if set(cells) != {"-"}:
            rows.append((model, *cells))
    return table(("model", *arms), rows)


def times(lines: list[dict], key: str = "seconds") -> str:
    """Return the seconds of 100 steps, a row a model."""
    arms, rows = arms_of(lines), []
    for model in MODELS:
        cells = [find(lines, model=model, arm=arm) for arm in arms]
        if any(cells):
            told = [each[0].get(key) if each else None for each in cells]
            rows.append((model, *["-" if value is None else f"{value:.2f}" for value in told]))
    return table(("model", *arms), rows)


def compose(lines: list[dict]) -> str:
    """Return all tables."""
    parts: list[str] = []
    if find(lines, what="structure"):
        parts += ["### What the decoders are made of", structure(lines)]
    trainings = find(lines, what="train")
    for key, (_, heading, _) in MEASURES.items():
        if any(key in line for line in trainings):
            parts += [f"### {heading[0].upper()}{heading[1:]}", trained(lines, key)]
    clocked = find(lines, what="time")
    for device in dict.fromkeys(line["device"] for line in clocked):
        here = find(clocked, device=device)
        parts += [f"### Seconds of 100 steps, {device}", times(here)]
        if any("captured" in line for line in here):
            parts += [f"### The same, each step one CUDA graph, {device}", times(here, "captured")]
    return "\n\n".join(parts)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", type=Path, nargs="?", default=RESULTS)
    print(compose(read(parser.parse_args().results)))


if __name__ == "__main__":
    main()
