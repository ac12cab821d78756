"""The systems that are still to be built; a record moves to the system's own module when that exists."""

from __future__ import annotations

from mimgen.papers.paper import Paper

__all__ = ["PLANNED"]

PLANNED: tuple[Paper, ...] = (
    Paper(
        slug="dtm",
        title="Masked Image Modeling via Dynamic Token Morphing",
        arxiv="2401.00254",
        kind="reconstruct",
    ),
    Paper(
        slug="supmim",
        title="Improve Supervised Representation Learning with Masked Image Modeling",
        arxiv="2312.00950",
        kind="align",
    ),
    Paper(
        slug="mimdet",
        title="Unleashing Vanilla Vision Transformer with Masked Image Modeling for Object Detection",
        arxiv="2204.02964",
        kind="use",
        cases=("mimdet",),
    ),
    Paper(
        slug="flexpredict",
        title="Predicting masked tokens in stochastic locations improves masked image modeling",
        arxiv="2308.00566",
        kind="reconstruct",
    ),
    Paper(
        slug="maskalign",
        title="Stare at What You See: Masked Image Modeling without Reconstruction",
        arxiv="2211.08887",
        kind="align",
    ),
    Paper(
        slug="mom_distformer",
        title="Monocular Per-Object Distance Estimation with Masked Object Modeling",
        arxiv="2401.03191",
        kind="use",
        cases=("distformer",),
    ),
    Paper(
        slug="mto",
        title="Emerging Property of Masked Token for Effective Pre-training",
        arxiv="2404.08330",
        kind="reconstruct",
    ),
    Paper(
        slug="hybrid_distill",
        title="Hybrid Distillation: Connecting Masked Autoencoders with Contrastive Learners",
        arxiv="2306.15876",
        kind="align",
    ),
    Paper(
        slug="plain_detr",
        title="DETR Doesn't Need Multi-Scale or Locality Design",
        arxiv="2308.01904",
        kind="use",
        cases=("plain_detr",),
    ),
    Paper(
        slug="remoteclip",
        title="RemoteCLIP: A Vision Language Foundation Model for Remote Sensing",
        arxiv="2306.11029",
        kind="image-text",
    ),
    Paper(
        slug="njepa",
        title="Improving Joint Embedding Predictive Architecture with Diffusion Noise",
        arxiv="2507.15216",
        kind="align",
    ),
    Paper(
        slug="uta",
        title="Enhancing Vision-Language Model with Unmasked Token Alignment",
        arxiv="2405.19009",
        kind="align",
        cases=("uta",),
    ),
    Paper(
        slug="clip_quality_captions",
        title="CLIP with Quality Captions: A Strong Pretraining for Vision Tasks",
        arxiv="2405.08911",
        kind="image-text",
    ),
    Paper(
        slug="bilma",
        title="BiLMa: Bidirectional Local-Matching for Text-based Person Re-identification",
        arxiv="2309.04675",
        kind="image-text",
    ),
    Paper(
        slug="dsva",
        title=(
            "Boosting Generative Adversarial Transferability with Self-supervised Vision "
            "Transformer Features"
        ),
        arxiv="2506.21046",
        kind="use",
    ),
    Paper(
        slug="fsfm",
        title=(
            "FSFM: A Generalizable Face Security Foundation Model via Self-Supervised Facial "
            "Representation Learning"
        ),
        arxiv="2412.12032",
        kind="align",
        cases=("fsfm",),
    ),
    Paper(
        slug="xformer_mllm",
        title="X-Former: Unifying Contrastive and Reconstruction Learning for MLLMs",
        arxiv="2407.13851",
        kind="image-text",
    ),
    Paper(
        slug="heuristic_vpt",
        title="Heuristic Vision Pre-Training with Self-Supervised and Supervised Multi-Task Learning",
        arxiv="2310.07510",
        kind="align",
    ),
    Paper(
        slug="mixedae",
        title="Mixed Autoencoder for Self-supervised Visual Representation Learning",
        arxiv="2303.17152",
        kind="reconstruct",
    ),
    Paper(
        slug="sycoca",
        title="SyCoCa: Symmetrizing Contrastive Captioners with Attentive Masking for Multimodal Alignment",
        arxiv="2401.02137",
        kind="image-text",
    ),
    Paper(
        slug="nuclei_mim",
        title="Learning Nuclei Representations with Masked Image Modelling",
        arxiv="2306.17116",
        kind="reconstruct",
    ),
    Paper(
        slug="birdsat",
        title=(
            "BirdSAT: Cross-View Contrastive Masked Autoencoders for Bird Species Classification "
            "and Mapping"
        ),
        arxiv="2310.19168",
        kind="image-text",
        cases=("birdsat",),
    ),
    Paper(
        slug="harmon",
        title="Harmonizing Visual Representations for Unified Multimodal Understanding and Generation",
        arxiv="2503.21979",
        kind="generate",
        cases=("harmon_i2t", "harmon_sample", "harmon_t2i_train", "mar_sample", "mar_train"),
    ),
)
