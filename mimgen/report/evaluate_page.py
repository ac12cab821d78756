"""How `mimgen evaluate generation` and `evaluate scenes` show what they found: lines of text, a JSON file, a page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mimgen.data import evenly_spaced
from mimgen.evaluation.generation_run import EvaluatedImages
from mimgen.evaluation.scene_run import EvaluatedScenes
from mimgen.ops.images import to_float
from mimgen.report.page import Gallery, Item, Scores
from mimgen.report.result import write_outcome

__all__ = ["generation_text", "scenes_text", "write_generation", "write_scenes"]

_SHOWN = 8  # images of each set
_SCENES = 24  # images, right and wrong


def generation_text(result: dict[str, Any]) -> str:
    """The scores of a result as text."""
    protocol = result["protocol"]
    counts = f"n {protocol['n']}" if "n" in protocol else "no samples"
    if "references_n" in protocol:
        counts += f", {protocol['references_n']} references"
    lines = [f"{result['model']}  {counts}  features {protocol['extractor']} {protocol['layer']}"]
    lines += [f"  {name:<10} {value:.7g}" for name, value in result["scores"].items()]
    if "saved_reference" in result:
        lines.append(f"reference statistics written to {result['saved_reference']}")
    return "\n".join(lines)


def write_generation(out: Path, found: EvaluatedImages) -> Path:
    """Write the JSON file and the page; the path of the first."""
    sections = []
    for title, source in found.images.items():
        chosen = evenly_spaced(source.count, _SHOWN)
        items = [Item({str(place): to_float(source.read(place, place + 1)[0])}, "") for place in chosen]
        sections.append(Gallery(f"{title} images", f"{len(items)} of {source.count}: {source.name}", items, 120))
    return write_outcome(
        out, found.result, sections, title=f"Generated images of {found.result['model']}",
        lead="Generated against true images; values compare only under the same protocol.",
    )  # fmt: skip


def scenes_text(result: dict[str, Any]) -> str:
    """The scores of a result as text, with the tokenizer's limit and what was wrong."""
    lines, ceiling = [], result.get("ceiling", {})
    for name, score in result["scores"].items():
        text = f"{score:.2f}" if name == "CLIP score" else f"{100 * _mean(score):5.1f} %"
        text += f" ({_interval(score)})" if isinstance(score, dict) else ""
        if name in ceiling:
            text += f"  tokenizer's limit {100 * _mean(ceiling[name]):.1f} %"
        wrong = ", ".join(f"{count} x {error}" for error, count in result["errors"].get(name, {}).items())
        lines.append(f"{name:14}{text}" + (f"  wrong: {wrong}" if wrong else ""))
    return "\n".join(lines)


def write_scenes(out: Path, found: EvaluatedScenes) -> Path:
    """Write the JSON file and the page; the path of the first."""
    sections: list[Gallery | Scores] = [_kinds(found.result)]
    for title, right in (("Wrong images", False), ("Right images", True)):
        items = [
            Item({"made": image}, check.claim.caption, check.error or "")
            for image, check in zip(found.images, found.checks, strict=True)
            if check.right is right
        ][:_SCENES]
        if items:
            sections.append(Gallery(title, f"The first {len(items)}.", items, width=130))
    lead = "Each image is right or wrong: its objects are read from the pixels, without any model."
    return write_outcome(out, found.result, sections, title="Scenes", lead=lead)


def _kinds(result: dict[str, Any]) -> Scores:
    rows = []
    for kind, count in result["counts"].items():
        errors = ", ".join(f"{number} {error}" for error, number in result["errors"][kind].items())
        score = result["scores"][kind]
        rows.append((kind, str(count), score["mean"], _interval(score), errors or "none"))
    columns = ("kind of caption", "images", "right", "95 % interval", "first fault of the others")
    text = "Right means: exactly what is claimed, and nothing else."
    return Scores("By kind of caption", text, columns, rows, ours=-1)


def _mean(score: Any) -> float:
    return float(score["mean"] if isinstance(score, dict) else score)


def _interval(score: dict[str, float]) -> str:
    return f"{100 * score['low']:.1f} to {100 * score['high']:.1f}"
