"""The records that travel: random streams, masks, losses."""

import dataclasses

import pytest
import torch

from mimgen.types import Batch, Losses, Mask, SampleRNG, mix_seed


def test_rows_do_not_depend_on_the_batch() -> None:
    together = SampleRNG([3, 4, 5])
    alone = SampleRNG([4])
    for sample in ("uniform", "normal", "gumbel"):
        torch.testing.assert_close(
            getattr(together, sample)(2, 3)[1:2], getattr(alone, sample)(2, 3), rtol=0, atol=0
        )


def test_streams_of_steps_and_rows_differ() -> None:
    rows = SampleRNG.for_rows(0, 1, [0, 1]).uniform(4)
    assert not torch.equal(rows[0], rows[1])
    assert not torch.equal(rows, SampleRNG.for_rows(0, 2, [0, 1]).uniform(4))
    torch.testing.assert_close(rows[1:], SampleRNG.for_rows(0, 1, [1]).uniform(4), rtol=0, atol=0)


def test_mix_seed_is_stable_across_machines() -> None:
    assert mix_seed(0, "epoch", 1) == 7329436534343938036
    assert 0 <= mix_seed(1) < 2**63


def test_mask_indices_restore_the_image() -> None:
    masked = torch.tensor([[True, False, False, True], [False, True, True, False]])
    mask = Mask(masked)
    assert mask.keep.tolist() == [[1, 2], [0, 3]] and mask.drop.tolist() == [[0, 3], [1, 2]]
    tokens = torch.arange(8).view(2, 4)
    shuffled = torch.cat([tokens.gather(1, mask.keep), tokens.gather(1, mask.drop)], dim=1)
    assert torch.equal(shuffled.gather(1, mask.restore), tokens)
    assert torch.equal(mask.predict, masked)


def test_ragged_mask_has_no_index_form() -> None:
    with pytest.raises(ValueError, match="different numbers"):
        _ = Mask(torch.tensor([[True, False], [True, True]])).keep


def test_losses_total_is_weighted() -> None:
    losses = Losses({"a": torch.tensor(2.0), "b": torch.tensor(3.0)}, {"b": 0.5}, {"note": torch.tensor(9.0)})
    assert losses.total.item() == pytest.approx(3.5)


def test_progress_is_the_share_of_the_run_that_is_done() -> None:
    batch = Batch(torch.zeros(1, 3, 4, 4))
    assert batch.progress == 0
    assert dataclasses.replace(batch, step=1, steps=4).progress == 0
    assert dataclasses.replace(batch, step=4, steps=4).progress == 0.75
