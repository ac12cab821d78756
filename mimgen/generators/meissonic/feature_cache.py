"""Keys and values that are kept from step to step, and the cells that have to be computed all the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from mimgen.generators.meissonic.blocks import JointBlock, SingleBlock
from mimgen.generators.meissonic.cells import Cells, marked
from mimgen.generators.meissonic.condition_cache import ConditionCache
from mimgen.generators.meissonic.kv_layout import Layout
from mimgen.generators.meissonic.network import MeissonicNetwork
from mimgen.generators.meissonic.speed import FeatureCache, Speed
from mimgen.layers.kv_cache import KeyValues


@dataclass
class _Kept:
    """What a full step leaves; `tokens` [B, h, w] are those that the entries were computed from."""

    tokens: Tensor
    stores: Sequence[KeyValues]
    layout: Layout
    step: int


class FeatureMemory:
    """The cache of one run of the sampler.

    It compares tokens itself, so the sampler knows nothing of it: a cell is computed where its tokens are not those
    of its entries, and where its tokens are asked for.

    Args:
        transformer: the generator.
        speed: its `cache` says how often everything is computed and how entries are compressed.

    Attributes:
        bytes: largest size of the kept keys and values so far.
    """

    def __init__(self, transformer: MeissonicNetwork, speed: Speed) -> None:
        self.transformer, self.speed = transformer, speed
        self.settings = speed.cache or FeatureCache(every=1)
        self.bytes = 0
        self._kept: _Kept | None = None

    def states_at(
        self,
        tokens: Tensor,
        prepared: ConditionCache,
        timestep: Tensor,
        positions: Tensor,
        step: int,
        *,
        rows: int | None = None,
    ) -> Tensor:
        """As `MeissonicNetwork.states_at`, from the cache where that may be.

        Args:
            tokens: [B, h, w] int64 ids.
            prepared: of B rows.
            timestep: [B].
            positions: [B, M].
            step: from 0.
            rows: makes a full step and keeps the first rows of it only (the conditional ones).
        """
        if rows is None and self._partial(tokens, step):
            return self._some(tokens, prepared, timestep, positions)
        return self._all(tokens, prepared, timestep, positions, step, rows)

    @property
    def _blocks(self) -> list[JointBlock | SingleBlock]:
        joint, single = self.transformer.transformer_blocks, self.transformer.single_transformer_blocks
        return [*joint, *single]  # type: ignore[list-item]

    def forget(self) -> None:
        """The next step is a full one."""
        self._kept = None

    def _partial(self, tokens: Tensor, step: int) -> bool:
        kept = self._kept
        if kept is None or step < self.settings.first or kept.tokens.shape != tokens.shape:
            return False
        return 0 < step - kept.step < self.settings.every

    def _all(
        self,
        tokens: Tensor,
        prepared: ConditionCache,
        timestep: Tensor,
        positions: Tensor,
        step: int,
        rows: int | None,
    ) -> Tensor:
        keep = self.settings.every > 1
        stores = [KeyValues() for _ in self._blocks] if keep else None
        states = self.transformer.states_at(
            tokens, prepared, timestep, positions, speed=self.speed, stores=stores
        )
        if stores is not None:
            for store in stores if rows is not None else ():
                store.head(rows or 0)
            self.bytes = max(self.bytes, _bytes(stores))
            tokens = tokens[:rows].clone()  # the sampler writes into its own
            self._kept = _Kept(tokens, stores, self._layout(tokens, prepared, stores), step)
        return states

    def _layout(self, tokens: Tensor, prepared: ConditionCache, stores: Sequence[KeyValues]) -> Layout:
        """Slots of the entries, which are compressed here if that is asked for."""
        grid, text = prepared.grid, prepared.text.shape[1]
        if self.settings.compress is None:
            return Layout.full(len(tokens), text, grid.count, tokens.device)
        masked = ~grid.any(tokens.flatten(1) != self.transformer.mask_id)
        # one matching for all blocks; the keys in the middle know the positions and the neighbourhood
        keys = stores[len(stores) // 2].keys if self.settings.compress == "merge" else None
        keys = None if keys is None else keys.flatten(2)
        layout, matching = Layout.compressed(masked, text, self.settings.keep, keys)
        for store in stores:
            store.compress(matching)
        return layout

    def _some(self, tokens: Tensor, prepared: ConditionCache, timestep: Tensor, positions: Tensor) -> Tensor:
        kept, grid, text = self._kept, prepared.grid, prepared.text.shape[1]
        assert kept is not None
        cells = grid.cells(positions)
        changed = grid.any((tokens != kept.tokens).flatten(1))
        active = Cells.where(changed | marked(cells, grid.count))
        slots = kept.layout.slot_of(active.index, active.valid)
        cosines, sines = (part[text + active.index] for part in prepared.table)
        x = self.transformer.embed_tokens(tokens, prepared, active.index)
        condition = self.transformer.timestep_embedding(prepared, timestep)
        for block, store in zip(self._blocks, kept.stores, strict=True):
            # never compiled: another number of cells in every step
            x = block.partial(x, condition, (cosines, sines), store, slots)
        kept.tokens = tokens.clone()
        self.bytes = max(self.bytes, _bytes(kept.stores))
        return self.transformer.output_features(x, active.positions(cells, grid.count), grid.corners(positions))


def _bytes(stores: Sequence[KeyValues]) -> int:
    return sum(store.bytes for store in stores)
