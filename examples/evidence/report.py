"""Tables and figures of the evidence, from the results file alone: nothing is trained."""

import argparse
import statistics
import sys
from collections.abc import Iterable
from pathlib import Path

import figures
from decoders import KINDS

sys.path.append(str(Path(__file__).parents[1] / "shared"))

from lines import read

RESULTS = Path(__file__).parent / "results.jsonl"
TASKS = ("photographs", "vae", "gan", "super_resolution", "ecg", "no_bottleneck")
COMPARE = ("kinds", "starts", "parameters", "time")
# Of each task: key and heading of its quality, 1 where more is better; its other measures.
QUALITY = {
    "photographs": ("psnr", "PSNR dB", 1),
    "vae": ("nats", "negative bound, nats", -1),
    "gan": ("distance", "Fréchet distance", -1),
    "super_resolution": ("psnr", "PSNR dB", 1),
    "ecg": ("snr", "SNR dB", 1),
    "no_bottleneck": ("psnr", "PSNR dB", 1),
}
RESIDUAL = {"residual": "residual grid", "constants": "grid on constants"}
OTHERS = {
    "photographs": RESIDUAL,
    "vae": {"samples": "grid of samples", "far": "of far samples"},
    "gan": {"before": "grid before tanh", "after": "after tanh", "confidence": "confidence",
            "diversity": "diversity, bits"},
    "super_resolution": RESIDUAL,
    "ecg": RESIDUAL,
    "no_bottleneck": {"residual": "residual grid"},
}  # fmt: skip
RULED = ("photographs", "super_resolution", "ecg", "vae")
PLAIN = ("k2 s2", "k4 s2")
TENTH = {"vae": 0.1}  # dB that a unit of quality counts for; 1 elsewhere.
COMMON = ("parameters", "time")
SMOOTH = "k4 points 1"
LIBRARY = "fan-in"  # What the default start, damped, is under the promise.
FREE = ("nearest + conv3", "bilinear + conv3")  # Without a grid on constants, whatever learnt.
DIGITS = {"vae": 1, "gan": 0, "ecg": 1}  # Of the quality in the summary.
BEHIND = 0.1  # dB
BEHIND_NATS = 0.5


class Results:
    """The lines of a results file, and the numbers in them."""

    def __init__(self, lines: list[dict]) -> None:
        self.lines = lines
        self.runs = [line for line in lines if line["task"] in TASKS]

    def values(self, key: str, **which: str) -> list[float]:
        """Return a measure of the runs that match, a seed each."""
        return [run[key] for run in self.runs if all(run[k] == v for k, v in which.items())]

    def by_seed(self, key: str, **which: str) -> dict[int, float]:
        """Return a measure of the runs that match, by seed."""
        found = {run["seed"]: run[key] for run in self.runs
                 if all(run[k] == v for k, v in which.items())}  # fmt: skip
        return dict(sorted(found.items()))

    def clock(self, task: str, kind: str, compare: str, key: str) -> float | None:
        """Return what was timed or counted of a kind."""
        compare = "parameters" if compare == "parameters" else "kinds"
        found = [line[key] for line in self.lines if line["task"] == "time" and
                 (line["of"], line["kind"], line["compare"]) == (task, kind, compare)]  # fmt: skip
        return found[-1] if found else None

    def original(self, task: str) -> dict:
        """Return what was measured of the data of a task."""
        found = [line for line in self.lines if line["task"] == "originals" and line["of"] == task]
        return found[-1] if found else {}


def median_and_range(values: list[float], digits: str) -> str:
    """Return "median [least, most]"."""
    if not values:
        return "-"
    middle = format(statistics.median(values), digits)
    if len(values) == 1:
        return middle
    return f"{middle} [{min(values):{digits}}, {max(values):{digits}}]"


