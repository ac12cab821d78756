"""Replays of position tables: facebookresearch/mae `util/pos_embed.py`."""

from __future__ import annotations

import torch
from torch import Tensor

from mimgen.layers.position import resize_position_table, sincos_2d
from tests.parity.cases import Case, Replay


def mae_pos_embed(case: Case) -> dict[str, Tensor]:
    """The fixed sine-cosine table, and a learned table resized to another grid."""
    config, size = case.config, case.config["grid_size"]
    table = sincos_2d(config["embed_dim"], size, size)
    if config.get("cls_token", False):
        table = torch.cat([torch.zeros_like(table[:1]), table])
    new = config["new_grid"]
    resized = resize_position_table(case.inputs["pos_embed"], (size, size), (new, new))
    return {"sincos": table, "interpolated": resized}


REPLAYS: dict[str, Replay] = {"mae_pos_embed": mae_pos_embed}
