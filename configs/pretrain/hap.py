"""HAP: pretraining for people; parts of bodies are masked first, two views aligned."""

from __future__ import annotations

from dataclasses import dataclass

from mimgen.data import Dataset
from mimgen.decoders.mae import MaeDecoder
from mimgen.encoders.vit import IMAGENET_MEAN, IMAGENET_STD, VitEncoder
from mimgen.errors import UserError
from mimgen.methods.hap.masking import Parts
from mimgen.methods.hap.objective import HAP
from mimgen.recipes import DEFAULT_FLAGS, DataConfig, Pretrain, TrainFlags, choose_size, value_or
from mimgen.recipes.vit_sizes import MaeShape, decoder_of, vit_of
from mimgen.targets import PixelTarget


@dataclass(frozen=True, kw_only=True)
class Size(MaeShape):
    """Numbers of one size; `pixels` is the height of the images."""

    minimum: int
    batch: int
    base_lr: float
    warmup: int
    steps: int


SIZES = {
    "tiny": Size(
        pixels=16, patch=4, width=32, depth=2, heads=2, decoder_width=24, decoder_depth=1, decoder_heads=2,
        minimum=2, batch=8, base_lr=3e-2, warmup=10, steps=100,
    ),
    "emoji64": Size(
        pixels=64, patch=8, width=192, depth=6, heads=3, decoder_width=128, decoder_depth=2, decoder_heads=4,
        minimum=4, batch=64, base_lr=4e-3, warmup=200, steps=4000,
    ),
    "base": Size(
        pixels=256, patch=16, width=768, depth=12, heads=12, decoder_width=512, decoder_depth=8,
        decoder_heads=16, minimum=12, batch=4096, base_lr=1.5e-4, warmup=20_500, steps=205_000,
    ),
}  # fmt: skip


def experiment(
    size: str = "emoji64",
    data: str = "figures",
    mask_ratio: float = 0.5,
    parts: int | None = None,
    blocks: bool = True,
    alignment_weight: float = 0.05,
    temperature: float = 0.2,
    init: str | None = None,
    common: TrainFlags = DEFAULT_FLAGS,
) -> Pretrain:
    """Pretrain an encoder for people: mask parts of bodies, align two masked views.

    Paper: "HAP: Structure-Aware Masked Image Modeling for Human-Centric Perception" (arXiv 2310.20695).

    Command: mimgen train hap --size emoji64 --out runs/hap

    Expected: (measured 2026-11-21, 2 CPU cores, mean of 2 seeds, as many operations as MAE takes for 9,600
    images, `mimgen compare mim`) figures: attributes 66.9, identity mAP 11.8 %; random masks (MAE): 75.6,
    23.6 %.

    Args:
        size: tiny (seconds), emoji64 (64 x 32 px, minutes), base (ViT-B/16 at 256 x 128 px, 400 epochs of 2.1M people,
            the paper's).
        data: "figures" (synthetic people with known joints), or other images; without joints no parts are used.
        mask_ratio: share of masked patches.
        parts: largest number of body parts masked first; by default 6 where the data has joints, else 0.
        blocks: mask blocks besides; without, patches anywhere.
        alignment_weight: of the contrastive loss between two views; 0 for none.
        temperature: of the contrastive loss.
        init: folder of an encoder to start from, such as MAE's, with the same patch and width; the paper does.
        common: of every training, see `TrainFlags`.
        pixels: height of the images; by default the size's own.
    """
    chosen = choose_size(SIZES, size)
    data_config = common.data_config(data, chosen)
    settings = common.settings(chosen, betas=(0.9, 0.95), clip=0.0, ema=0.0)

    def build() -> HAP:
        shape, joints = _seen(data_config)
        encoder = vit_of(chosen, shape)
        if init is not None:
            _take(encoder, init)
        decoder = decoder_of(MaeDecoder, chosen, shape)
        return HAP(
            encoder,
            decoder,
            PixelTarget(chosen.patch, mean=IMAGENET_MEAN, std=IMAGENET_STD, last=True),
            Parts(mask_ratio, value_or(parts, 6 if joints else 0), blocks=blocks, minimum=chosen.minimum),
            alignment_weight=alignment_weight,
            temperature=temperature,
        )

    return Pretrain("hap", size, build, data_config, settings)


def _seen(data_config: DataConfig) -> tuple[tuple[int, int], bool]:
    """Rows and columns of the run's images, and whether their joints are known."""
    dataset = data_config.open()
    sample = dataset[0] if isinstance(dataset, Dataset) else next(iter(dataset.samples(0, 0)))
    return (sample.image.shape[-2], sample.image.shape[-1]), "keypoints" in sample.extras


def _take(encoder: VitEncoder, folder: str) -> None:
    """Give the encoder the weights of another, but for the positions, which are those of its own grid."""
    weights = VitEncoder.from_pretrained(folder).state_dict()
    fitting = {name: value for name, value in encoder.state_dict().items() if name == "pos_embed"}
    try:
        encoder.load_state_dict({**weights, **fitting})
    except RuntimeError as error:
        raise UserError(f"{folder} does not fit this size: take an encoder of the same patch and width") from error