def tabulate(rows: Iterable[list[str]]) -> str:
    """Return a table in Markdown, its first row the head, with kinds as the library calls them."""
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    for kind, name in figures.NAMES.items():
        lines = [line.replace(kind, name) for line in lines]
    return "\n".join([lines[0], "|---" * (lines[0].count(" | ") + 1) + "|", *lines[1:]])


def measures(results: Results, task: str, **which: str) -> list[str]:
    """Return the cells of what was measured."""
    key = QUALITY[task][0]
    cells = [median_and_range(results.values(key, task=task, **which), ".2f")]
    for key in OTHERS[task]:
        cells.append(median_and_range(results.values(key, task=task, **which), ".2g"))
    return cells


def tabulate_kinds(results: Results, task: str, compare: str) -> str | None:
    """Return the table of the kinds: all, or those of equal size or time."""
    if not results.values("steps", task=task, compare=compare):
        return None
    rows = [["kind", QUALITY[task][1], *OTHERS[task].values(), "ms a step", "parameters", "steps"]]
    for kind in KINDS:
        here = compare
        steps = results.values("steps", task=task, compare=here, kind=kind)
        if not steps and compare != "kinds" and (kind == "k4 s2" or (
                kind in figures.PROMISED and compare == "parameters")):  # fmt: skip
            here = "kinds"  # What the others are made equal to.
            steps = results.values("steps", task=task, compare=here, kind=kind)
        if steps:
            ms = results.clock(task, kind, here, "ms")
            count = results.clock(task, kind, here, "parameters")
            timed = ["-", "-"] if ms is None else [f"{ms:.1f}", f"{count:,}"]
            cells = measures(results, task, compare=here, kind=kind)
            rows.append([kind, *cells, *timed, f"{steps[0]:,}"])
    own = results.original(task)
    if compare == "kinds" and (QUALITY[task][0] in own or set(OTHERS[task]) & set(own)):
        cells = [f"{own[key]:.2g}" if key in own else "-" for key in (QUALITY[task][0],
                 *OTHERS[task])]  # fmt: skip
        rows.append(["(originals)", *cells, "-", "-", "-"])
    return tabulate(rows)


def starts_of(results: Results, task: str, kind: str) -> dict[str, dict[str, str]]:
    """Return the starts of a kind, and where their runs stand."""
    places = {run["start"]: {"compare": "starts", "start": run["start"]} for run in results.runs
              if (run["task"], run["compare"], run["kind"]) == (task, "starts", kind)}  # fmt: skip
    own = next((run["start"] for run in results.runs if (run["task"], run["compare"], run["kind"])
                == (task, "kinds", kind)), None)  # fmt: skip
    if places and own:
        places[own] = {"compare": "kinds", "start": own}
    return places


def tabulate_starts(results: Results, task: str) -> str | None:
    """Return the table of the starts of each kind."""
    rows = [["kind", "start", QUALITY[task][1], *OTHERS[task].values()]]
    for kind in KINDS:
        for start, where in starts_of(results, task, kind).items():
            rows.append([kind, start, *measures(results, task, kind=kind, **where)])
    return tabulate(rows) if len(rows) > 1 else None


def glance(results: Results, task: str, **which: str) -> str:
    """Return median quality / grid of the runs of a task that match."""
    quality = results.values(QUALITY[task][0], task=task, **which)
    grid = results.values(next(iter(OTHERS[task])), task=task, **which)
    if not quality:
        return "-"
    digits = DIGITS.get(task, 2)
    return f"{statistics.median(quality):.{digits}f} / {statistics.median(grid):.2g}"


def summarise(results: Results) -> str:
    """Return the table of all kinds at one look."""
    tasks = [task for task in QUALITY if results.values("steps", task=task, compare="kinds")]
    rows = [["kind", *(f"{task}, {QUALITY[task][1]}" for task in tasks), "time"]]
    for kind in KINDS:
        cells = [glance(results, task, compare="kinds", kind=kind) for task in tasks]
        if set(cells) != {"-"}:
            rows.append([kind, *cells, relative_time(results, tasks, kind)])
    return tabulate(rows)


