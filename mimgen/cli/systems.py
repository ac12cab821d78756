"""`mimgen systems`: the 47 systems that mimgen covers, what exists of each and what was measured."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Literal

from mimgen.cli.options import parse

__all__ = ["SYSTEMS", "System", "main", "table"]

Kind = Literal["reconstruct", "align", "image-text", "generate", "use"]


@dataclass(frozen=True)
class System:
    """One published system.

    Attributes:
        slug: short name, also the name of its config.
        kind: what it does: reconstruct pixels, features or codes; align with a teacher; join image and
            text; generate; use or study representations.
        title: the paper's title.
        cases: recorded runs of the official code that it is compared with.
        config: path of its config below configs/, None while it is planned.
        result: one measured figure with its unit and data, empty while there is none.
        command: what to type where the system is no training but a use or a study; empty otherwise.
    """

    slug: str
    kind: Kind
    title: str
    cases: tuple[str, ...] = ()
    config: str | None = None
    result: str = ""
    command: str = ""

    @property
    def built(self) -> bool:
        """Whether there is something to run."""
        return self.config is not None or bool(self.command)


SYSTEMS: tuple[System, ...] = (
    System("dtm", "reconstruct", "Masked Image Modeling via Dynamic Token Morphing"),
    System("hpm", "reconstruct", "Hard Patches Mining for Masked Image Modeling", ("hpm", "hpm_mask"), config="pretrain/hpm",
        result="emoji, 2 seeds, equal cost: k-NN 34.8 %, linear 48.8 % (MAE 34.4, 49.3 %)"),
    System(
        "latentmim", "reconstruct",
        "Towards Latent Masked Image Modeling for Self-Supervised Visual Representation Learning",
        ("latentmim",),
        config="pretrain/latentmim",
        result="emoji, 2 seeds, equal cost: k-NN 40.1 %, linear 50.3 % (MAE 34.4, 49.3 %)",
    ),
    System(
        "selectivemae", "reconstruct",
        "Harnessing Massive Satellite Imagery with Efficient Masked Image Modeling", ("selectivemae",),
        config="pretrain/selectivemae",
        result="emoji, 2 seeds, equal cost: k-NN 41.5 %, linear 49.6 % (MAE 34.4, 49.3 %)",
    ),
    System(
        "localmim", "reconstruct", "Masked Image Modeling with Local Multi-Scale Reconstruction",
        ("localmim",),
        config="pretrain/localmim",
        result="emoji, 2 seeds, equal cost: k-NN 37.8 %, linear 48.6 % (top layer only 38.8, 46.6 %)",
    ),
    System(
        "dmjd", "reconstruct", "Disjoint Masking with Joint Distillation for Efficient Masked Image Modeling",
        ("dmjd",),
        config="pretrain/dmjd",
        result="emoji, 2 seeds, equal cost: k-NN 40.4 %, linear 49.0 % (independent views, no visible branch 39.3, 48.9 %)",
    ),
    System(
        "beitv2", "reconstruct", "BEiT v2: Masked Image Modeling with Vector-Quantized Visual Tokenizers",
        ("beitv2", "beitv2_tokenizer", "block_mask"),
        config="pretrain/beitv2",
        result="emoji, 2 seeds, equal cost: k-NN 32.4 %, linear 44.0 % (MAE 34.4, 49.3 %)",
    ),
    System(
        "hap", "align", "HAP: Structure-Aware Masked Image Modeling for Human-Centric Perception", ("hap",),
        config="pretrain/hap",
        result="figures, 2 seeds, equal cost: attributes 66.9 %, identity mAP 11.8 % (random masks (MAE) 75.6, 23.6 %)",
    ),
    System("supmim", "align", "Improve Supervised Representation Learning with Masked Image Modeling"),
    System(
        "datascaling", "reconstruct", "On Data Scaling in Masked Image Modeling", ("simmim",),
        command="mimgen compare scaling",
    ),
    System(
        "mimdet", "use",
        "Unleashing Vanilla Vision Transformer with Masked Image Modeling for Object Detection", ("mimdet",),
    ),
    System(
        "flexpredict", "reconstruct",
        "Predicting masked tokens in stochastic locations improves masked image modeling",
    ),
    System(
        "attmask", "reconstruct", "What to Hide from Your Students: Attention-Guided Masked Image Modeling",
        ("attmask",),
        config="pretrain/attmask",
        result="emoji, 2 seeds, equal cost: k-NN 36.5 %, linear 48.0 % (random 36.7, 47.9 %)",
    ),
    System("maskalign", "align", "Stare at What You See: Masked Image Modeling without Reconstruction"),
    System(
        "efficient_probing", "use",
        "Attention, Please! Revisiting Attentive Probing for Masked Image Modeling", ("efficient_probing",),
        result="subgroups of emoji, bundled generator, 3 seeds: efficient 76.5 %, linear 71.0 %",
        command="mimgen probe --probes efficient",
    ),
    System("ropim", "reconstruct", "Pre-training with Random Orthogonal Projection Image Modeling"),
    System(
        "mff", "reconstruct", "Improving Pixel-based MIM by Reducing Wasted Modeling Capability", ("mff",),
        config="pretrain/mff",
        result="emoji, 2 seeds, equal cost: k-NN 36.6 %, linear 49.4 % (last layer (MAE) 34.4, 49.3 %)",
    ),
    System(
        "hiendmae", "reconstruct",
        "Hi-End-MAE: Hierarchical encoder-driven masked autoencoders are stronger vision learners for medical image segmentation",
        ("hiendmae",),
        config="pretrain/hiendmae",
        result="volumes, 2 seeds, equal cost: Dice of middle layers 19.9 %, best layer 20.1 % (from the last layer alone 18.5, 18.7 %)",
    ),
    System(
        "mom_distformer", "use", "Monocular Per-Object Distance Estimation with Masked Object Modeling",
        ("distformer",),
    ),
    System(
        "meissonic", "generate",
        "Meissonic: Revitalizing Masked Generative Transformers for Efficient High-Resolution Text-to-Image Synthesis",
        ("meissonic_scheduler", "meissonic_t2i", "meissonic_train", "meissonic_transformer"),
        config="generate/meissonic",
        result="emoji, composition R@1: 64 px, 6 hours on 2 cores 54.3 % (copying 26.2 %); R@5: 32 px, 9 min 32.3 % (64.0 %)",
    ),
    System(
        "ccvit", "reconstruct", "Centroid-centered Modeling for Efficient Vision Transformer Pre-training",
        ("ccvit",), config="pretrain/ccvit",
        result="emoji, 2 seeds, equal cost: k-NN 34.5 %, linear 46.0 % (MAE 34.4, 49.3 %)",
    ),
    System("ibot", "reconstruct", "iBOT: Image BERT Pre-Training with Online Tokenizer", ("ibot",), config="pretrain/ibot",
        result="emoji, 2 seeds, equal cost: k-NN 36.8 %, linear 47.9 % (class token only (DINO) 37.1, 48.2 %)"),
    System("mto", "reconstruct", "Emerging Property of Masked Token for Effective Pre-training"),
    System(
        "hybrid_distill", "align",
        "Hybrid Distillation: Connecting Masked Autoencoders with Contrastive Learners",
    ),
    System(
        "mergevq", "generate",
        "MergeVQ: A Unified Framework for Visual Generation and Representation with Disentangled Token Merging and Quantization",
        (
            "mergevq_decoder", "mergevq_encoder", "mergevq_full", "mergevq_gpt", "mergevq_schedule",
            "mergevq_source_recovery",
        ),
        config="tokenizer/mergevq",
        result="tokenizer; emoji 64 px, 9,600 pictures seen, 3 seeds: 15.2 to 15.7 dB with 16 to 64 tokens (no generator yet)",
    ),
    System("lut", "reconstruct", "Learning with Unmasked Tokens Drives Stronger Vision Learners", ("lut",), config="pretrain/lut",
        result="emoji, 2 seeds, equal cost: k-NN 35.2 %, linear 49.3 % (MAE 34.4, 49.3 %)"),
    System(
        "croco", "reconstruct",
        "CroCo: Self-Supervised Pre-training for 3D Vision Tasks by Cross-View Completion", ("croco",),
        config="pretrain/croco",
        result="parallax, 2 seeds, equal cost: gain of the true second view 15.6 %, disparity R^2, both views 9.9 % (second views of other scenes -0.0, 7.6 %)",
    ),
    System("plain_detr", "use", "DETR Doesn't Need Multi-Scale or Locality Design", ("plain_detr",)),
    System("cae", "reconstruct", "Context Autoencoder for Self-Supervised Representation Learning", ("cae",), config="pretrain/cae",
        result="emoji, 2 seeds, equal cost: k-NN 33.1 %, linear 46.6 % (MAE 34.4, 49.3 %)"),
    System("remoteclip", "image-text", "RemoteCLIP: A Vision Language Foundation Model for Remote Sensing"),
    System("njepa", "align", "Improving Joint Embedding Predictive Architecture with Diffusion Noise"),
    System(
        "satvision_toa", "reconstruct",
        "SatVision-TOA: A Geospatial Foundation Model for Coarse-Resolution All-Sky Remote Sensing Imagery",
        ("satvision",),
        config="pretrain/satvision_toa",
        result="bands, 2 seeds, equal cost: cloud profile R^2 65.2 %, cloud cover 66.6 % (untrained 65.8, 67.0 %)",
    ),
    System(
        "cl_vs_mim", "use", "What Do Self-Supervised Vision Transformers Learn?", ("clvsmim",),
        command="mimgen analyse --against",
    ),
    System("uta", "align", "Enhancing Vision-Language Model with Unmasked Token Alignment", ("uta",)),
    System("itpn", "reconstruct", "Integrally Pre-Trained Transformer Pyramid Networks", ("itpn",), config="pretrain/itpn",
        result="emoji, 2 seeds, equal cost: k-NN 34.8 %, linear 45.0 % (MAE 34.4, 49.3 %)"),
    System(
        "clip_quality_captions", "image-text",
        "CLIP with Quality Captions: A Strong Pretraining for Vision Tasks",
    ),
    System(
        "bilma", "image-text", "BiLMa: Bidirectional Local-Matching for Text-based Person Re-identification",
    ),
    System(
        "dsva", "use",
        "Boosting Generative Adversarial Transferability with Self-supervised Vision Transformer Features",
    ),
    System(
        "fsfm", "align",
        "FSFM: A Generalizable Face Security Foundation Model via Self-Supervised Facial Representation Learning",
        ("fsfm",),
    ),
    System(
        "xformer_mllm", "image-text", "X-Former: Unifying Contrastive and Reconstruction Learning for MLLMs",
    ),
    System(
        "heuristic_vpt", "align",
        "Heuristic Vision Pre-Training with Self-Supervised and Supervised Multi-Task Learning",
    ),
    System("mixedae", "reconstruct", "Mixed Autoencoder for Self-supervised Visual Representation Learning"),
    System(
        "sycoca", "image-text",
        "SyCoCa: Symmetrizing Contrastive Captioners with Attentive Masking for Multimodal Alignment",
    ),
    System(
        "a2mim", "reconstruct", "Architecture-Agnostic Masked Image Modeling -- From ViT back to CNN",
        ("a2mim", "a2mim_loss"),
        config="pretrain/a2mim",
        result="emoji, 2 seeds, equal cost: k-NN 42.7 %, linear 48.7 % (SimMIM's way 39.7, 48.3 %)",
    ),
    System("nuclei_mim", "reconstruct", "Learning Nuclei Representations with Masked Image Modelling"),
    System(
        "birdsat", "image-text",
        "BirdSAT: Cross-View Contrastive Masked Autoencoders for Bird Species Classification and Mapping",
        ("birdsat",),
    ),
    System(
        "harmon", "generate",
        "Harmonizing Visual Representations for Unified Multimodal Understanding and Generation",
        ("harmon_i2t", "harmon_sample", "harmon_t2i_train", "mar_sample", "mar_train"),
    ),
)


@dataclass(frozen=True)
class Arguments:
    """List the systems: what exists, what it was compared with, what was measured.

    Attributes:
        json: print JSON in place of the table.
    """

    json: bool = False


def table(systems: tuple[System, ...] = SYSTEMS) -> str:
    """The systems as aligned text, built ones first."""
    rows = [("system", "kind", "config or command", "parity cases", "measured", "title")]
    for system in sorted(systems, key=lambda system: not system.built):
        cases = f"{len(system.cases)} recorded" if system.cases else "-"
        rows.append(
            (system.slug, system.kind, system.config or system.command or "planned", cases, system.result or "-", system.title)
        )
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    lines = [
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths)), row[5]]).rstrip() for row in rows
    ]
    built = sum(system.built for system in systems)
    return "\n".join([*lines, "", f"{built} of {len(systems)} systems have a config or a command; the others are planned."])


def main(arguments: list[str]) -> int:
    """Print the table, or JSON with --json."""
    options = parse(Arguments, arguments, "mimgen systems")
    print(json.dumps([asdict(system) for system in SYSTEMS], indent=1) if options.json else table())
    return 0
