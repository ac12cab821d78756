"""`mimgen gallery`: every strategy is shown, and a run's reconstruction is put back into its image."""

import inspect
import json
from dataclasses import is_dataclass

import pytest
import torch
from PIL import Image

from mimgen import masking
from mimgen.cli.gallery import _pretraining, main
from mimgen.decoders.mae import LinearDecoder, MaeDecoder
from mimgen.encoders.swin import SwinEncoder
from mimgen.encoders.vit import mae_vit
from mimgen.errors import UserError
from mimgen.masking import Random
from mimgen.methods import MIM
from mimgen.recipes import pretrain
from mimgen.report.gallery_masks import guides, mask_gallery, strategies
from mimgen.report.gallery_run import (
    NOT_PIXELS,
    FinishedRun,
    attention_maps,
    gallery,
)
from mimgen.report.page import Gallery, Item, contact_sheet
from mimgen.targets import HogTarget, PixelTarget
from mimgen.types import Batch, Mask, SampleRNG

VIT = {"image_size": 16, "patch": 4, "width": 8, "depth": 2, "heads": 2}
GRID = (4, 4)


def mae(target):
    torch.manual_seed(0)
    decoder = MaeDecoder(16, 4, 8, 8, 1, 2, output=target.dim)
    return MIM(mae_vit(**VIT), decoder, target, Random(0.5)).eval()


def finished(target):
    return FinishedRun("mae", mae(target), 3)


def test_every_exported_strategy_is_shown():
    exported = {name for name in masking.__all__ if inspect.isclass(getattr(masking, name))}
    strategic = {name for name in exported if is_dataclass(getattr(masking, name)) and callable(getattr(masking, name))}
    listed = {name.partition(",")[0] for name in strategies((8, 8))}
    assert {"Random", "Block"} <= listed
    missing = {name for name in strategic - listed if "Mask" in str(inspect.signature(getattr(masking, name).__call__))}
    assert not missing, "give it an example in gallery_masks.py"
    given = guides(torch.rand(2, 3, 64, 64), 8)
    for name, strategy in strategies((8, 8)).items():
        masks = mask_gallery(strategy, (8, 8), SampleRNG([0, 1]), given)
        assert masks and all(mask.masked.shape == (2, 64) and bool(mask.masked.any()) for mask in masks), name


def test_attention_follows_the_centre_and_hard_masks_follow_edges():
    images = torch.zeros(1, 3, 64, 64)
    images[..., 2:6, 2:6] = 1
    given, known = guides(images, 8), strategies((8, 8))
    (high,) = mask_gallery(known["AttentionMasking, high"], (8, 8), SampleRNG([0]), given)
    (hard,) = mask_gallery(known["Hard, all hard"], (8, 8), SampleRNG([0]), given)
    assert bool(high.masked[0, 27]) and not bool(high.masked[0, 0]) and bool(hard.masked[0, 0])


def test_masks_page_and_sheet(tmp_path, capsys):
    page, sheet = tmp_path / "a" / "masks.html", tmp_path / "masks.png"
    assert main(["masks", "--n", "2", "--pixels", "32", "--patch", "8", "--out", str(page), "--png", str(sheet)]) == 0
    text = page.read_text("utf-8")
    assert "Random, squares" in text and "Guides" in text and "% masked" in text and "https://" not in text
    assert Image.open(sheet).size[0] >= 3 * 32 and "masks.png" in capsys.readouterr().out


@pytest.mark.parametrize("normalise", [True, False])
def test_visible_patches_are_pasted(normalise):
    images = torch.rand(2, 3, 16, 16)
    done = finished(PixelTarget(4, normalise=normalise))
    shown_ = gallery(done, images, ("a", ""), seed=5)
    mask = done.objective.mask(Batch(images, rng=SampleRNG([5, 6])))
    for row, item in enumerate(shown_.items):
        assert list(item.images) == ["image", "masked", "reconstruction", "all predictions", "attention"]
        masked = mask.masked[row].unflatten(0, GRID).repeat_interleave(4, 0).repeat_interleave(4, 1)
        assert torch.equal(item.images["reconstruction"][:, ~masked], images[row][:, ~masked])
        assert torch.equal(item.images["reconstruction"][:, masked], item.images["all predictions"][:, masked])
    assert ("true patch" in shown_.text) is normalise and shown_.items[1].caption == "image 1"