def summarise_equal(results: Results) -> str:
    """Return the table of decoders of equal size, and of equal time."""
    cases = [(task, compare) for task in ("photographs", "vae") for compare in COMMON]
    rows = [["kind", *(f"{task}, equal {compare}" for task, compare in cases)]]
    for kind in KINDS:
        cells = []
        for task, compare in cases:
            found = glance(results, task, compare=compare, kind=kind)
            if found == "-" and (kind == "k4 s2" or (kind, compare) == (SMOOTH, "parameters")):
                found = glance(results, task, compare="kinds", kind=kind)  # Equal as it is.
            cells.append(found)
        if set(cells) != {"-"}:
            rows.append([kind, *cells])
    return tabulate(rows)


def relative_time(results: Results, tasks: Iterable[str], kind: str) -> str:
    """Return the median over the tasks of the time of a step, with nearest + conv3 as 1."""
    pairs = ((results.clock(task, kind, "kinds", "ms"),
              results.clock(task, "nearest + conv3", "kinds", "ms")) for task in tasks)  # fmt: skip
    shares = [ms / least for ms, least in pairs if ms and least]
    return f"{statistics.median(shares):.2f}" if shares else "-"


def judge(results: Results) -> str:
    """Return, for every promise and task, what it must show.

    The grid as a share of that of free k4 s2, what the originals have of their own taken off both;
    the lead in quality over k4 s2, and over the better of the kinds without a grid on constants
    (nearest or bilinear and a convolution), seed by seed: median [least, most], positive where the
    promise is better; the time of a step as a share of nearest + conv3's.
    """
    head = ["kind", "start", "task", "grid, share of k4's", "lead over k4 s2", "over resizing"]
    rows = [[*head, "time"]]
    starts = [(kind, "kinds", None) for kind in figures.PROMISED]
    for kind, compare, start in [*starts, (SMOOTH, "starts", LIBRARY)]:
        for task, (key, _, sign) in QUALITY.items():
            mine = {"compare": compare, "kind": kind} | ({"start": start} if start else {})
            others = {name: results.by_seed(key, task=task, compare="kinds", kind=name)
                      for name in ("k4 s2", *FREE)}  # fmt: skip
            if not (found := results.by_seed(key, task=task, **mine)) or not others[FREE[0]]:
                continue
            free = {name: others[name] for name in FREE if others[name]}
            best = max(free, key=lambda name: sign * statistics.median(free[name].values()))
            leads = [[sign * (found[seed] - other[seed]) for seed in found if seed in other]
                     for other in (others["k4 s2"], free[best])]  # fmt: skip
            rows.append([
                kind, start or ("dcgan" if task == "gan" else "torch"), task,
                share_of_grid(results, task, mine),
                *(median_and_range(each, "+.2f") for each in leads),
                relative_time(results, [task], kind),
            ])  # fmt: skip
    return tabulate(rows)


def share_of_grid(results: Results, task: str, which: dict[str, str]) -> str:
    """Return the median grid as a share of that of k4 s2, both less what the originals have."""
    grid = next(iter(OTHERS[task]))
    own = results.original(task).get(grid, 0.0)
    found = [statistics.median(results.values(grid, task=task, **each))
             for each in (which, {"compare": "kinds", "kind": "k4 s2"})]  # fmt: skip
    mine, free = (max(0.0, each**2 - own**2) ** 0.5 for each in found)
    return f"{mine / free:.2g}"


def gains(results: Results) -> dict[str, dict[tuple[str, str], float]]:
    """Return, for each start, by how much it leads PyTorch's: task and kind to quality units.

    The difference of the medians over the seeds, positive where the start is better.
    """
    found: dict[str, dict[tuple[str, str], float]] = {}
    for task in RULED:
        key, _, sign = QUALITY[task]
        for kind in PLAIN:
            places = starts_of(results, task, kind)
            middle = {start: statistics.median(results.values(key, task=task, kind=kind, **where))
                      for start, where in places.items()}  # fmt: skip
            for start in middle if "torch" in middle else ():
                lead = sign * (middle[start] - middle["torch"])
                found.setdefault(start, {})[task, kind] = lead
    return found


