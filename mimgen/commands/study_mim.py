"""`mimgen bench study mim`: each pretraining system against its baseline, at equal cost, and the claim tried."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mimgen.commands import configs
from mimgen.commands.folder import claim
from mimgen.commands.operations import operations
from mimgen.commands.options import parse
from mimgen.commands.study_mim_trials import TRIALS, Trial, Variant
from mimgen.commands.study_probes_row import Asked, row
from mimgen.commands.study_rows import Row, made_once, numbers, spread, table
from mimgen.commands.study_training import Budget, train
from mimgen.errors import UserError

__all__ = ["Options", "main", "verdict"]

PROBES = ("knn", "linear")


@dataclass(frozen=True)
class Options:
    """Pretrain each system and its baseline with the same operations, and probe both.

    The budget is that of a plain MAE which sees `pictures`; a system whose step costs more sees fewer pictures.
    Operations are counted, forward and backward, those of teachers included, so the load of the machine does not
    matter.

    Attributes:
        systems: names with commas between; "all" for every one.
        seeds: of weights, data order and masks, with commas between.
        pictures: pictures that MAE sees for the budget.
        data: what is pretrained on and probed; its finest label is read.
        size: size of the configs.
        pixels: side of the pictures.
        ablations: also the further variants of each system; without, only it and its baseline.
        out: the folder; the same command with the same folder goes on where it stopped.
    """

    systems: str = "all"
    seeds: str = "0,1"
    pictures: int = 16_000
    data: str = "emoji"
    size: str = "emoji64"
    pixels: int = 64
    ablations: bool = True
    out: Path = Path("runs/study-mim")


def main(arguments: list[str]) -> int:
    """Make the rows that are missing, write result.json, result.html and result.md; 1 if a row failed."""
    options = parse(Options, arguments, "mimgen bench study mim")
    trials, seeds = _trials(options.systems), numbers(options.seeds, "seeds")
    if not options.ablations:
        trials = [replace(trial, variants=(trial.variants[0], trial.baseline)) for trial in trials]
    asked = {"study": "mim", "budget": f"operations of MAE for {options.pictures:,} pictures", "data": options.data,
             "size": options.size, "pixels": options.pixels}  # fmt: skip
    claim(options.out, asked, "study")
    variants = list(dict.fromkeys(variant for trial in trials for variant in trial.variants))
    places = [(variant, seed) for seed in seeds for variant in variants]
    found: dict[Variant, list[Row]] = {variant: [] for variant in variants}
    for number, (variant, seed) in enumerate(places):
        print(f"[{number + 1}/{len(places)}] {variant.name}, seed {seed}", flush=True)
        path = options.out / "rows" / f"{variant.file}-seed{seed}.json"
        found[variant].append({"seed": seed, **made_once(path, _row, options, variant, seed)})
    return _report(options, asked, trials, found)


def _trials(text: str) -> list[Trial]:
    known = {trial.system: trial for trial in TRIALS}
    names = list(known) if text == "all" else [name.strip() for name in text.split(",") if name.strip()]
    unknown = [name for name in names if name not in known]
    if unknown or not names:
        raise UserError(f"--systems {text!r}: choose from {', '.join(known)}, with commas between, or all")
    return [known[name] for name in names]


def _row(options: Options, variant: Variant, seed: int) -> Row:
    """Pretrain within the budget, then probe. Runs in a process of its own."""
    plain = operations(_run(options, Variant("MAE", "mae"), seed))
    run = _run(options, variant, seed)
    own = operations(run)
    # whole steps; the budget is never exceeded
    pictures = max(run.settings.batch_size, int(options.pictures * plain / own))
    folder = options.out / "runs" / f"{variant.file}-seed{seed}"
    facts = train(run, folder, Budget(pictures))
    asked = Asked(str(folder), options.data, options.pixels, PROBES, seed, None, options.out / "features")
    watched = _last(folder, variant.watch)
    return {"training": facts, "operations": own, "share": own / plain, "watched": watched, **row(asked)}


def _run(options: Options, variant: Variant, seed: int) -> Any:
    run = configs.training(
        variant.config, size=options.size, data=options.data, pixels=options.pixels, seed=seed, precision="fp32",
        steps=max(1, options.pictures // 64), **dict(variant.options),
    )  # fmt: skip
    return replace(run, pictures=replace(run.pictures, split="train"))


def _last(folder: Path, names: Sequence[str]) -> dict[str, float]:
    """The last values of metrics in the log of a run."""
    import json

    lines = (folder / "log.jsonl").read_text(encoding="utf-8").splitlines()
    last = json.loads(lines[-1])
    return {name: float(last[name]) for name in names if name in last}


def verdict(system: Sequence[float], baseline: Sequence[float]) -> str:
    """What paired scores over seeds say of a claim that the system is better: "confirmed" where it is in every seed.

    Args:
        system: scores, one a seed.
        baseline: scores of the same seeds.
    """
    gains = [mine - other for mine, other in zip(system, baseline, strict=True)]
    if all(gain > 0 for gain in gains):
        return "confirmed"
    return "refuted" if all(gain < 0 for gain in gains) else "open"


def _report(options: Options, asked: Row, trials: Sequence[Trial], found: dict[Variant, list[Row]]) -> int:
    from mimgen.commands.outcome import write_outcome
    from mimgen.commands.report import Scores

    heads = ["system", *(f"{probe} %" for probe in PROBES), "pictures", "cost of a picture", "also measured"]
    parts, sections, scores = ["# Pretraining at equal cost"], [], {}
    failed = []
    for trial in trials:
        rows = {variant: [one for one in found[variant] if "failed" not in one] for variant in trial.variants}
        failed += [f"- {variant.name}, seed {one['seed']} failed: {one['failed']}"
                   for variant in trial.variants for one in found[variant] if "failed" in one]  # fmt: skip
        lines = [_line(variant, made) for variant, made in rows.items() if made]
        words = _judged(trial, rows)
        title = f"{trial.system}: {trial.claim}"
        parts += [f"## {title}", table(heads, lines) if lines else "No row is finished.", words]
        sections.append(Scores(title, words, heads, lines, ours=0))
        scores[trial.system] = {
            variant.name: {probe: [one["accuracy"][probe] for one in made] for probe in PROBES}
            for variant, made in rows.items()
        } | {"verdict": words}
    text = "\n\n".join([*parts, *failed]) + "\n"
    options.out.joinpath("result.md").write_text(text, encoding="utf-8")
    result = {"measure": "study of pretraining", "protocol": {**asked, "systems": [trial.system for trial in trials]},
              "scores": scores, "rows": {variant.file: rows for variant, rows in found.items()}}  # fmt: skip
    write_outcome(options.out / "result.json", result, sections, title="Pretraining at equal cost")
    print(f"\n{text}\nwritten to {options.out / 'result.json'}, result.html and result.md")
    return 1 if failed else 0


def _line(variant: Variant, rows: Sequence[Row]) -> list[str]:
    cells = [spread([100 * one["accuracy"][probe] for one in rows], 1) for probe in PROBES]
    names = list(rows[0]["watched"])
    also = "; ".join(f"{name} {spread([one['watched'].get(name) for one in rows], 3)}" for name in names)
    return [variant.name, *cells, f"{rows[0]['training']['pictures']:,}", f"{rows[0]['share']:.2f}", also or "-"]


def _judged(trial: Trial, rows: dict[Variant, list[Row]]) -> str:
    """Whether the system beats its baseline, by each probe."""
    system, baseline = (
        {one["seed"]: one for one in rows[variant]} for variant in (trial.variants[0], trial.baseline)
    )
    seeds = sorted(system.keys() & baseline.keys())
    if not seeds:
        return "Not measured yet."
    told = []
    for probe in PROBES:
        mine, other = ([each[seed]["accuracy"][probe] for seed in seeds] for each in (system, baseline))
        gain = 100 * (sum(mine) - sum(other)) / len(seeds)
        told.append(f"{probe} {gain:+.1f} points: {verdict(mine, other)}")
    return f"Against {trial.baseline.name} over {len(seeds)} seeds: {'; '.join(told)}."