def test_other_targets_show_masks_and_attention_and_say_so():
    shown_ = gallery(finished(HogTarget(patch=4)), torch.rand(1, 3, 16, 16), ("a",))
    assert list(shown_.items[0].images) == ["image", "masked", "attention"] and NOT_PIXELS in shown_.text


def test_a_perfect_decoder_tells_the_image():
    images, objective = torch.rand(1, 3, 16, 16), mae(PixelTarget(4))
    objective.predict = lambda batch, mask: objective.target(batch.images)
    mask = Mask(torch.tensor([[True, False] * 8]))
    assert (objective.reconstruct(Batch(images), mask) - images).abs().max() < 1e-5


def test_what_needs_more_than_images_is_said():
    objective = mae(PixelTarget(4))

    def mask(batch):
        raise UserError("these data have no keypoints")

    objective.mask = mask
    shown = gallery(FinishedRun("hap", objective, 1), torch.rand(1, 3, 16, 16), ("a",))
    assert list(shown.items[0].images) == ["image", "attention"] and "no keypoints" in shown.text


def test_encoders_without_maps_show_none():
    encoder = SwinEncoder(2, 16, (2, 1), (1, 2), 4)
    assert attention_maps(encoder, torch.rand(1, 3, 16, 16)) is None
    target = PixelTarget(2, normalise=False)
    objective = MIM(encoder, LinearDecoder(encoder.dim, encoder.patch, 2), target, Random(0.5, 2)).eval()
    done = FinishedRun("simmim", objective, 1)
    assert list(gallery(done, torch.rand(1, 3, 16, 16), ("a",)).items[0].images)[-1] == "all predictions"


def test_a_run_is_rebuilt_from_its_command(tmp_path, monkeypatch):
    command = "mimgen train mae --size tiny --no-normalise --out somewhere"
    (tmp_path / "command.json").write_text(json.dumps({"command": command}))
    with pytest.raises(UserError, match="no checkpoint"):
        main([str(tmp_path)])
    monkeypatch.setattr(pretrain, "load_ema", lambda folder, objective: 7)
    run = _pretraining(tmp_path)
    objective, step = run.load(tmp_path)
    assert step == 7 and run.size == "tiny" and objective.target.normalise is False and not objective.training
    (tmp_path / "command.json").write_text(json.dumps({"command": "mimgen train vqgan --size tiny"}))
    with pytest.raises(UserError, match="pretrains no encoder"):
        main([str(tmp_path)])


def test_a_sheet_has_a_row_for_an_item_with_many_images():
    many = Item({name: torch.zeros(3, 8, 8) for name in "abc"}, "")
    few = Item({"a": torch.zeros(3, 8, 8)}, "")
    sheet = contact_sheet([Gallery("", "", [many, many]), Gallery("", "", [few, few])], gap=2)
    assert sheet.shape == (3, 30, 30) and bool((sheet[:, 20:28, 20:] == 1).all())


@pytest.mark.parametrize(
    ("words", "summary"),
    [
        (["nowhere/at-all"], "no run"),
        (["masks", "--out", "a.png"], "html"),
        (["masks", "--patch", "7"], "do not divide"),
        (["masks", "--n", "0"], "at least 1"),
    ],
)
def test_mistakes_are_named(words, summary):
    with pytest.raises(UserError, match=summary):
        main(words)


def test_a_folder_that_is_no_run(tmp_path):
    with pytest.raises(UserError, match="no training run"):
        main([str(tmp_path)])
