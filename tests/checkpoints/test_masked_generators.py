"""Official checkpoints of Halton-MaskGIT and MAGE become our folders and say what the official code said."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from mimgen.checkpoints.convert import convert
from mimgen.errors import UserError
from mimgen.generators.mage import adapter as mage
from mimgen.generators.mage.masking import TwoLevel
from mimgen.generators.mage.model import MageTransformer
from mimgen.generators.mage.objective import MAGE
from mimgen.generators.maskgit import adapter as maskgit
from mimgen.generators.maskgit.model import ClassTransformer
from tests.parity.cases import Case, load_case

CASES = Path(__file__).parents[1] / "parity" / "cases"


def case(system: str) -> Case:
    return load_case(min((CASES / system).glob("*.safetensors")))


def saved(path: Path, tensors: dict[str, torch.Tensor], arguments: dict) -> Path:
    import argparse

    torch.save({"model_state_dict": tensors, "args": argparse.Namespace(**arguments)}, path)
    return path


def test_halton_maskgit(tmp_path: Path) -> None:
    recorded = case("halton_maskgit")
    source = saved(tmp_path / "w.pth", dict(recorded.weights), recorded.config["model"])
    convert(maskgit.ADAPTER, source, tmp_path / "out")
    model, labels = ClassTransformer.from_pretrained(tmp_path / "out"), recorded.inputs["labels"]
    with torch.no_grad():
        logits = model(torch.full((len(labels), model.side**2), model.mask_id), labels)
    # the release scores the mask id, too, and so fails to fill every token; ours leaves it out
    torch.testing.assert_close(logits, recorded.outputs["model_logits_first"][: len(labels), :, :-1])


def test_halton_maskgit_is_read_from_the_tensors(tmp_path: Path) -> None:
    tensors = dict(case("halton_maskgit").weights)
    found = maskgit.arguments({}, tensors)
    made = ClassTransformer(**found)
    assert len(made.transformer["layers"][0].ff.w1.weight) == len(tensors["transformer.layers.0.ff.w1.weight"])  # type: ignore[index,union-attr]
    with pytest.raises(UserError, match="proj"):
        maskgit.arguments({"proj": 2}, tensors)
    with pytest.raises(UserError, match="tied"):
        maskgit.ADAPTER.from_official({**tensors, "head.weight": tensors["head.weight"] + 1})


def test_mage(tmp_path: Path) -> None:
    recorded = case("mage_train")
    # released files hold the VQGAN, too
    tensors = {**recorded.weights, "vqgan.quantize.embedding.weight": torch.zeros(3, 2)}
    source = saved(tmp_path / "w.pth", tensors, recorded.config["model"])
    convert(mage.ADAPTER, source, tmp_path / "out")
    model = MageTransformer.from_pretrained(tmp_path / "out")
    masking = TwoLevel(recorded.config["model"]["mask_ratio_min"])
    masks = masking.split(recorded.inputs["mask_noise"], recorded.inputs["mask_rate"])
    with torch.no_grad():
        loss = MAGE(model, torch.nn.Identity()).losses(recorded.inputs["tokens"], *masks).total
    torch.testing.assert_close(loss[None], recorded.outputs["loss"])
    assert len(model.token_emb.word_embeddings.weight) == model.codebook_size + 2


def test_mage_of_another_kind(tmp_path: Path) -> None:
    tensors = dict(case("mage_train").weights)
    tensors["token_emb.word_embeddings.weight"] = torch.zeros(900, 24)
    save_file(tensors, tmp_path / "w.safetensors")
    with pytest.raises(UserError, match="900 words"):
        convert(mage.ADAPTER, tmp_path / "w.safetensors", tmp_path / "out")
    assert mage.arguments({}, case("mage_train").weights)["decoder_heads"] == 16
