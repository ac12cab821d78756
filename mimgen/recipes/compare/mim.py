"""`mimgen compare mim`: each pretraining system against its baseline, at equal cost, and the claim tried."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mimgen import configs
from mimgen.cli.options import parse
from mimgen.errors import UserError
from mimgen.recipes.compare.mim_folds import folds
from mimgen.recipes.compare.mim_measures import Measure
from mimgen.recipes.compare.mim_trials import COMPARISONS, PROBES, Arm, Comparison
from mimgen.recipes.compare.probes_row import ProbeRequest, row
from mimgen.recipes.compare.rows import Row, made_once, numbers
from mimgen.recipes.compare.training import Budget, train
from mimgen.recipes.flops import operations
from mimgen.report.run_folder import check_same_settings
from mimgen.report.tables import markdown as table
from mimgen.report.tables import mean_range

__all__ = ["Options", "main", "outcome"]


@dataclass(frozen=True)
class Options:
    """Pretrain each system and its baseline with the same operations, and probe both.

    The budget is that of a plain MAE which sees `images`; a system whose step costs more sees fewer images.
    Operations are counted, forward and backward, those of teachers included, so the load of the machine does not
    matter. Probes are tested on `val` and, which scores, on every image of train by five folds: the encoders have
    seen these images, but no label. Systems made for other data (two views, people, bands, volumes) are trained on
    built-in data of that kind, at the sides that their configs have, and evaluated by measures of their own.

    Attributes:
        systems: names with commas between; "all" for every one.
        seeds: of weights, data order and masks, with commas between.
        images: images that MAE sees for the budget.
        data: what is pretrained on and probed; its finest label is read. Not of systems with data of their own.
        size: size of the configs.
        pixels: side of the images.
        ablations: also the further variants of each system; without, only it and its baseline.
        out: the folder; the same command with the same folder resumes where it stopped.
    """

    systems: str = "all"
    seeds: str = "0,1"
    images: int = 16_000
    data: str = "emoji"
    size: str = "emoji64"
    pixels: int = 64
    ablations: bool = True
    out: Path = Path("runs/study-mim")


def main(arguments: list[str]) -> int:
    """Make the rows that are missing, write result.json, result.html and result.md; 1 if a row failed."""
    options = parse(Options, arguments, "mimgen compare mim")
    comparisons, seeds = _comparisons(options.systems), numbers(options.seeds, "seeds")
    if not options.ablations:
        comparisons = [
            replace(comparison, arms=(comparison.arms[0], comparison.baseline)) for comparison in comparisons
        ]
    requested = {"study": "mim", "budget": f"operations of MAE for {options.images:,} images", "data": options.data,
             "size": options.size, "pixels": options.pixels}  # fmt: skip
    check_same_settings(options.out, requested, "study")
    arms = list(dict.fromkeys(arm for comparison in comparisons for arm in comparison.arms))
    positions = [(arm, seed) for seed in seeds for arm in arms]
    found: dict[Arm, list[Row]] = {arm: [] for arm in arms}
    for number, (arm, seed) in enumerate(positions):
        print(f"[{number + 1}/{len(positions)}] {arm.name}, seed {seed}", flush=True)
        path = options.out / "rows" / f"{arm.file}-seed{seed}.json"
        made = made_once(path, _row, options, arm, seed)
        measures = dict.fromkeys(
            each for comparison in comparisons if arm in comparison.arms for each in comparison.measures
        )
        measured = {} if "failed" in made else _measured(options, arm, seed, list(measures), made)
        if "layer" in made:  # it was probed
            position = options.out / "measures" / f"folds-{arm.file}-seed{seed}.json"
            measured["folds"] = made_once(position, folds, _requested(options, arm, seed))
        found[arm].append({"seed": seed, **made, "measured": measured})
    return _report(options, requested, comparisons, found)


def _comparisons(text: str) -> list[Comparison]:
    known = {comparison.system: comparison for comparison in COMPARISONS}
    names = list(known) if text == "all" else [name.strip() for name in text.split(",") if name.strip()]
    unknown = [name for name in names if name not in known]
    if unknown or not names:
        raise UserError(f"--systems {text!r}: choose from {', '.join(known)}, with commas between, or all")
    return [known[name] for name in names]


def _row(options: Options, arm: Arm, seed: int) -> Row:
    """Pretrain within the budget, then probe. Runs in a process of its own."""
    plain = operations(_run(options, Arm("MAE", "mae"), seed))
    run = _run(options, arm, seed)
    own = operations(run)
    # whole steps; the budget is never exceeded
    images = max(run.settings.batch_size, int(options.images * plain / own))
    folder = _folder(options, arm, seed)
    if arm.trained:
        # schedules of masks and teachers end with the steps that the budget allows
        run = _run(options, arm, seed, steps=images // run.settings.batch_size)
        facts = train(run, folder, Budget(images))
    else:
        facts = _untrained(run, folder, seed)
    watched = _last(folder, arm.watch) if arm.trained else {}
    made = {"training": facts, "operations": own, "share": own / plain, "watched": watched}
    if arm.data is not None:
        return {**made, "accuracy": {}}
    return {**made, **row(_requested(options, arm, seed))}


def _requested(options: Options, arm: Arm, seed: int) -> ProbeRequest:
    """What is probed of a trained variant."""
    spec, features = str(_folder(options, arm, seed)), options.out / "features"
    return ProbeRequest(spec, options.data, options.pixels, PROBES, seed, None, features)


def _run(options: Options, arm: Arm, seed: int, steps: int | None = None) -> Any:
    """The run of a variant; `steps` are those its schedules end with."""
    own = arm.own_side or arm.data is not None
    run = configs.training(
        arm.config, size=options.size if options.size == "tiny" else arm.size or options.size,
        data=arm.data or options.data, pixels=None if own else options.pixels, seed=seed, precision="fp32",
        steps=steps or max(1, options.images // 64), **dict(arm.options),
    )  # fmt: skip
    run = replace(run, data_config=replace(run.data_config, split="train"))
    return run if arm.change_data is None else replace(run, data_config=arm.change_data(run.data_config))


def _folder(options: Options, arm: Arm, seed: int) -> Path:
    return options.out / "runs" / f"{arm.file}-seed{seed}"


def _untrained(run: Any, folder: Path, seed: int) -> Row:
    """Leave the encoder as it starts, where training would leave it."""
    import torch

    torch.manual_seed(seed)
    run.build().encoder.save_pretrained(folder / "encoder")
    return {"steps": 0, "images": 0}


def _measured(
    options: Options, arm: Arm, seed: int, measures: Sequence[Measure], made: Row
) -> dict[str, Row]:
    """What each measure says of the variant of the row `made`, by the measure's name; made once, as rows are."""
    found, steps = {}, made["training"]["steps"]
    for measure in measures:
        path = options.out / "measures" / f"{measure.__name__}-{arm.file}-seed{seed}.json"
        found[measure.__name__] = made_once(path, _measure, options, arm, seed, measure, steps)
    return found


