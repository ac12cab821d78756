"""The claims of masked image modelling that `mimgen compare mim` tries, each with its baseline."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mimgen.recipes import DataConfig
from mimgen.recipes.compare.mim_measures import Measure, collapse, foreground, hard_order, reconstruction_gain
from mimgen.recipes.compare.mim_own import (
    MismatchedPairs,
    Unscaled,
    band_prediction,
    clouds,
    disparity,
    organs,
    people,
    second_view,
)

__all__ = ["COMPARISONS", "FOLDED", "PROBES", "Arm", "Comparison"]

PROBES = ("knn", "linear")
FOLDED = tuple(f"{name}, folds" for name in PROBES)


@dataclass(frozen=True)
class Arm:
    """A config with arguments.

    Attributes:
        name: in tables.
        config: name of the config.
        options: arguments that differ from its defaults.
        watch: metrics of its log whose last values are told.
        data: what it is trained on, where that is not the study's; it is then not probed but measured alone.
        size: of the config, where that is not the study's.
        own_side: the images have the side of the config's size, where the study's does not fit; so they have with
            data of their own.
        trained: false leaves it as it starts.
        change_data: what its data become before training.
    """

    name: str
    config: str
    options: tuple[tuple[str, Any], ...] = ()
    watch: tuple[str, ...] = ()
    data: str | None = None
    size: str | None = None
    own_side: bool = False
    trained: bool = True
    change_data: Callable[[DataConfig], DataConfig] | None = None

    @property
    def file(self) -> str:
        """A name that can be one of a file."""
        parts = [self.config, *(f"{key}={value}" for key, value in self.options)]
        parts += [] if self.data is None else [f"data={self.data}"]
        parts += [] if self.change_data is None else [self.change_data.__name__]
        return "-".join(parts if self.trained else [*parts, "untrained"])


@dataclass(frozen=True)
class Comparison:
    """What a paper claims and what is compared for it.

    Attributes:
        system: its name.
        hypothesis: in a few words.
        arms: the system first, then its baseline, then ablations.
        measures: what is measured of each of them besides probes.
        judged_by: names of the probes and measured numbers by which they are compared; higher is better, 1 is best.
    """

    system: str
    hypothesis: str
    arms: tuple[Arm, ...]
    measures: tuple[Measure, ...] = ()
    judged_by: tuple[str, ...] = FOLDED

    @property
    def baseline(self) -> Arm:
        """What the system is evaluated against."""
        return self.arms[1]


MAE = Arm("MAE", "mae")
SIMMIM = Arm("SimMIM", "simmim")
IBOT = Arm("iBOT", "ibot")


def mismatched_pairs(images: DataConfig) -> DataConfig:
    """The same pairs, each scene with the second view of another."""
    return MismatchedPairs(images.spec, images.size, images.split)


def unscaled(images: DataConfig) -> DataConfig:
    """The same bands, in per cent and kelvin."""
    return Unscaled(images.spec, images.size, images.split)


COMPARISONS: tuple[Comparison, ...] = (
    Comparison("simmim", "a mask token, raw pixels and a linear head do as well as MAE", (SIMMIM, MAE)),
    Comparison("beitv2", "codes of a tokenizer and a class-token bottleneck beat pixels", (
        Arm("BEiT v2 (codes of centroids)", "beitv2"), MAE,
        Arm("without the bottleneck", "beitv2", (("bottleneck", False),)),
    )),
    Comparison("ccvit", "centroids and pixels together beat pixels", (Arm("CCViT", "ccvit"), MAE)),
    Comparison("cae", "predicting in the encoder's own space beats MAE", (
        Arm("CAE (codes of centroids)", "cae"), MAE,
        Arm("without alignment", "cae", (("align_weight", 0.0),)),
    )),
    Comparison("ibot", "patch and class distillation beat class distillation alone", (
        IBOT, Arm("class token only (DINO)", "ibot", (("patch_weight", 0.0),)),
        Arm("patches only", "ibot", (("class_weight", 0.0),)), MAE,
    )),
    Comparison("attmask", "masking what the teacher attends to beats random masks", (
        Arm("AttMask, high", "attmask"), Arm("random", "attmask", (("mode", "random"),)),
        Arm("low (control)", "attmask", (("mode", "low"),)),
        Arm("hints", "attmask", (("mode", "hints"),)),
    ), (foreground,)),
    Comparison("hpm", "mining hard patches beats random masks", (
        Arm("HPM", "hpm"), MAE,
        Arm("predictor, random masks", "hpm", (("hard_share", 0.0),)),
    ), (hard_order, foreground)),
    Comparison("latentmim", "latents of masked patches beat pixels at k-NN", (
        # cells are larger than patches by a gap, and the encoder sees images without it
        Arm("LatentMIM", "latentmim", own_side=True), MAE,
        Arm("squared error", "latentmim", (("loss", "squared"),), own_side=True),
        Arm("no moving average", "latentmim", (("joint", True), ("loss", "squared")), own_side=True),
    ), (collapse, reconstruction_gain)),
    Comparison("localmim", "local reconstruction at several scales learns faster", (
        Arm("LocalMIM", "localmim"), Arm("top layer only", "localmim", (("scales", "top"),)),
        Arm("one scale", "localmim", (("scales", "single"),)), MAE,
    )),
    Comparison("mff", "a learnt mix of shallow and deep layers beats the last layer alone", (
        Arm("MFF", "mff"), Arm("last layer (MAE)", "mff", (("mixture", "last"),)),
        Arm("even mix", "mff", (("mixture", "even"),)),
    ), (reconstruction_gain,)),
    Comparison("lut", "a broader-context loss on visible tokens beats MAE", (
        Arm("LUT", "lut"), MAE, Arm("context weight 0", "lut", (("context_weight", 0.0),)),
    )),
    Comparison("selectivemae", "encoding 15 % and telling 25 % of the patches matches MAE at less cost", (
        Arm("SelectiveMAE", "selectivemae"), MAE,
        Arm("released score (uniform)", "selectivemae", (("guide", "released"),)),
    )),
    Comparison("dmjd", "disjoint views and a loss on visible tokens beat independent views", (
        Arm("DMJD", "dmjd"),
        Arm("independent views, no visible branch", "dmjd", (("views", "independent"), ("theta", 0.0))),
        Arm("disjoint, no visible branch", "dmjd", (("theta", 0.0),)), MAE,
    ), (reconstruction_gain,)),
    Comparison("itpn", "a pyramid pretrained as a whole beats a plain encoder", (Arm("iTPN", "itpn"), MAE)),
    Comparison("a2mim", "colour fill, a token inside and spectra suit a CNN better than SimMIM's zeros and pixels", (
        Arm("A2MIM (ResNet-18)", "a2mim"),
        Arm("SimMIM's way", "a2mim", (("mean_fill", False), ("token_stage", 0), ("frequency_weight", 0.0))),
        Arm("zeros instead of colour", "a2mim", (("mean_fill", False),)),
        Arm("token at the first stage", "a2mim", (("token_stage", 0),)),
        Arm("without spectra", "a2mim", (("frequency_weight", 0.0),)),
        Arm("untrained", "a2mim", trained=False),
    )),
    Comparison("croco", "the second view is used, and teaches what is near", (
        Arm("CroCo", "croco", data="parallax"),
        Arm("second views of other scenes", "croco", data="parallax", change_data=mismatched_pairs),
        Arm("MAE, first views", "mae", data="parallax"),
    ), (second_view, disparity), ("second view", "disparity, both views", "disparity, one view")),
    Comparison("hap", "masking parts of bodies and aligning two masked views help to tell people", (
        Arm("HAP", "hap", data="figures"),
        Arm("random masks (MAE)", "hap", (("parts", 0), ("blocks", False), ("alignment_weight", 0.0)),
                data="figures"),
        Arm("parts, no alignment", "hap", (("alignment_weight", 0.0),), data="figures"),
        Arm("alignment, random masks", "hap", (("parts", 0), ("blocks", False)), data="figures"),
    ), (people,), ("attributes", "identity")),
    Comparison("satvision_toa", "pretraining on scaled bands teaches about clouds", (
        Arm("SatVision-TOA", "satvision_toa", data="bands"),
        Arm("untrained", "satvision_toa", data="bands", trained=False),
        Arm("bands not scaled", "satvision_toa", data="bands", change_data=unscaled),
    ), (clouds, band_prediction), ("profile", "cover")),
    Comparison("hiendmae", "decoding from several layers makes the middle ones better", (
        Arm("Hi-End-MAE", "hiendmae", data="volumes", size="volumes32"),
        Arm("from the last layer alone", "hiendmae", (("hierarchical", False),), data="volumes", size="volumes32"),
        Arm("untrained", "hiendmae", data="volumes", size="volumes32", trained=False),
    ), (organs,), ("dice, middle", "dice")),
)
