"""The claims of masked image modelling that `mimgen bench study mim` tries, each with its baseline."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

__all__ = ["TRIALS", "Trial", "Variant"]


@dataclass(frozen=True)
class Variant:
    """A config with arguments.

    Attributes:
        name: in tables.
        config: name of the config.
        options: arguments that differ from its defaults.
        watch: metrics of its log whose last values are told.
    """

    name: str
    config: str
    options: tuple[tuple[str, Any], ...] = ()
    watch: tuple[str, ...] = ()

    @property
    def file(self) -> str:
        """A name that can be one of a file."""
        return "-".join([self.config, *(f"{key}={value}" for key, value in self.options)])


@dataclass(frozen=True)
class Trial:
    """What a paper claims and what is compared for it.

    Attributes:
        system: its name.
        claim: in a few words.
        variants: the system first, then its baseline, then ablations.
    """

    system: str
    claim: str
    variants: tuple[Variant, ...]

    @property
    def baseline(self) -> Variant:
        """What the system is judged against."""
        return self.variants[1]


MAE = Variant("MAE", "mae")
SIMMIM = Variant("SimMIM", "simmim")
IBOT = Variant("iBOT", "ibot")

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
    )),
    Trial("hpm", "mining hard patches beats random masks", (
        Variant("HPM", "hpm"), MAE,
        Variant("predictor, random masks", "hpm", (("hard_share", 0.0),)),
    )),
    Trial("latentmim", "latents of masked patches beat pixels at k-NN", (
        Variant("LatentMIM", "latentmim"), MAE,
        Variant("squared error", "latentmim", (("loss", "squared"),)),
        Variant("no moving average", "latentmim", (("joint", True), ("loss", "squared"))),
    )),
    Trial("localmim", "local reconstruction at several scales learns faster", (
        Variant("LocalMIM", "localmim"), Variant("top layer only", "localmim", (("scales", "top"),)),
        Variant("one scale", "localmim", (("scales", "single"),)), MAE,
    )),
    Trial("mff", "a learnt mix of shallow and deep layers beats the last layer alone", (
        Variant("MFF", "mff"), Variant("last layer (MAE)", "mff", (("mixture", "last"),)),
        Variant("even mix", "mff", (("mixture", "even"),)),
    )),
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
    )),
    Trial("itpn", "a pyramid pretrained as a whole beats a plain encoder", (Variant("iTPN", "itpn"), MAE)),
)
