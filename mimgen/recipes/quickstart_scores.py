"""The measuring stages of the quickstart; each reads the run folder and returns JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mimgen.evaluation import fid, measure
from mimgen.pipelines.open import open_pipeline

__all__ = ["composition", "probe", "reconstruction"]


def reconstruction(out: Path, data: str, seed: int) -> dict[str, Any]:
    """PSNR, SSIM and code use on `val`."""
    pipeline = open_pipeline(str(out / "generator"))
    return measure.reconstruction(pipeline.vqvae, data, measure.size_of(pipeline), "val")


def composition(out: Path, data: str, seed: int) -> dict[str, Any]:
    """Composition score and FID of the same images, which are kept in images.safetensors."""
    import torch
    from safetensors.torch import save_file

    from mimgen.data import load_images

    pipeline = open_pipeline(str(out / "generator"))
    scored = measure.composition(pipeline, data, seed=seed)
    found = measure.split_of(data, measure.size_of(pipeline), ())
    true = load_images(found.everything, scored.numbers)
    with torch.no_grad():
        again = measure.through(pipeline, true)
    parts = {"true": true, "reconstructed": again, "generated": scored.made}
    save_file({name: part.mul(255).round().byte().contiguous() for name, part in parts.items()},
              out / "images.safetensors")  # fmt: skip
    pipeline.save(out / "pipeline")
    return {
        **scored.result,
        "prompts": [found.everything.captions[number] for number in scored.numbers],
        "fid": fid(scored.made, true),
    }


def probe(out: Path, data: str, seed: int) -> dict[str, Any]:
    """Linear probes of the generator's blocks and of raw pixels."""
    return measure.probe(open_pipeline(str(out / "generator")), data, seed=seed)
