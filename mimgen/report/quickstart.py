"""The quickstart's results as a report and as closing words."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mimgen.report.page import Curve, Gallery, Item, Number, Report, Scores, Step, write_report

__all__ = ["closing", "write"]

SHOWN = 24
Results = Mapping[str, Mapping[str, Any]]


def write(out: Path, minutes: float, data: str, size: str, results: Results) -> Path:
    """Write report.html and result.json into `out`."""
    from mimgen.evaluation import provenance, write_result

    command = json.loads((out / "command.json").read_text(encoding="utf-8"))
    numbers = {name: {key: value for key, value in result.items() if key not in ("losses", "ranks", "prompts")}
               for name, result in results.items()}  # fmt: skip
    write_result(out / "result.json", provenance(**numbers, command=command["command"]))
    spent = sum(float(result["seconds"]) for result in results.values()) / 60
    report = Report(
        title="mimgen quickstart",
        lead=(
            f"A tokenizer and a masked text-to-image generator, trained from nothing on {data} in {spent:.1f} "
            f"minutes on {_machine(command)}. The prompts below were held out: the model knows their words, but "
            "never saw them together."
        ),
        numbers=_numbers(results),
        sections=[_gallery(out, results["composition"]), _composition(results["composition"]),
                  _probe(results["probe"])],
        curves=_curves(out, results),
        next_steps=_next(out, minutes, size),
        provenance={**command, **_facts(results)},
    )  # fmt: skip
    return write_report(out / "report.html", report)


def closing(out: Path, results: Results) -> str:
    """What is said at the end: the numbers and what to try next."""
    lines = ["", *(f"  {number.label}: {number.value}  ({number.note})" for number in _numbers(results)), ""]
    lines.append(f"the report with images and curves: {out / 'report.html'}")
    lines += ["", "what to try next:"]
    minutes = float(json.loads((out / "quickstart.json").read_text(encoding="utf-8"))["minutes"])
    size = str(json.loads((out / "quickstart.json").read_text(encoding="utf-8"))["size"])
    for step in _next(out, minutes, size):
        lines += [f"  {step.text}", f"    {step.command}"]
    return "\n".join(lines)


def _machine(command: Mapping[str, Any]) -> str:
    machine = command.get("machine", {})
    gpus = machine.get("gpus") or []
    return str(gpus[0]) if gpus else f"{machine.get('cores', '?')} processor cores"


def _numbers(results: Results) -> list[Number]:
    score, again, probe = results["composition"], results["reconstruction"], results["probe"]
    ours, floor, ceiling = score["generated"], score["floor"], score["ceiling"]
    numbers = [
        Number("Composition R@5", _percent(ours["r5"]),
               f"true image among the nearest 5 of {score['references']:,}; copying {_percent(floor['r5'])}, "
               f"at best {_percent(ceiling['r5'])}"),
        Number("Median rank", f"{ours['median_rank']:g}", f"of {score['references']:,}; chance is "
               f"{score['chance']['median_rank']:g}"),
        Number("Reconstruction", f"{again['psnr_mean_of_images']:.1f} dB",
               f"PSNR on {again['n']} val images; SSIM {again['ssim']:.2f}"),
        Number("FID", f"{score['fid']['fid']:.1f}",
               f"features: {score['fid']['extractor']}, {score['fid']['n']} images; not comparable with Inception"),
    ]  # fmt: skip
    for name in ("group", "subgroup"):
        if name in probe:
            raw = probe[name]["raw_pixels"]["accuracy"]
            numbers.append(Number(f"Linear probe: {name}", _percent(probe[name]["generator"]["accuracy"]),
                                  f"raw pixels {_percent(raw)}, most frequent "
                                  f"{_percent(probe[name]['majority'])}"))  # fmt: skip
    return numbers


def _gallery(out: Path, score: Mapping[str, Any]) -> Gallery:
    from safetensors.torch import load_file

    parts = {name: part.float() / 255 for name, part in load_file(out / "images.safetensors").items()}
    ranks, prompts = score["generated"]["ranks"], score["prompts"]
    chosen = range(0, len(prompts), max(1, len(prompts) // SHOWN))[:SHOWN]
    labels = {"true": "true", "reconstructed": "tokenizer", "generated": "generated"}
    items = [
        Item({label: parts[name][position] for name, label in labels.items()}, prompts[position],
             f"rank {ranks[position]:,} of {score['references']:,}")
        for position in chosen
    ]  # fmt: skip
    return Gallery(
        "Prompts it never saw",
        "Left the true image, in the middle what the tokenizer makes of it (the best the generator could do), "
        "right what the generator made from the words alone. Chosen evenly over the split, not by quality.",
        items,
    )


def _composition(score: Mapping[str, Any]) -> Scores:
    chance = score["chance"]
    rows: list[Sequence[str | float]] = [
        [label, float(score[key]["r1"]), float(score[key]["r5"]), f"{score[key]['median_rank']:g}"]
        for key, label in (("generated", "this model"), ("ceiling", "at best: tokenizer on the true image"),
                           ("floor", "copying the training image nearest in words"))
    ]  # fmt: skip
    rows.append(["chance", float(chance["r1"]), 5 * float(chance["r1"]), f"{chance['median_rank']:g}"])
    return Scores(
        "Does the image show what the prompt says?",
        f"For each of {score['n']} held-out captions one image is made and all {score['references']:,} images are "
        "ranked by their distance to it (colour layout and edges; no model involved). R@1 and R@5 say how often "
        "the true image comes first or among the first five.",
        ["", "R@1", "R@5", "median rank"],
        rows,
    )


def _probe(probe: Mapping[str, Any]) -> Scores:
    names = [name for name in ("group", "subgroup") if name in probe]
    rows: list[Sequence[str | float]] = [
        [label, *(float(probe[name][key]["accuracy"]) for name in names)]
        for key, label in (("generator", "generator's blocks"), ("raw_pixels", "raw pixels"))
    ]
    rows.append(["most frequent label", *(float(probe[name]["majority"]) for name in names)])
    return Scores(
        "What does its inside know?",
        "A linear map reads labels off the frozen generator, nothing masked and no caption given; below it the "
        "same off raw pixels. Measured on val.",
        ["", *names],
        rows,
    )


def _curves(out: Path, results: Results) -> list[Curve]:
    def line(stage: str, key: str) -> list[tuple[float, float]]:
        return [(entry["seconds"] / 60, entry[key]) for entry in results[stage]["losses"] if key in entry]

    curves = [
        Curve("Tokenizer: PSNR on training images, dB", "minutes", {"PSNR": line("tokenizer", "psnr")}),
        Curve("Tokenizer: codes in use", "minutes", {"active": line("tokenizer", "active_codes"),
                                                     "perplexity": line("tokenizer", "perplexity")}),
        Curve("Generator: cross-entropy a masked token", "minutes", {"nats": line("generator", "cross_entropy")}),
    ]  # fmt: skip
    path = out / "generator" / "quality.jsonl"
    if path.is_file():
        points = [json.loads(text) for text in path.read_text(encoding="utf-8").splitlines()]
        # A resumed run may measure a step twice; the later line counts.
        last = {point["step"]: point for point in points}
        shares = [(last[step]["seconds"] / 60, 100 * last[step]["r5"]) for step in sorted(last)]
        curves.append(Curve("Generator: composition R@5 on some prompts, %", "minutes", {"R@5": shares}))
    return curves


def _next(out: Path, minutes: float, size: str) -> list[Step]:
    longer = f"{max(30, 5 * minutes):g}"
    return [
        Step(f'mimgen generate "woman astronaut: dark skin tone" --model {out} --out a.png',
             "Make an image of your own words with the model just trained."),
        Step('mimgen generate "woman astronaut: dark skin tone" --out b.png',
             "The same from the bundled model, which was trained for longer at 64 px."),
        Step(f"mimgen quickstart --minutes {longer} --size {size} --out {out}-long", "Train longer: quality rises."),
        Step("mimgen train meissonic --data my_pictures/ --size emoji64 --out runs/mine",
             "Train on your own images with captions; mimgen data show my_pictures/ tells how they are read."),
    ]  # fmt: skip


def _facts(results: Results) -> dict[str, Any]:
    wanted = ("n", "seed", "steps", "guidance", "ema", "resize", "reference_set", "reference_fingerprint", "descriptor")
    facts = {name: {key: result[key] for key in wanted if key in result} for name, result in results.items()}
    return {name: values for name, values in facts.items() if values}


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
