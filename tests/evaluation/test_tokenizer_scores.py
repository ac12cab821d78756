"""Scores of a tokenizer: reconstructions, codes, probes, speed."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from mimgen.evaluation.tokenizer_scores import open_labelled, score_tokenizer
from mimgen.methods import Reconstruction
from mimgen.tokenizers import ConvTokenizer
from mimgen.types import Codes


def toy() -> Reconstruction:
    return Reconstruction(ConvTokenizer(8, (1,), 1, 4, 6, "fsq", levels=(4, 4, 4), local=True))


@pytest.mark.filterwarnings("ignore:probe")
def test_scores_of_an_untrained_tokenizer() -> None:
    torch.manual_seed(0)
    data = open_labelled("emoji", 16, 80)
    assert len(data.train) == len(data.val) == 80 and data.label == "subgroup"
    tokenizer = toy().tokenizer.train()
    found = score_tokenizer(tokenizer, data, seed=0)  # type: ignore[arg-type]
    assert tokenizer.training
    assert found["tokens"] == 16 and found["bits"] == 96 and found["codebook_size"] == 64
    assert found["psnr"] > 0 and found["rfid"] > 0 and "lab-hog" in found["rfid_extractor"]
    assert 0 < found["usage"] <= 1 and 1 <= found["perplexity"] <= 64
    assert 0 <= found["probe_mean"] <= 1 and 0 <= found["probe_grid"] <= 1
    assert found["encode_images_per_s"] > 0 and found["decode_images_per_s"] > 0


class _Features:
    """Codes without images, as VQ-KD gives them."""

    codebook_size, downsample = 4, 8

    def encode(self, images: torch.Tensor) -> Codes:
        indices = (images[:, 0, ::8, ::8] * 3.99).long()
        return Codes(indices, self.lookup(indices))

    def lookup(self, indices: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.one_hot(indices, 4).movedim(-1, 1).float()


def test_what_gives_no_images_has_no_psnr() -> None:
    data = replace(open_labelled("photos", 16, 68), label=None)
    found = score_tokenizer(_Features(), data, seed=0)
    assert found["psnr"] is None and found["rfid"] is None and found["decode_images_per_s"] is None
    assert found["tokens"] == 4 and found["bits"] == 8 and found["perplexity"] > 1 and found["probe_grid"] is None