def _measure(options: Options, arm: Arm, seed: int, measure: Measure, steps: int) -> Row:
    """One measure of an objective that was trained for `steps`. Runs in a process of its own."""
    import torch

    from mimgen.training import load_ema

    run = _run(options, arm, seed, steps)
    torch.manual_seed(seed)
    objective = run.build()
    if arm.trained:
        load_ema(_folder(options, arm, seed), objective)
    with torch.no_grad():
        return {"values": measure(objective.eval(), run)}


def _last(folder: Path, names: Sequence[str]) -> dict[str, float]:
    """The last values of metrics in the log of a run."""
    import json

    lines = (folder / "log.jsonl").read_text(encoding="utf-8").splitlines()
    last = json.loads(lines[-1])
    return {name: float(last[name]) for name in names if name in last}


def outcome(system: Sequence[float], baseline: Sequence[float]) -> str:
    """What paired scores over seeds say of a claim that the system is better: "confirmed" where it is in every seed.

    Args:
        system: scores, one per seed.
        baseline: scores of the same seeds.
    """
    gains = [mine - other for mine, other in zip(system, baseline, strict=True)]
    if all(gain > 0 for gain in gains):
        return "confirmed"
    return "refuted" if all(gain < 0 for gain in gains) else "open"


def _scores(comparison: Comparison, row: Row) -> dict[str, float]:
    """Everything a row says that concerns a trial, by name: probes, watched metrics, the trial's measures."""
    found = {**{f"{name}, val": value for name, value in row["accuracy"].items()}, **row["watched"]}
    for measure in ("folds", *(each.__name__ for each in comparison.measures)):
        found |= row["measured"].get(measure, {}).get("values", {})
    return found


