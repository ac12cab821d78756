"""The claims of masked image modelling that `mimgen compare mim` tries, each with its baseline."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from mimgen.recipes import Pictures
from mimgen.recipes.compare.mim_measures import Measure, collapse, foreground, hard_order, told
from mimgen.recipes.compare.mim_own import (
    Strangers,
    Unscaled,
    clouds,
    disparity,
    organs,
    people,
    second_view,
    told_bands,
)

__all__ = ["FOLDED", "PROBES", "TRIALS", "Trial", "Variant"]

PROBES = ("knn", "linear")
FOLDED = tuple(f"{name}, folds" for name in PROBES)


@dataclass(frozen=True)
class Variant:
    """A config with arguments.

    Attributes:
        name: in tables.
        config: name of the config.
        options: arguments that differ from its defaults.
        watch: metrics of its log whose last values are told.
        data: what it is trained on, where that is not the study's; it is then not probed but measured alone.
        size: of the config, where that is not the study's.
        own_side: the pictures have the side of the config's size, where the study's does not fit; so they have with
            data of their own.
        trained: false leaves it as it starts.
        pictures: what its data become before training.
    """

    name: str
    config: str
    options: tuple[tuple[str, Any], ...] = ()
    watch: tuple[str, ...] = ()
    data: str | None = None
    size: str | None = None
    own_side: bool = False
    trained: bool = True
    pictures: Callable[[Pictures], Pictures] | None = None

    @property
    def file(self) -> str:
        """A name that can be one of a file."""
        parts = [self.config, *(f"{key}={value}" for key, value in self.options)]
        parts += [] if self.data is None else [f"data={self.data}"]
        parts += [] if self.pictures is None else [self.pictures.__name__]
        return "-".join(parts if self.trained else [*parts, "untrained"])


@dataclass(frozen=True)
class Trial:
    """What a paper claims and what is compared for it.

    Attributes:
        system: its name.
        claim: in a few words.
        variants: the system first, then its baseline, then ablations.
        measures: what is measured of each of them besides probes.
        judged: names of the probes and measured numbers by which they are compared; higher is better, 1 is best.
    """

    system: str
    claim: str
    variants: tuple[Variant, ...]
    measures: tuple[Measure, ...] = ()
    judged: tuple[str, ...] = FOLDED

    @property
    def baseline(self) -> Variant:
        """What the system is judged against."""
        return self.variants[1]


MAE = Variant("MAE", "mae")
SIMMIM = Variant("SimMIM", "simmim")
IBOT = Variant("iBOT", "ibot")


def strangers(pictures: Pictures) -> Pictures:
    """The same pairs, each scene with the second view of another."""
    return Strangers(pictures.spec, pictures.size, pictures.split)


def unscaled(pictures: Pictures) -> Pictures:
    """The same bands, in per cent and kelvin."""
    return Unscaled(pictures.spec, pictures.size, pictures.split)


TRIALS: tuple[Trial, ...] = (
    Trial("simmim", "a mask token, raw pixels and a linear head do as well as MAE", (SIMMIM, MAE)),
    Trial("beitv2", "codes of a tokenizer and a class-token bottleneck beat pixels", (
        Variant("BEiT v2 (codes of centroids)", "beitv2"), MAE,
        Variant("without the bottleneck", "beitv2", (("bottleneck", False),)),
    )),
    Trial("ccvit", "centroids and pixels together beat pixels", (Variant("CCViT", "ccvit"), MAE)),
    Trial("cae", "predicting in the encoder's own space beats MAE", (
        Variant("CAE (codes of centroids)", "cae"), MAE,
        Variant("without alignment", "cae", (("align_weight", 0.0),)),
    )),
    Trial("ibot", "patch and class distillation beat class distillation alone", (
        IBOT, Variant("class token only (DINO)", "ibot", (("patch_weight", 0.0),)),
        Variant("patches only", "ibot", (("class_weight", 0.0),)), MAE,
    )),
    Trial("attmask", "hiding what the teacher attends to beats random masks", (
        Variant("AttMask, high", "attmask"), Variant("random", "attmask", (("mode", "random"),)),
        Variant("low (control)", "attmask", (("mode", "low"),)),
        Variant("hints", "attmask", (("mode", "hints"),)),
    ), (foreground,)),
    Trial("hpm", "mining hard patches beats random masks", (
        Variant("HPM", "hpm"), MAE,
        Variant("predictor, random masks", "hpm", (("hard_share", 0.0),)),
    ), (hard_order, foreground)),
    Trial("latentmim", "latents of masked patches beat pixels at k-NN", (
        # cells are larger than patches by a gap, and the encoder sees pictures without it
        Variant("LatentMIM", "latentmim", own_side=True), MAE,
        Variant("squared error", "latentmim", (("loss", "squared"),), own_side=True),
        Variant("no moving average", "latentmim", (("joint", True), ("loss", "squared")), own_side=True),
    ), (collapse, told)),
    Trial("localmim", "local reconstruction at several scales learns faster", (
        Variant("LocalMIM", "localmim"), Variant("top layer only", "localmim", (("scales", "top"),)),
        Variant("one scale", "localmim", (("scales", "single"),)), MAE,
    )),
    Trial("mff", "a learnt mix of shallow and deep layers beats the last layer alone", (
        Variant("MFF", "mff"), Variant("last layer (MAE)", "mff", (("mixture", "last"),)),
        Variant("even mix", "mff", (("mixture", "even"),)),
    ), (told,)),
    Trial("lut", "a broader-context loss on visible tokens beats MAE", (
        Variant("LUT", "lut"), MAE, Variant("context weight 0", "lut", (("context_weight", 0.0),)),
    )),
    Trial("selectivemae", "encoding 15 % and telling 25 % of the patches matches MAE at less cost", (
        Variant("SelectiveMAE", "selectivemae"), MAE,
        Variant("released score (uniform)", "selectivemae", (("guide", "released"),)),
    )),
    Trial("dmjd", "disjoint views and a loss on visible tokens beat independent views", (
        Variant("DMJD", "dmjd"),
        Variant("independent views, no visible branch", "dmjd", (("views", "independent"), ("theta", 0.0))),
        Variant("disjoint, no visible branch", "dmjd", (("theta", 0.0),)), MAE,
    ), (told,)),
    Trial("itpn", "a pyramid pretrained as a whole beats a plain encoder", (Variant("iTPN", "itpn"), MAE)),
    Trial("a2mim", "colour fill, a token inside and spectra suit a CNN better than SimMIM's zeros and pixels", (
        Variant("A2MIM (ResNet-18)", "a2mim"),
        Variant("SimMIM's way", "a2mim", (("mean_fill", False), ("token_stage", 0), ("frequency_weight", 0.0))),
        Variant("zeros instead of colour", "a2mim", (("mean_fill", False),)),
        Variant("token at the first stage", "a2mim", (("token_stage", 0),)),
        Variant("without spectra", "a2mim", (("frequency_weight", 0.0),)),
        Variant("untrained", "a2mim", trained=False),
    )),
    Trial("croco", "the second view is used, and teaches what is near", (
        Variant("CroCo", "croco", data="parallax"),
        Variant("second views of other scenes", "croco", data="parallax", pictures=strangers),
        Variant("MAE, first views", "mae", data="parallax"),
    ), (second_view, disparity), ("second view", "disparity, both views", "disparity, one view")),
    Trial("hap", "hiding parts of bodies and aligning two masked views help to tell people", (
        Variant("HAP", "hap", data="figures"),
        Variant("random masks (MAE)", "hap", (("parts", 0), ("blocks", False), ("alignment_weight", 0.0)),
                data="figures"),
        Variant("parts, no alignment", "hap", (("alignment_weight", 0.0),), data="figures"),
        Variant("alignment, random masks", "hap", (("parts", 0), ("blocks", False)), data="figures"),
    ), (people,), ("attributes", "identity")),
    Trial("satvision_toa", "pretraining on scaled bands teaches about clouds", (
        Variant("SatVision-TOA", "satvision_toa", data="bands"),
        Variant("untrained", "satvision_toa", data="bands", trained=False),
        Variant("bands not scaled", "satvision_toa", data="bands", pictures=unscaled),
    ), (clouds, told_bands), ("profile", "cover")),
    Trial("hiendmae", "decoding from several layers makes the middle ones better", (
        Variant("Hi-End-MAE", "hiendmae", data="volumes", size="volumes32"),
        Variant("from the last layer alone", "hiendmae", (("hierarchical", False),), data="volumes", size="volumes32"),
        Variant("untrained", "hiendmae", data="volumes", size="volumes32", trained=False),
    ), (organs,), ("dice, middle", "dice")),
)
