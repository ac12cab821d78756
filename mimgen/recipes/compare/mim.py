"""`mimgen compare mim`: each pretraining system against its baseline, at equal cost, and the claim tried."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mimgen.cli import configs
from mimgen.cli.options import parse
from mimgen.errors import UserError
from mimgen.recipes.compare.mim_folds import folds
from mimgen.recipes.compare.mim_measures import Measure
from mimgen.recipes.compare.mim_trials import PROBES, TRIALS, Trial, Variant
from mimgen.recipes.compare.probes_row import Asked, row
from mimgen.recipes.compare.rows import Row, made_once, numbers, spread, table
from mimgen.recipes.compare.training import Budget, train
from mimgen.recipes.flops import operations
from mimgen.report.run_folder import claim

__all__ = ["Options", "main", "verdict"]


@dataclass(frozen=True)
class Options:
    """Pretrain each system and its baseline with the same operations, and probe both.

    The budget is that of a plain MAE which sees `pictures`; a system whose step costs more sees fewer pictures.
    Operations are counted, forward and backward, those of teachers included, so the load of the machine does not
    matter. Probes are tested on `val` and, which judges, on every picture of train by five folds: the encoders have
    seen these pictures, but no label. Systems made for other data (two views, people, bands, volumes) are trained on
    built-in data of that kind, at the sides that their configs have, and judged by measures of their own.

    Attributes:
        systems: names with commas between; "all" for every one.
        seeds: of weights, data order and masks, with commas between.
        pictures: pictures that MAE sees for the budget.
        data: what is pretrained on and probed; its finest label is read. Not of systems with data of their own.
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
    options = parse(Options, arguments, "mimgen compare mim")
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
        made = made_once(path, _row, options, variant, seed)
        measures = dict.fromkeys(each for trial in trials if variant in trial.variants for each in trial.measures)
        measured = {} if "failed" in made else _measured(options, variant, seed, list(measures), made)
        if "layer" in made:  # it was probed
            place = options.out / "measures" / f"folds-{variant.file}-seed{seed}.json"
            measured["folds"] = made_once(place, folds, _asked(options, variant, seed))
        found[variant].append({"seed": seed, **made, "measured": measured})
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
    folder = _folder(options, variant, seed)
    if variant.trained:
        # schedules of masks and teachers end with the steps that the budget allows
        run = _run(options, variant, seed, steps=pictures // run.settings.batch_size)
        facts = train(run, folder, Budget(pictures))
    else:
        facts = _untrained(run, folder, seed)
    watched = _last(folder, variant.watch) if variant.trained else {}
    made = {"training": facts, "operations": own, "share": own / plain, "watched": watched}
    if variant.data is not None:
        return {**made, "accuracy": {}}
    return {**made, **row(_asked(options, variant, seed))}


def _asked(options: Options, variant: Variant, seed: int) -> Asked:
    """What is probed of a trained variant."""
    spec, features = str(_folder(options, variant, seed)), options.out / "features"
    return Asked(spec, options.data, options.pixels, PROBES, seed, None, features)


def _run(options: Options, variant: Variant, seed: int, steps: int | None = None) -> Any:
    """The run of a variant; `steps` are those its schedules end with."""
    own = variant.own_side or variant.data is not None
    run = configs.training(
        variant.config, size=options.size if options.size == "tiny" else variant.size or options.size,
        data=variant.data or options.data, pixels=None if own else options.pixels, seed=seed, precision="fp32",
        steps=steps or max(1, options.pictures // 64), **dict(variant.options),
    )  # fmt: skip
    run = replace(run, pictures=replace(run.pictures, split="train"))
    return run if variant.pictures is None else replace(run, pictures=variant.pictures(run.pictures))


def _folder(options: Options, variant: Variant, seed: int) -> Path:
    return options.out / "runs" / f"{variant.file}-seed{seed}"


def _untrained(run: Any, folder: Path, seed: int) -> Row:
    """Leave the encoder as it starts, where training would leave it."""
    import torch

    torch.manual_seed(seed)
    run.build().encoder.save_pretrained(folder / "encoder")
    return {"steps": 0, "pictures": 0}


def _measured(
    options: Options, variant: Variant, seed: int, measures: Sequence[Measure], made: Row
) -> dict[str, Row]:
    """What each measure says of the variant of the row `made`, by the measure's name; made once, as rows are."""
    found, steps = {}, made["training"]["steps"]
    for measure in measures:
        path = options.out / "measures" / f"{measure.__name__}-{variant.file}-seed{seed}.json"
        found[measure.__name__] = made_once(path, _measure, options, variant, seed, measure, steps)
    return found


def _measure(options: Options, variant: Variant, seed: int, measure: Measure, steps: int) -> Row:
    """One measure of an objective that was trained for `steps`. Runs in a process of its own."""
    import torch

    from mimgen.training import load_ema

    run = _run(options, variant, seed, steps)
    torch.manual_seed(seed)
    objective = run.build()
    if variant.trained:
        load_ema(_folder(options, variant, seed), objective)
    with torch.no_grad():
        return {"values": measure(objective.eval(), run)}


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


def _scores(trial: Trial, row: Row) -> dict[str, float]:
    """Everything a row says that concerns a trial, by name: probes, watched metrics, the trial's measures."""
    found = {**{f"{name}, val": value for name, value in row["accuracy"].items()}, **row["watched"]}
    for measure in ("folds", *(each.__name__ for each in trial.measures)):
        found |= row["measured"].get(measure, {}).get("values", {})
    return found


def _report(options: Options, asked: Row, trials: Sequence[Trial], found: dict[Variant, list[Row]]) -> int:
    from mimgen.report.page import Scores
    from mimgen.report.result import write_outcome

    parts, sections, scores = ["# Pretraining at equal cost"], [], {}
    failed = list(dict.fromkeys(line for variant, rows in found.items() for line in _failures(variant, rows)))
    for trial in trials:
        rows = {variant: [one for one in found[variant] if "failed" not in one] for variant in trial.variants}
        heads = ["system", *(f"{name} %" for name in trial.judged), "pictures", "cost of a picture", "also measured"]
        lines = [_line(trial, variant, made) for variant, made in rows.items() if made]
        words = _judged(trial, rows)
        title = f"{trial.system}: {trial.claim}"
        parts += [f"## {title}", table(heads, lines) if lines else "No row is finished.", words]
        sections.append(Scores(title, words, heads, lines, ours=0))
        scores[trial.system] = {
            variant.name: {name: [_scores(trial, one).get(name) for one in made] for name in trial.judged}
            for variant, made in rows.items()
        } | {"verdict": words}
    text = "\n\n".join([*parts, *failed]) + "\n"
    options.out.joinpath("result.md").write_text(text, encoding="utf-8")
    result = {"measure": "study of pretraining", "protocol": {**asked, "systems": [trial.system for trial in trials]},
              "scores": scores, "rows": {variant.file: rows for variant, rows in found.items()}}  # fmt: skip
    write_outcome(options.out / "result.json", result, sections, title="Pretraining at equal cost")
    print(f"\n{text}\nwritten to {options.out / 'result.json'}, result.html and result.md")
    return 1 if failed else 0


def _failures(variant: Variant, rows: Sequence[Row]) -> list[str]:
    """What went wrong with a variant, a line each."""
    lines = []
    for one in rows:
        told = {"": one, **{f", {name}": made for name, made in one["measured"].items()}}
        lines += [f"- {variant.name}, seed {one['seed']}{what} failed: {made['failed']}"
                  for what, made in told.items() if "failed" in made]  # fmt: skip
    return lines


def _line(trial: Trial, variant: Variant, rows: Sequence[Row]) -> list[str]:
    scores = [_scores(trial, one) for one in rows]
    cells = [spread([_percent(each.get(name)) for each in scores], 1) for name in trial.judged]
    names = [name for name in scores[0] if name not in trial.judged]
    also = "; ".join(f"{name} {spread([each.get(name) for each in scores], 3)}" for name in names)
    return [variant.name, *cells, f"{rows[0]['training']['pictures']:,}", f"{rows[0]['share']:.2f}", also or "-"]


def _percent(value: float | None) -> float | None:
    return None if value is None else 100 * value


def _judged(trial: Trial, rows: dict[Variant, list[Row]]) -> str:
    """Whether the system beats its baseline, by each score that both have."""
    system, baseline = (
        {one["seed"]: _scores(trial, one) for one in rows[variant]} for variant in (trial.variants[0], trial.baseline)
    )
    told, most = [], 0
    for name in trial.judged:
        seeds = [seed for seed in sorted(system.keys() & baseline.keys())
                 if name in system[seed] and name in baseline[seed]]  # fmt: skip
        if not seeds:
            continue
        mine, other = ([each[seed][name] for seed in seeds] for each in (system, baseline))
        gain, most = 100 * (sum(mine) - sum(other)) / len(seeds), max(most, len(seeds))
        told.append(f"{name} {gain:+.1f} points: {verdict(mine, other)}")
    if not told:
        return "Not measured yet."
    return f"Against {trial.baseline.name} over {most} seed{'s' if most > 1 else ''}: {'; '.join(told)}."
