"""Settings for little memory: what they bound, and that images stay what they are."""

import sys

import pytest
import torch

from mimgen.encoders import ByteTextEncoder
from mimgen.errors import UserError
from mimgen.generators import MeissonicTransformer
from mimgen.pipelines import MeissonicPipeline, Memory, Preset, TextToImagePipeline, memory_preset
from mimgen.pipelines.memory import PRESETS, UNBOUNDED, decode_in_slices, move_parts, quantize_weights
from mimgen.tokenizers import ConvTokenizer


def core(memory: Memory | None = None) -> TextToImagePipeline:
    torch.manual_seed(0)
    transformer = MeissonicTransformer(1, 1, 16, 2, 12, 32, pooled_text_dim=12, vocab_size=41, codebook_size=40)
    text = ByteTextEncoder(width=12, depth=1, heads=2, max_words=5, buckets=32)
    tokenizer = ConvTokenizer(channels=8, multipliers=(1,), blocks=1, stem=4, quantizer="fsq", levels=(5, 8))
    parts = transformer.eval(), tokenizer.eval(), text.eval()
    return TextToImagePipeline(*parts, Preset(resolution=(16, 16), steps=3), Memory.of(memory))


def test_a_card_gets_the_settings_of_the_largest_size_it_reaches() -> None:
    assert memory_preset(8) == PRESETS[8] and memory_preset(16) == PRESETS[12] and memory_preset(141) == PRESETS[80]
    with pytest.raises(UserError, match="from 8 GB on"):
        memory_preset(6)


def test_larger_cards_get_looser_settings() -> None:
    settings = [PRESETS[size] for size in sorted(PRESETS)]
    for name in ("decode_slice", "batch_size"):
        values = [getattr(memory, name) for memory in settings]
        assert values == sorted(values)
    assert settings[0].weights == "int8" and settings[0].offload and not settings[-1].offload


@pytest.mark.parametrize(
    ("fields", "message"),
    [({"dtype": "half"}, "bfloat16"), ({"decode_slice": 0}, "one image"), ({"batch_size": -1}, "one image")],
)
def test_impossible_settings(fields: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Memory(**fields)


def test_images_are_the_same_within_bounds() -> None:
    free, bound = core(), core(Memory(offload=True, decode_slice=2, batch_size=3))
    sizes, moves = [], []
    decode, to = bound.vqvae.decode, bound.text_encoder.to
    bound.vqvae.decode = lambda tokens: sizes.append(len(tokens)) or decode(tokens)
    bound.text_encoder.to = lambda device: moves.append(str(device)) or to(device)
    prompts = ["red", "blue", "green", "cat", "dog"]
    torch.testing.assert_close(bound(prompts, seed=3).images, free(prompts, seed=3).images)
    assert torch.equal(bound(prompts, seed=3, steps=2).tokens, free(prompts, seed=3, steps=2).tokens)
    assert sizes[:3] == [2, 1, 2] and max(sizes) == 2
    assert set(moves) == {"cpu"} and len(moves) % 2 == 0


def test_the_text_encoder_goes_back_when_encoding_fails() -> None:
    bound, moves = core(Memory(offload=True)), []
    to = bound.text_encoder.to
    bound.text_encoder.to = lambda device: moves.append(device) or to(device)

    def fail(captions: list[str]) -> None:
        raise RuntimeError("no")

    bound.text_encoder.encode = fail
    with pytest.raises(RuntimeError, match="no"):
        bound(["red"])
    assert len(moves) == 2 and moves[-1] == "cpu"


def test_slices_of_a_decoder() -> None:
    tokens, seen = torch.arange(10).view(5, 2, 1), []
    out = decode_in_slices(lambda part: seen.append(len(part)) or part * 2.0, tokens, 2)
    assert seen == [2, 2, 1] and torch.equal(out, tokens * 2.0)


def test_quantisation_without_torchao_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchao", None)
    monkeypatch.setitem(sys.modules, "torchao.quantization", None)
    with pytest.raises(UserError, match=r"mimgen\[quantized\]"):
        quantize_weights(core().transformer, "int8")
    with pytest.raises(UserError, match='"int8" or "fp8"'):
        quantize_weights(core().transformer, "int2")


def test_quantised_weights_draw_and_are_not_saved(tmp_path) -> None:
    pytest.importorskip("torchao")
    made = core(Memory(weights="int8"))
    quantize_weights(made.transformer, "int8")
    assert made(["red"]).tokens.max() < 40
    with pytest.raises(UserError, match="before they are quantised"):
        made.save(tmp_path)


def test_a_folder_opens_with_bounds(tmp_path) -> None:
    core().save(tmp_path)
    pipeline = MeissonicPipeline.from_pretrained(tmp_path, memory=Memory("float32", decode_slice=1))
    pipeline.set_progress_bar_config(disable=True)
    assert pipeline.core.memory.decode_slice == 1
    assert pipeline(["red", "blue"], output_type="pt").images.shape == (2, 3, 16, 16)
    with pytest.raises(UserError, match="from 8 GB on"):
        MeissonicPipeline.from_pretrained(tmp_path, memory=2)


def devices(made: MeissonicPipeline | TextToImagePipeline) -> list[str]:
    return [part.device.type for part in (made.transformer, made.vqvae, made.text_encoder)]


def test_a_text_encoder_that_visits_stays_on_the_cpu(tmp_path) -> None:
    core().save(tmp_path)
    bound = MeissonicPipeline.from_pretrained(tmp_path, memory=Memory(offload=True)).to("meta", torch.float64)
    assert devices(bound) == ["meta", "meta", "cpu"] and bound.text_encoder.dtype == torch.float64
    free = MeissonicPipeline.from_pretrained(tmp_path, memory=Memory(decode_slice=1)).to("meta")
    assert devices(free) == ["meta"] * 3
    by_name = core()
    move_parts((by_name.transformer, by_name.vqvae), by_name.text_encoder, UNBOUNDED, device="meta")
    assert devices(by_name) == ["meta"] * 3


def test_offloading_by_the_name_of_diffusers(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    core().save(tmp_path)
    pipeline = MeissonicPipeline.from_pretrained(tmp_path, memory=Memory(decode_slice=1))
    pipeline.set_progress_bar_config(disable=True)
    before = pipeline(["red"], output_type="pt").tokens
    pipeline.enable_model_cpu_offload(device="cpu")
    assert pipeline.memory == Memory(offload=True, decode_slice=1)
    assert torch.equal(pipeline(["red"], output_type="pt").tokens, before)
    pipeline.enable_model_cpu_offload(device="meta")
    assert devices(pipeline) == ["meta", "meta", "cpu"]
    with pytest.raises(UserError, match="pass memory="):
        pipeline.enable_sequential_cpu_offload()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match="pass device="):
        pipeline.enable_model_cpu_offload()
