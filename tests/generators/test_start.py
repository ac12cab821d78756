"""Fine-tuning starts with the tokenizer and the discriminator of an earlier run."""

import pytest
import torch

from mimgen.errors import UserError
from mimgen.generators.initial_weights import load_initial_weights
from mimgen.methods.reconstruction import Reconstruction
from mimgen.tokenizers.conv import ConvTokenizer
from mimgen.tokenizers.diffusers_models import DiffusersVQ
from mimgen.tokenizers.discriminators import MaskBitDiscriminator, PatchDiscriminator


def objective(seed, discriminator=True, channels=16, levels=(4, 3)):
    torch.manual_seed(seed)
    tokenizer = ConvTokenizer(channels, (1,), 1, 2, 8, "fsq", levels=levels)
    return Reconstruction(tokenizer, PatchDiscriminator(8, 1, "group") if discriminator else None)


def leave(trained, run):
    """What a training run leaves."""
    trained.tokenizer.save_pretrained(run / "tokenizer")
    if trained.discriminator is not None:
        trained.discriminator.save_pretrained(run / "discriminator")
    return run


def same(a, b):
    return all(torch.equal(value, b.state_dict()[name]) for name, value in a.state_dict().items())


def test_both_networks_are_taken_over(tmp_path):
    earlier, later = objective(0), objective(1)
    assert not same(earlier.discriminator, later.discriminator)
    assert load_initial_weights(later, leave(earlier, tmp_path)) is later
    assert same(earlier.tokenizer, later.tokenizer)
    assert same(earlier.discriminator, later.discriminator)
    assert later.training


def test_no_run_changes_nothing():
    later = objective(1)
    assert same(load_initial_weights(later, None).tokenizer, objective(1).tokenizer)


def test_a_run_without_discriminator_says_so(tmp_path, caplog):
    earlier, later = objective(0, discriminator=False), objective(1)
    load_initial_weights(later, leave(earlier, tmp_path))
    assert same(earlier.tokenizer, later.tokenizer)
    assert same(objective(1).discriminator, later.discriminator)
    assert "holds no discriminator" in caplog.text


def test_a_run_with_discriminator_serves_one_without(tmp_path):
    earlier, later = objective(0), objective(1, discriminator=False)
    load_initial_weights(later, leave(earlier, tmp_path))
    assert same(earlier.tokenizer, later.tokenizer)


def test_diffusers_tokenizers_start_too(tmp_path):
    from diffusers import VQModel

    def around(seed):
        torch.manual_seed(seed)
        sizes = {"block_out_channels": (8,), "norm_num_groups": 4, "num_vq_embeddings": 8, "latent_channels": 4}
        return Reconstruction(DiffusersVQ(VQModel(**sizes)))

    earlier, later = around(0), around(1)
    load_initial_weights(later, leave(earlier, tmp_path))
    assert same(earlier.tokenizer, later.tokenizer)


def test_what_does_not_fit_is_named(tmp_path, caplog):
    with pytest.raises(UserError, match="holds no tokenizer"):
        load_initial_weights(objective(0), tmp_path / "nowhere")
    run = leave(objective(0), tmp_path)
    with pytest.raises(UserError, match="shape mismatch"):
        load_initial_weights(objective(1, channels=24), run)
    other = objective(1)
    other.discriminator = MaskBitDiscriminator(32, 1)
    with pytest.raises(UserError, match="holds a PatchDiscriminator, this run trains a MaskBitDiscriminator"):
        load_initial_weights(other, run)
    load_initial_weights(objective(1, levels=(3, 4)), run)
    assert "was trained with levels=(4, 3), now it is (3, 4)" in caplog.text
