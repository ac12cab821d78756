"""The text-to-image pipeline: seeds, saving, loading in a fresh process, messages."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL
from PIL import Image
from safetensors.torch import load_file

from mimgen.encoders import ByteTextEncoder
from mimgen.errors import UserError
from mimgen.generators import MeissonicTransformer
from mimgen.pipelines import MeissonicPipeline, Preset, TextToImagePipeline
from mimgen.tokenizers import ConvTokenizer, DiffusersKL, DiffusersVQ

PROMPTS = ["red apple", "blue car", "green tree"]


@pytest.fixture(scope="module")
def pipeline() -> MeissonicPipeline:
    torch.manual_seed(0)
    transformer = MeissonicTransformer(
        1, 1, 16, 2, 12, 32, pooled_text_dim=12, vocab_size=41, codebook_size=40
    )
    text = ByteTextEncoder(width=12, depth=1, heads=2, max_words=5, buckets=32)
    tokenizer = ConvTokenizer(channels=8, multipliers=(1,), blocks=1, stem=4, quantizer="fsq", levels=(5, 8))
    parts = transformer.eval(), tokenizer.eval(), text.eval()
    made = MeissonicPipeline(*parts, Preset(resolution=(16, 24), steps=4))
    made.set_progress_bar_config(disable=True)
    return made


def test_image_depends_on_its_own_seed_only(pipeline: MeissonicPipeline) -> None:
    together = pipeline(PROMPTS, seed=[1, 2, 3], output_type="pt")
    alone = pipeline("blue car", seed=2, output_type="pt")
    split = pipeline(PROMPTS, seed=[1, 2, 3], batch_size=2, output_type="pt")
    assert torch.equal(together.tokens[1], alone.tokens[0])
    assert torch.equal(together.tokens, split.tokens)
    assert (
        together.images.shape == (3, 3, 16, 24) and together.images.min() >= 0 and together.images.max() <= 1
    )
    assert not torch.equal(together.tokens, pipeline(PROMPTS, seed=[4, 5, 6]).tokens)


def test_guidance_of_one_reads_no_negative_prompt(pipeline: MeissonicPipeline) -> None:
    plain = pipeline("cat", guidance_scale=1.0, negative_prompt="dog")
    other = pipeline("cat", guidance_scale=1.0)
    assert torch.equal(plain.tokens, other.tokens)
    guided = pipeline(["cat"] * 8, guidance_scale=6.0, negative_prompt="dog")
    unguided = pipeline(["cat"] * 8, guidance_scale=6.0, negative_prompt="cat")
    assert not torch.equal(guided.tokens, unguided.tokens)


def test_diffusers_names_of_arguments(pipeline: MeissonicPipeline) -> None:
    steps = []
    made = pipeline(
        ["cat", "dog"], num_images_per_prompt=2, height=32, negative_prompt=["a", "b"],
        callback_on_preview=lambda shown: steps.append(shown.step), preview_every=4,
    )  # fmt: skip
    assert [image.size for image in made.images] == [(24, 32)] * 4
    assert made.unmasked_at.shape == made.tokens.shape == (4, 8, 6)
    assert steps == [3]


def test_editing_of_images(pipeline: MeissonicPipeline) -> None:
    image = Image.effect_noise((24, 16), 80).convert("RGB")
    mask = Image.new("L", (24, 16))
    mask.paste(255, (9, 5, 12, 8))
    output = pipeline.inpaint("cat", image, mask, feather=0, seed=1, steps=2).images[0]
    kept = np.asarray(mask) == 0
    assert np.array_equal(np.asarray(output)[kept], np.asarray(image)[kept])
    assert output.tobytes() != image.tobytes()
    assert pipeline.outpaint("cat", image, (0, 4, 8, 0)).images[0].size == (32, 20)
    edited = pipeline.edit(["cat", "dog"], image, strength=0.5, output_type="pt", guidance_scale=1.0)
    assert edited.images.shape == (2, 3, 16, 24) and bool((edited.unmasked_at == -1).any())
    with pytest.raises(UserError, match="those of the image"):
        pipeline.edit("cat", image, height=32)


def test_cancelling(pipeline: MeissonicPipeline) -> None:
    seen = []
    pipeline("cat", callback_on_step_end=lambda step, tokens: seen.append(step) or step == 1)
    assert seen == [0, 1]


def test_fresh_process_gives_identical_images(pipeline: MeissonicPipeline, tmp_path: Path) -> None:
    pipeline.save_pretrained(tmp_path / "saved")
    here = pipeline(PROMPTS, seed=7, output_type="pt").images
    script = (
        "import sys; from safetensors.torch import save_file\n"
        "from mimgen.pipelines import MeissonicPipeline\n"
        "p = MeissonicPipeline.from_pretrained(sys.argv[1]); p.set_progress_bar_config(disable=True)\n"
        f"images = p({PROMPTS!r}, seed=7, output_type='pt').images\n"
        "save_file({'images': images.contiguous()}, sys.argv[2])\n"
    )
    subprocess.run(
        [sys.executable, "-c", script, tmp_path / "saved", tmp_path / "out.safetensors"], check=True
    )
    assert torch.equal(here, load_file(tmp_path / "out.safetensors")["images"])
    assert not list((tmp_path / "saved").rglob("*.bin"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prompt": []}, "no prompt"),
        ({"prompt": ["a", "b"], "seed": [1]}, "1 seeds for 2 images"),
        ({"prompt": "a", "steps": -1}, "at least one step"),
        ({"prompt": "a", "order": "spiral"}, "halton"),
        ({"prompt": "a", "output_type": "jpeg"}, "pil"),
    ],
)
def test_wrong_calls_say_what_to_do(pipeline: MeissonicPipeline, options: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        pipeline(**options)


def test_diffusers_vqmodel_serves_as_the_tokenizer(pipeline: MeissonicPipeline, tmp_path: Path) -> None:
    from diffusers import VQModel

    model = VQModel(
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(8, 8, 8),
        norm_num_groups=4,
        latent_channels=4,
        num_vq_embeddings=40,
        lookup_from_codebook=True,
    )
    preset = Preset(resolution=(16, 16), steps=2)
    core = TextToImagePipeline(pipeline.transformer, DiffusersVQ(model).eval(), pipeline.text_encoder, preset)
    core.save(tmp_path)
    loaded = TextToImagePipeline.load(tmp_path)
    assert isinstance(loaded.vqvae, DiffusersVQ)
    assert torch.equal(loaded(["cat"], seed=1).images, core(["cat"], seed=1).images)


def test_missing_and_foreign_parts_are_named(pipeline: MeissonicPipeline, tmp_path: Path) -> None:
    pipeline.save_pretrained(tmp_path)
    shutil.rmtree(tmp_path / "vqvae")
    DiffusersKL(AutoencoderKL(block_out_channels=(8,), norm_num_groups=4)).save_pretrained(tmp_path / "vqvae")
    with pytest.raises(UserError, match=r"a AutoencoderKL: it is continuous: it has latents and no codes\. As vqvae"):
        TextToImagePipeline.load(tmp_path)
    (tmp_path / "vqvae" / "config.json").unlink()
    with pytest.raises(UserError, match="part vqvae is missing"):
        TextToImagePipeline.load(tmp_path)
    with pytest.raises(UserError, match=r"no model_index\.json"):
        TextToImagePipeline.load(tmp_path / "vqvae")
