"""Who takes part in `python -m tests.bench pretrain`: ours, lightly's, and timm's supervised step."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mimgen.decoders.mae import LinearDecoder, MaeDecoder
from mimgen.encoders.vit import IMAGENET_MEAN, IMAGENET_STD, VitEncoder, mae_vit
from mimgen.masking import Random
from mimgen.methods import MIM
from mimgen.recipes.vit_sizes import MaeShape
from mimgen.targets import PixelTarget
from mimgen.types import Batch, Mask, SampleRNG

if TYPE_CHECKING:
    from timm.models.vision_transformer import VisionTransformer

__all__ = [
    "KINDS",
    "LIGHTLY",
    "SHAPES",
    "LightlyMae",
    "LightlySimmim",
    "Shape",
    "absent",
    "lightly_positions",
    "ours",
    "peer",
]

LIGHTLY = {"mae": "lightly mae", "simmim": "lightly simmim"}
KINDS = ("mae", LIGHTLY["mae"], "simmim", LIGHTLY["simmim"], "timm supervised")
RATIOS = {"mae": 0.75, "simmim": 0.6}
CLASSES = 1000


@dataclass(frozen=True, kw_only=True)
class Shape(MaeShape):
    """Numbers that all share; the decoder is MAE's."""

    batch: int


SHAPES = {
    "tiny": Shape(
        pixels=16, patch=4, width=32, depth=2, heads=2, decoder_width=24, decoder_depth=1,
        decoder_heads=2, batch=4,
    ),
    "ti32": Shape(
        pixels=32, patch=4, width=192, depth=12, heads=3, decoder_width=128, decoder_depth=4,
        decoder_heads=4, batch=64,
    ),
    "s224": Shape(
        pixels=224, patch=16, width=384, depth=12, heads=6, decoder_width=256, decoder_depth=4,
        decoder_heads=8, batch=8,
    ),
    "b224": Shape(
        pixels=224, patch=16, width=768, depth=12, heads=12, decoder_width=512, decoder_depth=8,
        decoder_heads=16, batch=256,
    ),
}


def absent(kind: str) -> str:
    """What must be installed before `kind` can run; empty where nothing is missing."""
    needed = [] if kind in RATIOS else ["timm"] if kind.startswith("timm") else ["timm", "lightly"]
    return ", ".join(name for name in needed if find_spec(name) is None)


def peer(kind: str, shape: Shape) -> tuple[nn.Module, Callable[[Tensor], Tensor]]:
    """One of `KINDS` with fresh weights.

    Returns:
        the module and its loss of images [B, 3, H, W], masks sampled anew at each call. Ours takes images in
        [0, 1], the others take them normalised, as their data transforms leave them.
    """
    if kind in RATIOS:
        objective = ours(kind, shape)
        return objective, lambda images: objective(_batch(images)).total
    if kind.startswith("timm"):
        model = _timm_vit(shape, CLASSES)
        return model, lambda images: F.cross_entropy(model(images), _labels(images))
    name = kind.removeprefix("lightly ")
    theirs = (LightlyMae if name == "mae" else LightlySimmim)(shape)
    return theirs, lambda images: theirs(images, *theirs.sample_mask(images, RATIOS[name]))


def ours(kind: str, shape: Shape) -> MIM:
    """As configs/pretrain/mae.py and simmim.py build it, on a plain transformer and with plain pixels."""
    target = PixelTarget(
        shape.patch, normalise=False, mean=IMAGENET_MEAN, std=IMAGENET_STD, last=kind == "mae",
        distance="squared" if kind == "mae" else "absolute",
    )  # fmt: skip
    options: dict[str, Any] = {
        "image_size": shape.pixels, "patch": shape.patch, "width": shape.width, "depth": shape.depth,
        "heads": shape.heads,
    }  # fmt: skip
    if kind == "simmim":
        decoder = LinearDecoder(shape.width, shape.patch, shape.patch)
        return MIM(VitEncoder(**options, mask_token="replace"), decoder, target, Random(RATIOS[kind]))
    numbers = shape.decoder_width, shape.decoder_depth, shape.decoder_heads
    return MIM(
        mae_vit(**options), MaeDecoder(shape.pixels, shape.patch, shape.width, *numbers), target, Random(RATIOS[kind])
    )


def _batch(images: Tensor) -> Batch:
    """Images as the loader hands them on, with fresh random streams."""
    seeds = torch.randint(2**62, (len(images),)).tolist()
    return Batch(images, ("",) * len(images), ("",) * len(images), SampleRNG(seeds))


def _labels(images: Tensor) -> Tensor:
    return torch.arange(len(images), device=images.device) % CLASSES