def _report(options: Options, requested: Row, comparisons: Sequence[Comparison], found: dict[Arm, list[Row]]) -> int:
    from mimgen.report.page import Scores
    from mimgen.report.result import write_outcome

    parts, sections, scores = ["# Pretraining at equal cost"], [], {}
    failed = list(dict.fromkeys(line for arm, rows in found.items() for line in _failures(arm, rows)))
    for comparison in comparisons:
        rows = {arm: [one for one in found[arm] if "failed" not in one] for arm in comparison.arms}
        heads = [
            "system",
            *(f"{name} %" for name in comparison.judged_by),
            "images",
            "cost of an image",
            "also measured",
        ]
        lines = [_line(comparison, arm, made) for arm, made in rows.items() if made]
        words = _outcomes(comparison, rows)
        title = f"{comparison.system}: {comparison.hypothesis}"
        parts += [f"## {title}", table(heads, lines) if lines else "No row is finished.", words]
        sections.append(Scores(title, words, heads, lines, ours=0))
        scores[comparison.system] = {
            arm.name: {name: [_scores(comparison, one).get(name) for one in made] for name in comparison.judged_by}
            for arm, made in rows.items()
        } | {"outcome": words}
    text = "\n\n".join([*parts, *failed]) + "\n"
    options.out.joinpath("result.md").write_text(text, encoding="utf-8")
    protocol = {**requested, "systems": [comparison.system for comparison in comparisons]}
    result = {"measure": "study of pretraining", "protocol": protocol,
              "scores": scores, "rows": {arm.file: rows for arm, rows in found.items()}}  # fmt: skip
    write_outcome(options.out / "result.json", result, sections, title="Pretraining at equal cost")
    print(f"\n{text}\nwritten to {options.out / 'result.json'}, result.html and result.md")
    return 1 if failed else 0


def _failures(arm: Arm, rows: Sequence[Row]) -> list[str]:
    """What went wrong with a variant, a line each."""
    lines = []
    for one in rows:
        outcomes_text = {"": one, **{f", {name}": made for name, made in one["measured"].items()}}
        lines += [f"- {arm.name}, seed {one['seed']}{what} failed: {made['failed']}"
                  for what, made in outcomes_text.items() if "failed" in made]  # fmt: skip
    return lines


def _line(comparison: Comparison, arm: Arm, rows: Sequence[Row]) -> list[str]:
    scores = [_scores(comparison, one) for one in rows]
    cells = [mean_range([_percent(each.get(name)) for each in scores], 1) for name in comparison.judged_by]
    names = [name for name in scores[0] if name not in comparison.judged_by]
    also = "; ".join(f"{name} {mean_range([each.get(name) for each in scores], 3)}" for name in names)
    return [arm.name, *cells, f"{rows[0]['training']['images']:,}", f"{rows[0]['share']:.2f}", also or "-"]


def _percent(value: float | None) -> float | None:
    return None if value is None else 100 * value


def _outcomes(comparison: Comparison, rows: dict[Arm, list[Row]]) -> str:
    """Whether the system beats its baseline, by each score that both have."""
    system, baseline = (
        {one["seed"]: _scores(comparison, one) for one in rows[arm]}
        for arm in (comparison.arms[0], comparison.baseline)
    )
    outcomes_text, most_failed = [], 0
    for name in comparison.judged_by:
        seeds = [seed for seed in sorted(system.keys() & baseline.keys())
                 if name in system[seed] and name in baseline[seed]]  # fmt: skip
        if not seeds:
            continue
        mine, other = ([each[seed][name] for seed in seeds] for each in (system, baseline))
        gain, most_failed = 100 * (sum(mine) - sum(other)) / len(seeds), max(most_failed, len(seeds))
        outcomes_text.append(f"{name} {gain:+.1f} points: {outcome(mine, other)}")
    if not outcomes_text:
        return "Not measured yet."
    over = f"{most_failed} seed{'s' if most_failed > 1 else ''}"
    return f"Against {comparison.baseline.name} over {over}: {'; '.join(outcomes_text)}."
