"""`mimgen systems`: all 47, each named once, each config there."""

from __future__ import annotations

import importlib
import json
from dataclasses import replace
from pathlib import Path

import pytest

from mimgen.cli import systems
from mimgen.cli.help import COMMANDS
from mimgen.papers import PLANNED, built

ROOT = Path(__file__).parents[1]
SYSTEMS = (*built(), *PLANNED)

TITLES = """
Masked Image Modeling via Dynamic Token Morphing
Hard Patches Mining for Masked Image Modeling
Towards Latent Masked Image Modeling for Self-Supervised Visual Representation Learning
Harnessing Massive Satellite Imagery with Efficient Masked Image Modeling
Masked Image Modeling with Local Multi-Scale Reconstruction
Disjoint Masking with Joint Distillation for Efficient Masked Image Modeling
BEiT v2: Masked Image Modeling with Vector-Quantized Visual Tokenizers
HAP: Structure-Aware Masked Image Modeling for Human-Centric Perception
Improve Supervised Representation Learning with Masked Image Modeling
On Data Scaling in Masked Image Modeling
Unleashing Vanilla Vision Transformer with Masked Image Modeling for Object Detection
Predicting masked tokens in stochastic locations improves masked image modeling
What to Hide from Your Students: Attention-Guided Masked Image Modeling
Stare at What You See: Masked Image Modeling without Reconstruction
Attention, Please! Revisiting Attentive Probing for Masked Image Modeling
Pre-training with Random Orthogonal Projection Image Modeling
Improving Pixel-based MIM by Reducing Wasted Modeling Capability
Hi-End-MAE: Hierarchical encoder-driven masked autoencoders are stronger vision learners for medical image segmentation
Monocular Per-Object Distance Estimation with Masked Object Modeling
Meissonic: Revitalizing Masked Generative Transformers for Efficient High-Resolution Text-to-Image Synthesis
Centroid-centered Modeling for Efficient Vision Transformer Pre-training
iBOT: Image BERT Pre-Training with Online Tokenizer
Emerging Property of Masked Token for Effective Pre-training
Hybrid Distillation: Connecting Masked Autoencoders with Contrastive Learners
MergeVQ: A Unified Framework for Visual Generation and Representation with Disentangled Token Merging and Quantization
Learning with Unmasked Tokens Drives Stronger Vision Learners
CroCo: Self-Supervised Pre-training for 3D Vision Tasks by Cross-View Completion
DETR Doesn't Need Multi-Scale or Locality Design
Context Autoencoder for Self-Supervised Representation Learning
RemoteCLIP: A Vision Language Foundation Model for Remote Sensing
Improving Joint Embedding Predictive Architecture with Diffusion Noise
SatVision-TOA: A Geospatial Foundation Model for Coarse-Resolution All-Sky Remote Sensing Imagery
What Do Self-Supervised Vision Transformers Learn?
Enhancing Vision-Language Model with Unmasked Token Alignment
Integrally Pre-Trained Transformer Pyramid Networks
CLIP with Quality Captions: A Strong Pretraining for Vision Tasks
BiLMa: Bidirectional Local-Matching for Text-based Person Re-identification
Boosting Generative Adversarial Transferability with Self-supervised Vision Transformer Features
FSFM: A Generalizable Face Security Foundation Model via Self-Supervised Facial Representation Learning
X-Former: Unifying Contrastive and Reconstruction Learning for MLLMs
Heuristic Vision Pre-Training with Self-Supervised and Supervised Multi-Task Learning
Mixed Autoencoder for Self-supervised Visual Representation Learning
SyCoCa: Symmetrizing Contrastive Captioners with Attentive Masking for Multimodal Alignment
Architecture-Agnostic Masked Image Modeling -- From ViT back to CNN
Learning Nuclei Representations with Masked Image Modelling
BirdSAT: Cross-View Contrastive Masked Autoencoders for Bird Species Classification and Mapping
Harmonizing Visual Representations for Unified Multimodal Understanding and Generation
"""


def test_the_47_titles() -> None:
    titles = TITLES.strip().splitlines()
    assert len(titles) == 47
    assert sorted(paper.title for paper in SYSTEMS) == sorted(titles)
    assert len({paper.slug for paper in SYSTEMS}) == len({paper.arxiv for paper in SYSTEMS}) == 47


def test_what_is_built_can_be_run_and_what_is_planned_cannot() -> None:
    assert all(bool(paper.config) != bool(paper.command) and (ROOT / paper.code).exists() for paper in built())
    assert not any(paper.config or paper.command or paper.code or paper.result for paper in PLANNED)


def test_a_record_is_what_its_module_says() -> None:
    for paper in built():
        module = importlib.import_module(paper.code.removesuffix(".py").replace("/", "."))
        assert replace(module.PAPER, code=paper.code) == paper


def test_every_config_exists_and_names_its_system() -> None:
    configs = [paper for paper in built() if paper.config]
    assert configs
    for paper in configs:
        path = ROOT / "configs" / f"{paper.config}.py"
        assert path.is_file(), f"{paper.slug}: no {path}"
        assert path.stem == paper.slug
        text = " ".join(path.read_text("utf-8").split())
        assert paper.title in text, f"{path} does not give the paper's title"


def test_every_command_exists() -> None:
    commands = [paper.command.split() for paper in built() if paper.command]
    assert commands
    for program, name, *_ in commands:
        assert program == "mimgen" and name in COMMANDS


def test_every_case_is_a_recorded_one() -> None:
    recorded = {path.name for path in (ROOT / "tests" / "parity" / "cases").iterdir()}
    assert {case for paper in built() for case in paper.cases} <= recorded


def test_two_records_of_one_slug_are_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = '"""A method."""\n\nPAPER = Paper(slug="one", title="One", arxiv="2111.06377", kind="use")\n'
    (tmp_path / "mimgen").mkdir()
    (tmp_path / "mimgen" / "a.py").write_text(record, "utf-8")
    monkeypatch.setattr("mimgen.papers.paper._MIMGEN", tmp_path / "mimgen")
    assert [(paper.slug, paper.code) for paper in built()] == [("one", "mimgen/a.py")]
    (tmp_path / "mimgen" / "b.py").write_text(record, "utf-8")
    with pytest.raises(ValueError, match=r"two records of one: mimgen/.\.py and mimgen/.\.py"):
        built()


def test_table_says_what_is_planned(capsys: pytest.CaptureFixture[str]) -> None:
    assert systems.main([]) == 0
    table = capsys.readouterr().out
    assert all(paper.title in table for paper in SYSTEMS)
    assert table.count("planned") == len(PLANNED) + 1


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert systems.main(["--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert len(rows) == 47
    assert next(row for row in rows if row["slug"] == "meissonic")["config"] == "generate/meissonic"