def decide(results: Results, calm: bool) -> str:
    """Return the outcome of the rule for the default start.

    Among the starts, those that are never more than 0.1 dB (photographs, super-resolution, ecg)
    or 0.5 nats (VAE) behind PyTorch's start in the median over seeds, for k2 and for k4; of those
    the one with the best mean gain over PyTorch's start over tasks and kernels, where 1 nat
    counts as 0.1 dB (mean rank breaks ties). A layer does not know whether it is the last: for
    its default no start with a calm last layer counts; for that of whole decoders they do.
    """
    found = {start: each for start, each in gains(results).items() if calm or "calm" not in start}
    if not found:
        return "No starts were compared."
    cases = list(found["torch"])
    ranks: dict[str, list[int]] = {start: [] for start in found}
    for case in cases:
        here = sorted((s for s in found if case in found[s]), key=lambda s: -found[s][case])
        for place, start in enumerate(here):
            ranks[start].append(place + 1)
    rows = [["start", *(f"{task}, {kind}" for task, kind in cases), "mean gain, dB", "mean rank",
             "never behind"]]  # fmt: skip
    order = []
    for start, leads in found.items():
        mean = statistics.mean(lead * TENTH.get(task, 1) for (task, _), lead in leads.items())
        kept = all(
            lead >= -(BEHIND_NATS if task == "vae" else BEHIND) for (task, _), lead in leads.items()
        )
        rank = statistics.mean(ranks[start])
        whole = len(leads) == len(cases)
        if kept and whole:
            order.append((-round(mean, 2), rank, start))
        cells = [f"{leads[case]:+.2f}" if case in leads else "-" for case in cases]
        verdict = ("yes" if kept else "no") if whole else "-"
        rows.append([start, *cells, f"{mean:+.3f}", f"{rank:.1f}", verdict])
    return f"{tabulate(rows)}\n\nThe rule takes: **{min(order)[2]}**."


def compose(results: Results) -> str:
    """Return all tables under headings."""
    parts = [f"## At one look\n\n{summarise(results)}", f"## The promises\n\n{judge(results)}"]
    parts.append(f"## Equal parameters, equal time\n\n{summarise_equal(results)}")
    for task in TASKS:
        seeds = {run["seed"] for run in results.runs if run["task"] == task}
        if not seeds:
            continue
        parts.append(f"## {task}\n\nMedians [least, most] of {len(seeds)} seeds.")
        for title, table in (
            ("All kinds, the same start", tabulate_kinds(results, task, "kinds")),
            ("Starts", tabulate_starts(results, task)),
            ("Equal parameters", tabulate_kinds(results, task, "parameters")),
            ("Equal time", tabulate_kinds(results, task, "time")),
        ):
            if table is not None:
                parts.append(f"### {title}\n\n{table}")
    parts.append(f"## The default start of a layer\n\n{decide(results, calm=False)}")
    parts.append(f"## The default start of a decoder\n\n{decide(results, calm=True)}")
    return "\n\n".join(parts) + "\n"


def write(path: Path, folder: Path) -> str:
    """Write ``tables.md`` and the figures into a folder; return the tables and where they are."""
    results = Results(read(path))
    text = compose(results)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tables.md").write_text(text)
    figures.draw(results, folder)
    return f"{text}\nResults: {path}. Tables and figures: {folder}"


def main() -> None:
    """Remake the tables and the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--output", type=Path, default=Path("output/evidence"))
    options = parser.parse_args()
    print(write(options.results, options.output))


if __name__ == "__main__":
    main()
