"""One contract for every encoder of ours: tokens, levels, masks, saving and errors."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from mimgen.encoders import (
    BeitEncoder,
    Encoder,
    HiVitEncoder,
    ResNetEncoder,
    SwinEncoder,
    SwinV2Encoder,
    VitEncoder,
)
from mimgen.errors import UserError
from mimgen.methods.beitv2 import BeitPretraining
from mimgen.methods.cae.networks import CaeEncoder
from mimgen.methods.croco.encoder import CrossViewVit
from mimgen.methods.dmjd.encoder import ConvVitEncoder
from mimgen.methods.hiendmae.encoder import VolumeVit
from mimgen.methods.latentmim.networks import LatentVit
from mimgen.ops.discover import classes_below
from mimgen.pretrained import PretrainedModule, load_pretrained
from mimgen.types import Mask, Tokens

SIDE = 16


@dataclass(frozen=True)
class Entry:
    """How the contract is asked of one encoder.

    Attributes:
        build: a small one for images of 16 pixels.
        cells: number of cells that a mask counts; None for an encoder that takes no mask as it is built.
        omits: masked patches are left out; otherwise they are shown as a token, or told by one.
        blind: what lies under masked cells has no influence.
        staged: levels have the width and the grid of their stage.
        prefix: class tokens.
        axes: sides of what it attends to, 3 for volumes.
        channels: of what it attends to.
    """

    build: Callable[[], Any]
    cells: int | None = 16
    omits: bool = True
    blind: bool = True
    staged: bool = False
    prefix: int = 1
    axes: int = 2
    channels: int = 3


SMALL = {"patch": 4, "width": 16, "depth": 2, "heads": 2}

ENCODERS: dict[str, Entry] = {
    "BeitEncoder": Entry(lambda: BeitEncoder(SIDE, **SMALL, mask_token=True), omits=False),
    "BeitPretraining": Entry(lambda: BeitPretraining(SIDE, **SMALL, codes=8, early_layers=1), omits=False),
    "CaeEncoder": Entry(lambda: CaeEncoder(SIDE, **SMALL)),
    "ConvVitEncoder": Entry(
        lambda: ConvVitEncoder(SIDE, (2, 2, 1), (8, 8, 16), (1, 1, 2), heads=2), prefix=0
    ),
    "CrossViewVit": Entry(lambda: CrossViewVit(SIDE, **SMALL), prefix=0),
    "HiVitEncoder": Entry(
        lambda: HiVitEncoder(SIDE, 4, 16, (1, 1), 2, 2, neck_width=8), prefix=0, staged=True
    ),
    "LatentVit": Entry(lambda: LatentVit(SIDE, **SMALL, head_width=8, head_depth=2)),
    # the pixels under masked cells are filled before, and the token is added to what they show
    "ResNetEncoder": Entry(
        lambda: ResNetEncoder(18, 4, 4, (1, 2), mask_stage=1), omits=False, blind=False, staged=True, prefix=0
    ),
    "SwinEncoder": Entry(
        lambda: SwinEncoder(2, 8, (1, 2), (1, 2), 4), cells=64, omits=False, staged=True, prefix=0
    ),
    "SwinV2Encoder": Entry(
        lambda: SwinV2Encoder(SIDE, 2, 8, (1, 2), (1, 2), 4, channels=5, mean=(0.5,) * 5, std=(1.0,) * 5),
        cells=64, omits=False, staged=True, prefix=0, channels=5,
    ),
    "VitEncoder": Entry(lambda: VitEncoder(SIDE, **SMALL)),
    "VitEncoder, replace": Entry(lambda: VitEncoder(SIDE, **SMALL, mask_token="replace"), omits=False),
    "VitEncoder, add": Entry(lambda: VitEncoder(SIDE, **SMALL, mask_token="add"), omits=False, blind=False),
    "VitEncoder, visible": Entry(lambda: VitEncoder(SIDE, **SMALL, mask_token="visible")),
    "VolumeVit": Entry(lambda: VolumeVit((8, 8, 8), 4, 12, 2, 2), cells=8, axes=3, channels=1),
}  # fmt: skip


@dataclass(frozen=True)
class Made:
    name: str
    entry: Entry
    encoder: Any
    images: Tensor

    @property
    def count(self) -> int:
        """Patches of the full grid."""
        return prod(side // self.encoder.patch for side in self.images.shape[2:])

    def mask(self) -> Mask:
        """Half of the cells, others in each row."""
        if self.entry.cells is None:
            pytest.skip("built without a mask token")
        noise = torch.rand(len(self.images), self.entry.cells, generator=torch.Generator().manual_seed(2))
        return Mask(noise.argsort(1).argsort(1) < self.entry.cells // 2)


@pytest.fixture(params=ENCODERS, scope="module")
def made(request: pytest.FixtureRequest) -> Made:
    entry = ENCODERS[request.param]
    torch.manual_seed(0)
    encoder = entry.build().eval().requires_grad_(False)
    # fresh layer scales, norms and tokens of zeros would mask what a block does
    for parameter in encoder.parameters():
        parameter.add_(0.1 * torch.randn_like(parameter))
    side = SIDE if entry.axes == 2 else SIDE // 2
    return Made(request.param, entry, encoder, torch.rand(3, entry.channels, *[side] * entry.axes))


def same(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and torch.allclose(one, other, atol=1e-5)


def is_encoder(kind: type) -> bool:
    """Saved by us, and asked for layers: `WindowEncoder` is the base of two of them."""
    return issubclass(kind, PretrainedModule) and "layers" in inspect.signature(kind.forward).parameters


def test_every_encoder_is_held_to_the_contract() -> None:
    found = set(classes_below("mimgen.encoders", "mimgen.methods", wanted=is_encoder)) - {"WindowEncoder"}
    covered = {name.partition(",")[0] for name in ENCODERS}  # "VitEncoder, add" is one of VitEncoder
    missing, gone = sorted(found - covered), sorted(covered - found)
    assert not missing, f"add a small one to ENCODERS in tests/contracts/test_encoders.py: {missing}"
    assert not gone, f"there is no {gone} any more: take them out of ENCODERS here"


def test_tokens_of_the_full_grid_without_a_mask(made: Made) -> None:
    tokens = made.encoder(made.images)
    assert isinstance(tokens, Tokens)
    assert tokens.patches.shape == (3, made.count, made.encoder.dim) and prod(tokens.grid) == made.count
    assert tokens.prefix.shape == (3, made.entry.prefix, made.encoder.dim)
    assert tokens.levels == () and tokens.attention == ()
    assert tokens.patches.isfinite().all()


def test_levels_in_the_order_asked_for(made: Made) -> None:
    depth = made.encoder.depth
    found = made.encoder(made.images, layers=range(depth)).levels
    assert len(found) == depth
    for level in found:
        assert level.ndim == 3 and len(level) == 3 and level.isfinite().all()
        if not made.entry.staged:
            assert level.shape == (3, made.count, made.encoder.dim)
    assert not same(found[0], found[-1])
    turned = made.encoder(made.images, layers=(-1, 0, depth - 1)).levels
    for level, other in zip(turned, (found[-1], found[0], found[-1]), strict=True):
        assert torch.equal(level, other)


def test_asking_for_levels_changes_nothing(made: Made) -> None:
    assert torch.equal(made.encoder(made.images).patches, made.encoder(made.images, layers=(0,)).patches)


def test_attention_maps_are_distributions(made: Made) -> None:
    if "attention" not in inspect.signature(made.encoder.forward).parameters:
        pytest.skip("has no attention to show")
    (maps,) = made.encoder(made.images, attention=(0,)).attention
    positions = made.entry.prefix + made.count
    assert maps.ndim == 4 and maps.shape[2:] == (positions, positions)
    assert torch.allclose(maps.sum(-1), torch.ones(()), atol=1e-5)


@pytest.mark.parametrize("beyond", [0, -1])
def test_a_layer_that_does_not_exist(made: Made, beyond: int) -> None:
    layer = made.encoder.depth if beyond == 0 else -made.encoder.depth - 1
    with pytest.raises(UserError, match=rf"layer {layer} does not exist: the encoder has layers 0 to"):
        made.encoder(made.images, layers=(layer,))


def test_a_mask_leaves_out_or_marks(made: Made) -> None:
    mask = made.mask()
    tokens, whole = made.encoder(made.images, mask), made.encoder(made.images)
    assert tokens.patches.shape[1] == (mask.keep.shape[1] if made.entry.omits else made.count)
    assert tokens.grid == whole.grid and tokens.prefix.shape == whole.prefix.shape
    if not made.entry.omits:
        assert not same(tokens.patches, whole.patches)


def test_what_is_hidden_has_no_influence(made: Made) -> None:
    if not made.entry.blind:
        pytest.skip("sees what masked pixels were filled with")
    mask = made.mask()
    cell = round((made.images[0, 0].numel() / mask.masked.shape[1]) ** (1 / made.entry.axes))
    masked = mask.masked.unflatten(1, [side // cell for side in made.images.shape[2:]])
    for axis in range(1, 1 + made.entry.axes):
        masked = masked.repeat_interleave(cell, axis)
    changed = torch.where(masked[:, None], 1 - made.images, made.images)
    assert not same(made.encoder(changed).patches, made.encoder(made.images).patches)
    one, other = made.encoder(made.images, mask), made.encoder(changed, mask)
    assert same(one.patches, other.patches) and same(one.prefix, other.prefix)


def test_an_image_is_seen_the_same_alone(made: Made) -> None:
    together, alone = made.encoder(made.images), made.encoder(made.images[1:2])
    assert same(together.patches[1:2], alone.patches) and same(together.prefix[1:2], alone.prefix)


def test_saving_and_opening_gives_the_same_encoder(made: Made, tmp_path: Path) -> None:
    made.encoder.save_pretrained(tmp_path)
    loaded: Any = load_pretrained(tmp_path, Encoder)
    assert type(loaded) is type(made.encoder) and loaded.config == made.encoder.config
    assert not loaded.training
    loaded.requires_grad_(False)
    kept, found = made.encoder.state_dict(), loaded.state_dict()
    assert list(kept) == list(found) and all(torch.equal(kept[key], found[key]) for key in kept)
    one, other = made.encoder(made.images, layers=(0,)), loaded(made.images, layers=(0,))
    assert same(one.patches, other.patches) and same(one.levels[0], other.levels[0])
    assert (loaded.dim, loaded.depth, loaded.patch) == (made.encoder.dim, made.encoder.depth, made.encoder.patch)


def test_sides_that_do_not_divide(made: Made) -> None:
    images = torch.nn.functional.pad(made.images, (0, 1))
    with pytest.raises(UserError, match=r"(crop|resize)") as caught:
        made.encoder(images)
    assert "17" in str(caught.value) or "9" in str(caught.value), "name the side"


def test_images_with_another_number_of_channels(made: Made) -> None:
    images = torch.cat([made.images, made.images[:, :1]], dim=1)
    with pytest.raises(UserError, match=r"convert|crop|give"):
        made.encoder(images)


def test_a_mask_of_another_grid(made: Made) -> None:
    masked = torch.nn.functional.pad(made.mask().masked, (0, 4))
    for wrong in (masked, masked[:, :6]):  # one too large, one too small
        with pytest.raises(UserError, match="mask"):
            made.encoder(made.images, Mask(wrong))
