"""Pretraining systems against their baselines at equal cost, each with the hypothesis of its paper."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from mimgen.configs import parse_integers, parse_words
from mimgen.errors import UserError
from mimgen.probing.frozen import probe_best_layer, probe_folds
from mimgen.probing.objective_measures import Measure, collapse, foreground, own_metrics, ranking
from mimgen.probing.own_data import band_prediction, clouds, disparity, organs, people, second_view
from mimgen.recipes import DataConfig
from mimgen.recipes.compare import (
    Arm,
    Budget,
    Compare,
    ConfigRun,
    MeasureObjective,
    Paired,
    ProbeEncoder,
    Results,
    Train,
)  # fmt: skip
from mimgen.recipes.control_data import mismatched_pairs, unscaled
from mimgen.report.sections import Column, Section

PROBES = ("knn", "linear")
# Five folds of train test twenty times as many images as val has: what a paired difference of a point needs.
FOLDED = {name: f"folds.accuracy.{name}" for name in PROBES}
AS_GOOD = 0.01  # margin of hypotheses that say "as good as": one point of accuracy


def experiment(
    systems: str = "all",
    seeds: str = "0,1,2",
    images: int = 16_000,
    data: str = "emoji",
    size: str = "emoji64",
    pixels: int = 64,
    ablations: bool = True,
    controls: bool = True,
) -> Compare:
    """Pretrain each system and its baseline with the same operations, and probe both.

    The budget is that of a plain MAE which sees `images`; a system whose step costs more sees fewer images.
    Operations are counted, forward and backward, those of teachers included, so the load of the machine does not
    matter. Probes are tested on `val` and, for the hypotheses, on every image of train by five folds: the encoders
    have seen these images, but no label. Systems made for other data (two views, people, bands, volumes) are trained
    on built-in data of that kind, at the side of their configs, and compared by measures of their own.

    Command: mimgen compare mim --systems mff,hpm --no-ablations --images 9600

    Cost: with 9,600 images about two minutes of one core per arm and seed, and one more for its probes.

    Args:
        systems: names with commas between; "all" for every one.
        seeds: of weights, data order and masks, with commas between.
        images: training images of MAE, whose operations are the budget of all.
        data: what is pretrained on and probed; its finest label is read. Not of systems with data of their own.
        size: size of the configs.
        pixels: side of the images.
        ablations: also the further arms of each system; without, only it, its baseline and the controls.
        controls: also every system's network as initialised, and raw pixels.
    """
    chosen = _choose(systems)
    common: dict[str, Any] = {"size": size, "data": data, "pixels": pixels}
    budget = Budget(images, reference=_run(MAE, **common))
    arms: dict[str, Arm] = {}
    hypotheses = []
    for comparison in chosen:
        for system in comparison.shown(ablations, controls):
            parts = {**arms[system.key].parts} if system.key in arms else _parts(system, budget, **common)
            build = _run(system, **common)
            for measure in comparison.measures:
                parts[measure.__name__] = MeasureObjective(measure, build, system.trained)
            arms[system.key] = Arm(system.key, parts)
        first, baseline = comparison.systems[:2]
        untrained = first.untrained().key if controls and first.untrained() != baseline else None
        correct = {name: f"folds.correct.{name}" for name in PROBES}
        hypotheses.append(Paired(f"{comparison.name}: {comparison.hypothesis}", first.key, baseline.key,
                                 comparison.scores, correct, comparison.margin, untrained))  # fmt: skip
    if controls and any(each.scores is FOLDED for each in chosen):
        arms["raw pixels"] = Arm("raw pixels", _probed("pixels", data, pixels), seeded=False)
    sections = partial(tables, chosen=chosen, ablations=ablations, controls=controls)
    return Compare("mim", "Pretraining at equal cost", list(arms.values()), parse_integers(seeds, "seeds"),
                   {**common, "budget": str(budget)}, sections, hypotheses)  # fmt: skip


@dataclass(frozen=True)
class System:
    """A config with arguments.

    Attributes:
        name: in tables.
        config: name of the config.
        options: arguments that differ from its defaults.
        data: what it is trained on, where that is not the comparison's; it is then not probed but measured alone.
        size: of the config, where that is not the comparison's.
        own_side: the images have the side of the config's size, as they have with data of their own.
        trained: false leaves it as initialised.
        change: what its data become before training.
    """

    name: str
    config: str
    options: tuple[tuple[str, Any], ...] = ()
    data: str | None = None
    size: str | None = None
    own_side: bool = False
    trained: bool = True
    change: Callable[[DataConfig], DataConfig] | None = None

    @property
    def key(self) -> str:
        """Name of its arm and files."""
        parts = [self.config, *(f"{key}={value}" for key, value in self.options)]
        parts += [] if self.data is None else [f"data={self.data}"]
        parts += [] if self.change is None else [self.change.__name__]
        return "-".join(parts if self.trained else [*parts, "untrained"])

    def untrained(self) -> System:
        """Its control."""
        return replace(self, name="untrained", trained=False)


def system(name: str, config: str, *, data: str | None = None, size: str | None = None, own_side: bool = False,
           trained: bool = True, change: Callable[[DataConfig], DataConfig] | None = None, **options: Any) -> System:
    """A `System` whose options are keywords."""
    return System(name, config, tuple(options.items()), data, size, own_side=own_side, trained=trained, change=change)


@dataclass(frozen=True)
class Comparison:
    """The hypothesis of a paper and what is compared for it.

    Attributes:
        name: of the system.
        hypothesis: in a few words.
        systems: the system first, then its baseline, then ablations.
        measures: what is measured of each of them besides probes.
        scores: where in a row the scores lie by which the first two are compared; higher is better, 1 is best.
        margin: see `Paired`.
    """

    name: str
    hypothesis: str
    systems: tuple[System, ...]
    measures: tuple[Measure, ...] = ()
    scores: Mapping[str, str] = field(default_factory=lambda: FOLDED)
    margin: float = 0.0

    def shown(self, ablations: bool, controls: bool) -> list[System]:
        """The systems asked for, with the untrained network of the first."""
        systems = list(self.systems if ablations else self.systems[:2])
        control = self.systems[0].untrained()
        return systems if not controls or control in systems else [*systems, control]


def _run(system: System, size: str, data: str, pixels: int) -> ConfigRun:
    pixels_or_own = None if system.own_side or system.data else pixels
    arguments = {"size": size if size == "tiny" else system.size or size, "data": system.data or data,
                 "pixels": pixels_or_own, "precision": "fp32", **dict(system.options)}  # fmt: skip
    return ConfigRun(system.config, arguments, change=system.change)


def _parts(system: System, budget: Budget, size: str, data: str, pixels: int) -> dict[str, Any]:
    """Training and, of systems without data of their own, probes."""
    train = Train(_run(system, size, data, pixels), budget, system.trained, fit_schedules=True)
    return {"training": train, **(_probed(None, data, pixels) if system.data is None else {})}


def _probed(spec: str | None, data: str, pixels: int) -> dict[str, Any]:
    return {"probes": ProbeEncoder(probe_best_layer, data, pixels, PROBES, spec),
            "folds": ProbeEncoder(probe_folds, data, pixels, PROBES, spec)}  # fmt: skip


def tables(results: Results, chosen: Sequence[Comparison], ablations: bool, controls: bool) -> list[Section]:
    """A table for each system; everything else that was measured follows the scores."""
    sections = []
    for comparison in chosen:
        systems = comparison.shown(ablations, controls)
        lines = {system.name: results.get(system.key, []) for system in systems}
        rows = [row for each in lines.values() for row in each]
        columns = [Column(f"{name} %", path, 1, 100) for name, path in comparison.scores.items()]
        if folded := comparison.scores is FOLDED:
            chance = [{"probes": {"accuracy": dict.fromkeys(PROBES, row["probes"]["majority"])}}
                      for row in rows if "probes" in row][:1]  # fmt: skip
            lines |= {"raw pixels": results.get("raw pixels", []), "most frequent class": chance}
            columns += [Column(f"{name} on val %", f"probes.accuracy.{name}", 1, 100) for name in PROBES]
        columns += [Column("steps", "training.steps", 0), Column("images", "training.images", 0),
                    Column("cost of an image", "training.share")]  # fmt: skip
        names = dict.fromkeys(
            f"{measure.__name__}.{name}" for measure in comparison.measures for row in rows
            for name in row.get(measure.__name__, {}) if name != "made_by"
        )  # fmt: skip
        columns += [Column(path.split(".", 1)[1], path, 3) for path in names if path not in comparison.scores.values()]
        text = "Scores by five folds of train." if folded else ""
        sections.append(Section(f"{comparison.name}: {comparison.hypothesis}", columns, lines, text, "system"))
    return sections


def _choose(text: str) -> list[Comparison]:
    known = {each.name: each for each in COMPARISONS}
    names = list(known) if text == "all" else parse_words(text, "systems")
    if not known.keys() >= set(names):
        raise UserError(f"--systems {text!r}: choose from {', '.join(known)}, with commas between, or all")
    return [known[name] for name in names]


MAE = system("MAE", "mae")

COMPARISONS: tuple[Comparison, ...] = (
    Comparison("simmim", "a mask token, raw pixels and a linear head do as well as MAE", (
        system("SimMIM", "simmim"), MAE,
    ), margin=AS_GOOD),
    Comparison("beitv2", "codes of a tokenizer and a class-token bottleneck beat pixels", (
        system("BEiT v2 (codes of centroids)", "beitv2"), MAE,
        system("without the bottleneck", "beitv2", bottleneck=False),
    )),
    Comparison("ccvit", "centroids and pixels together beat pixels", (system("CCViT", "ccvit"), MAE)),
    Comparison("cae", "predicting in the encoder's own space beats MAE", (
        system("CAE (codes of centroids)", "cae"), MAE,
        system("without alignment", "cae", align_weight=0.0),
    )),
    Comparison("ibot", "patch and class distillation beat class distillation alone", (
        system("iBOT", "ibot"), system("class token only (DINO)", "ibot", patch_weight=0.0),
        system("patches only", "ibot", class_weight=0.0), MAE,
    )),
    Comparison("attmask", "masking what the teacher attends to beats random masks", (
        system("AttMask, high", "attmask"), system("random", "attmask", mode="random"),
        system("low (control)", "attmask", mode="low"), system("hints", "attmask", mode="hints"),
    ), (foreground,)),
    Comparison("hpm", "mining hard patches beats random masks", (
        system("HPM", "hpm"), MAE,
        system("predictor, random masks", "hpm", hard_share=0.0),
    ), (ranking, foreground)),
    Comparison("latentmim", "latents of masked patches beat pixels at k-NN", (
        # cells are larger than patches by a gap, and the encoder sees images without it
        system("LatentMIM", "latentmim", own_side=True), MAE,
        system("squared error", "latentmim", loss="squared", own_side=True),
        system("no moving average", "latentmim", joint=True, loss="squared", own_side=True),
    ), (collapse, own_metrics)),
    Comparison("localmim", "local reconstruction at several scales learns faster", (
        system("LocalMIM", "localmim"), system("top layer only", "localmim", scales="top"),
        system("one scale", "localmim", scales="single"), MAE,
    )),
    Comparison("mff", "a learned mix of shallow and deep layers beats the last layer alone", (
        system("MFF", "mff"), system("last layer (MAE)", "mff", mixture="last"),
        system("even mix", "mff", mixture="even"),
    ), (own_metrics,)),
    Comparison("lut", "a broader-context loss on visible tokens beats MAE", (
        system("LUT", "lut"), MAE, system("context weight 0", "lut", context_weight=0.0),
    )),
    Comparison("selectivemae", "encoding 15 % and predicting 25 % of the patches matches MAE at less cost", (
        system("SelectiveMAE", "selectivemae"), MAE,
        system("official score (uniform)", "selectivemae", guide="released"),
    ), margin=AS_GOOD),
    Comparison("dmjd", "disjoint views and a loss on visible tokens beat independent views", (
        system("DMJD", "dmjd"),
        system("independent views, no visible branch", "dmjd", views="independent", theta=0.0),
        system("disjoint, no visible branch", "dmjd", theta=0.0), MAE,
    ), (own_metrics,)),
    Comparison("itpn", "a pyramid pretrained as a whole beats a plain encoder", (system("iTPN", "itpn"), MAE)),
    Comparison("a2mim", "colour fill, a token inside and spectra suit a CNN better than SimMIM's zeros and pixels", (
        system("A2MIM (ResNet-18)", "a2mim"),
        system("SimMIM's way", "a2mim", mean_fill=False, token_stage=0, frequency_weight=0.0),
        system("zeros instead of colour", "a2mim", mean_fill=False),
        system("token at the first stage", "a2mim", token_stage=0),
        system("without spectra", "a2mim", frequency_weight=0.0),
    )),
    Comparison("croco", "the second view is used, and teaches what is near", (
        system("CroCo", "croco", data="parallax"),
        system("second views of other scenes", "croco", data="parallax", change=mismatched_pairs),
        system("MAE, first views", "mae", data="parallax"),
    ), (second_view, disparity), {
        "gain of the true second view": "second_view.second view",
        "disparity R^2, both views": "disparity.disparity, both views",
        "disparity R^2, one view": "disparity.disparity, one view",
    }),
    Comparison("hap", "masking parts of bodies and aligning two masked views help to tell people", (
        system("HAP", "hap", data="figures"),
        system("random masks (MAE)", "hap", parts=0, blocks=False, alignment_weight=0.0, data="figures"),
        system("parts, no alignment", "hap", alignment_weight=0.0, data="figures"),
        system("alignment, random masks", "hap", parts=0, blocks=False, data="figures"),
    ), (people,), {"attributes": "people.attributes", "identity mAP": "people.identity"}),
    Comparison("satvision_toa", "pretraining on scaled bands teaches about clouds", (
        system("SatVision-TOA", "satvision_toa", data="bands"),
        system("untrained", "satvision_toa", data="bands", trained=False),
        system("bands not scaled", "satvision_toa", data="bands", change=unscaled),
    ), (clouds, band_prediction), {"cloud profile IoU": "clouds.profile", "cloud cover": "clouds.cover"}),
    Comparison("hiendmae", "decoding from several layers makes the middle ones better", (
        system("Hi-End-MAE", "hiendmae", data="volumes", size="volumes32"),
        system("from the last layer alone", "hiendmae", hierarchical=False, data="volumes", size="volumes32"),
        system("untrained", "hiendmae", data="volumes", size="volumes32", trained=False),
    ), (organs,), {"Dice of middle layers": "organs.dice, middle", "Dice of the output": "organs.dice"}),
)