def _timm_vit(shape: Shape, classes: int = 0) -> VisionTransformer:
    """timm's vision transformer of that shape."""
    from timm.models.vision_transformer import VisionTransformer

    return VisionTransformer(
        shape.pixels, shape.patch, num_classes=classes, embed_dim=shape.width, depth=shape.depth,
        num_heads=shape.heads,
    )  # fmt: skip


class _Lightly(nn.Module):
    """What lightly's two compositions share."""

    def __init__(self, shape: Shape, positions: str) -> None:
        super().__init__()
        from lightly.models.modules import MaskedVisionTransformerTIMM

        self.patch = shape.patch
        self.backbone = MaskedVisionTransformerTIMM(vit=_timm_vit(shape), pos_embed_initialization=positions)

    def sample_mask(self, images: Tensor, ratio: float) -> tuple[Tensor, Tensor]:
        """Positions kept [B, 1 + K] and dropped [B, M] by lightly's own masking; 0 is the class token."""
        from lightly.models import utils

        keep, drop = utils.random_token_mask((len(images), self.backbone.sequence_length), ratio, device=images.device)
        return keep, drop

    def target(self, images: Tensor, drop: Tensor) -> Tensor:
        """Pixels [B, M, 3 patch^2] of dropped patches."""
        from lightly.models import utils

        return utils.get_at_index(utils.patchify(images, self.patch), drop - 1)


class LightlyMae(_Lightly):
    """MAE of lightly's public parts, put together as in its documentation."""

    def __init__(self, shape: Shape) -> None:
        super().__init__(shape, "sincos")
        from lightly.models.modules import MAEDecoderTIMM

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # 1.6 prefers a later name of the same blocks, which 1.5 has not
            self.decoder = MAEDecoderTIMM(
                num_patches=(shape.pixels // shape.patch) ** 2,
                patch_size=shape.patch,
                embed_dim=shape.width,
                decoder_embed_dim=shape.decoder_width,
                decoder_depth=shape.decoder_depth,
                decoder_num_heads=shape.decoder_heads,
            )

    def forward(self, images: Tensor, keep: Tensor, drop: Tensor) -> Tensor:
        """Mean squared error of the dropped patches of normalised images [B, 3, H, W]."""
        from lightly.models import utils

        seen = self.decoder.embed(self.backbone.encode(images=images, idx_keep=keep))
        tokens = utils.repeat_token(self.decoder.mask_token, (len(images), self.backbone.sequence_length))
        tokens = utils.set_at_index(tokens, keep, seen.type_as(tokens))
        predicted = self.decoder.predict(utils.get_at_index(self.decoder.decode(tokens), drop))
        return F.mse_loss(predicted, self.target(images, drop))

    def load_weights(self, objective: MIM) -> None:
        """Take over our weights, all of them."""
        encoder, decoder = objective.encoder.state_dict(), objective.decoder.state_dict()  # type: ignore[attr-defined]
        self.backbone.vit.load_state_dict(encoder)
        self.decoder.load_state_dict({self._name(name): value for name, value in decoder.items()})

    @staticmethod
    def _name(ours: str) -> str:
        return ours if ours == "mask_token" else f"decoder_{ours}"


class LightlySimmim(_Lightly):
    """SimMIM of lightly's public parts, put together as in its documentation; positions are learned as ours."""

    def __init__(self, shape: Shape) -> None:
        super().__init__(shape, "learn")
        self.decoder = nn.Linear(shape.width, 3 * shape.patch**2)

    def forward(self, images: Tensor, keep: Tensor, drop: Tensor) -> Tensor:
        """Mean absolute error of the dropped patches of normalised images [B, 3, H, W]."""
        from lightly.models import utils

        tokens = self.backbone.encode(images=images, idx_mask=drop)
        return F.l1_loss(self.decoder(utils.get_at_index(tokens, drop)), self.target(images, drop))

    @torch.no_grad()
    def load_weights(self, objective: MIM) -> None:
        """Take over our weights, all of them; the numbers of a patch stand in another order."""
        encoder = objective.encoder.state_dict()
        self.backbone.mask_token.copy_(encoder.pop("mask_token"))
        self.backbone.vit.load_state_dict(encoder)
        decoder = objective.decoder
        assert isinstance(decoder, LinearDecoder)
        head = decoder.decoder
        assert head.bias is not None
        # ours tells (channel, row, column), lightly (row, column, channel)
        order = torch.arange(len(head.bias)).unflatten(0, (3, -1)).T.flatten()
        self.decoder.weight.copy_(head.weight.flatten(1)[order])
        self.decoder.bias.copy_(head.bias[order])


def lightly_positions(mask: Mask) -> tuple[Tensor, Tensor]:
    """Our mask as lightly's positions: kept with the class token at 0, and dropped."""
    first = torch.zeros_like(mask.keep[:, :1])
    return torch.cat([first, mask.keep + 1], dim=1), mask.drop + 1
