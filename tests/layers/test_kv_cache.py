"""Kept keys and values: written over, left out, merged, weighed by the cells behind them."""

import pytest
import torch

from mimgen.generators.meissonic.kv_layout import Layout
from mimgen.layers.attention import attend
from mimgen.layers.kv_cache import KeyValues, Slots

TEXT, CELLS = 2, 6


def filled(rows: int = 2) -> tuple[KeyValues, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    keys, values = (torch.randn(rows, TEXT + CELLS, 2, 4, generator=generator) for _ in range(2))
    store = KeyValues()
    store.fill(keys.clone(), values.clone())
    return store, keys, values


def new(count: int) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(1)
    return tuple(torch.randn(2, count, 2, 4, generator=generator) for _ in range(3))


def test_an_empty_cache_says_so() -> None:
    slots = Slots(torch.zeros(2, 1, dtype=torch.int64), torch.ones(2, 1, dtype=torch.bool))
    with pytest.raises(ValueError, match="pass over everything first"):
        KeyValues().attend(*new(1), slots)


def test_entries_of_computed_cells_are_replaced_and_padding_writes_nothing() -> None:
    (store, keys, values), (q, k, v) = filled(), new(2)
    cells, valid = torch.tensor([[1, 4], [3, 0]]), torch.tensor([[True, True], [True, False]])
    mixed = store.attend(q, k, v, Layout.full(2, TEXT, CELLS, keys.device).slot_of(cells, valid))
    for row, cell, position in ((0, 1, 0), (0, 4, 1), (1, 3, 0)):
        keys[row, TEXT + cell], values[row, TEXT + cell] = k[row, position], v[row, position]
    assert torch.equal(store.keys, keys) and torch.equal(store.values, values)
    torch.testing.assert_close(mixed, attend(q, keys, values))
    assert store.bytes == 2 * 2 * 8 * 8 * 4
    store.head(1)
    assert store.bytes == 2 * 8 * 8 * 4
    held = [x.untyped_storage().nbytes() for x in (store.keys, store.values)]
    assert sum(held) == store.bytes  # the memory of the other rows is free


def test_dropping_keeps_a_part_of_what_is_alike_and_all_else() -> None:
    alike = torch.tensor([[True] * 6, [True, True, False, False, False, True]])
    layout, matching = Layout.compressed(alike, TEXT, 0.5, None)
    store, keys, _ = filled()
    store.compress(matching)
    assert (layout.slot >= 0).tolist() == [[True, False] * 3, [True, False, True, True, True, True]]
    for row in range(2):
        for cell in range(CELLS):
            if (slot := int(layout.slot[row, cell])) >= 0:
                assert torch.equal(store.keys[row, slot], keys[row, TEXT + cell])
    assert torch.equal(store.keys[:, :TEXT], keys[:, :TEXT])
    assert layout.weight.tolist() == [[1.0] * 5 + [0.0] * 2, [1.0] * 7]  # the shorter row is padded


def test_merging_equal_entries_changes_nothing() -> None:
    store, keys, values = filled()
    alike = torch.tensor([[True] * 4 + [False] * 2, [False] * 2 + [True] * 4])
    for x in (store.keys, store.values, keys, values):  # two kinds of entries, two of each
        for row, cell in ((0, 0), (0, 2), (1, 2), (1, 4)):
            x[row, TEXT + cell + 1] = x[row, TEXT + cell]
    layout, matching = Layout.compressed(alike, TEXT, 0.5, store.keys.flatten(2))
    store.compress(matching)
    assert store.keys.shape[1] == TEXT + 4 and layout.weight.sum(1).tolist() == [8.0, 8.0]
    cells, (q, k, v) = torch.tensor([[4], [0]]), new(1)
    for row in range(2):
        keys[row, TEXT + cells[row, 0]], values[row, TEXT + cells[row, 0]] = k[row, 0], v[row, 0]
    slots = layout.slot_of(cells, torch.ones(2, 1, dtype=torch.bool))
    torch.testing.assert_close(store.attend(q, k, v, slots), attend(q, keys, values))


def test_a_merged_cell_gets_a_slot_of_its_own_when_it_is_computed() -> None:
    store, _, _ = filled()
    layout, matching = Layout.compressed(torch.ones(2, CELLS, dtype=torch.bool), TEXT, 1 / 3, store.keys.flatten(2))
    store.compress(matching)
    assert store.keys.shape[1] == TEXT + 2 and layout.weight.sum() == 2 * (TEXT + CELLS)
    cells = torch.arange(CELLS).expand(2, -1)
    slots = layout.slot_of(cells, torch.ones(2, CELLS, dtype=torch.bool))
    q, k, v = new(CELLS)
    mixed = store.attend(q, k, v, slots)
    keys, values = (torch.cat([x[:, :TEXT], y], dim=1) for x, y in ((store.keys, k), (store.values, v)))
    torch.testing.assert_close(mixed, attend(q, keys, values))  # what was merged weighs nothing any more
    assert bool(layout.alone.all()) and layout.slot_of(cells, torch.ones(2, CELLS, dtype=torch.bool)).added == 0


def test_a_dropped_cell_comes_back_when_it_is_computed() -> None:
    store, keys, values = filled()
    layout, matching = Layout.compressed(torch.ones(2, CELLS, dtype=torch.bool), TEXT, 0.5, None)
    store.compress(matching)
    (q, k, v), valid = new(2), torch.tensor([[True, True], [True, False]])
    slots = layout.slot_of(torch.tensor([[1, 2], [5, 4]]), valid)
    mixed = store.attend(q, k, v, slots)
    kept = [0, 1, 2, 4, 6]  # text, cells 0, 2, 4
    first = torch.cat([keys[0, kept], k[0, :1]]), torch.cat([values[0, kept], v[0, :1]])
    first[0][3], first[1][3] = k[0, 1], v[0, 1]
    torch.testing.assert_close(mixed[:1], attend(q[:1], first[0][None], first[1][None]))
    second = torch.cat([keys[1, kept], k[1, :1]]), torch.cat([values[1, kept], v[1, :1]])
    torch.testing.assert_close(mixed[1:, :1], attend(q[1:, :1], second[0][None], second[1][None]))
