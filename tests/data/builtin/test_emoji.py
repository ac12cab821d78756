"""The embedded emoji: complete, sampled, and split as documented."""

from __future__ import annotations

import logging
import tarfile
from pathlib import Path

import pytest
import torch

from mimgen.data import Dataset, MemoryDataset, build_emoji, open_data, open_emoji, skin_tones
from mimgen.data.builtin.emoji import SHARDS
from mimgen.data.builtin.emoji_names import TONES, Emoji, assign_splits, read_names
from mimgen.errors import UserError

FONT = Path("/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf")


@pytest.fixture(scope="module")
def emoji() -> MemoryDataset:
    return open_emoji(64)


def test_all_are_there_and_distinct(emoji: MemoryDataset) -> None:
    assert isinstance(emoji, Dataset)
    assert emoji.images.shape == (3655, 3, 64, 64) and emoji.images.dtype == torch.uint8
    assert len(set(emoji.captions)) == len(set(emoji.keys)) == 3655
    assert len(emoji.label_names["group"]) == 9 and len(emoji.label_names["subgroup"]) == 99


def test_every_emoji_is_drawn_on_white(emoji: MemoryDataset) -> None:
    spread = emoji.images.float().flatten(1).std(dim=1)
    assert float(spread.min()) > 3
    # A glyph that fell apart or was left out would repeat another image.
    distinct = {image.numpy().tobytes() for image in emoji.images}
    assert len(distinct) > 3600
    border = torch.cat([emoji.images[:, :, 0], emoji.images[:, :, -1]], dim=-1)
    assert float((border == 255).float().mean()) > 0.8


def test_labels_name_what_the_caption_says(emoji: MemoryDataset) -> None:
    sample = emoji[emoji.captions.index("flag: Germany")]
    assert emoji.label_names["group"][sample.labels["group"]] == "Flags"
    assert emoji.label_names["subgroup"][sample.labels["subgroup"]] == "country-flag"
    red, green, blue = sample.image[:, 30, 32].tolist()
    assert red > 150 and green < 80 and blue < 80


@pytest.mark.parametrize(
    ("name", "role", "tones"),
    [
        ("woman astronaut: dark skin tone", "woman astronaut", ("dark",)),
        ("man: medium-light skin tone, beard", "man: beard", ("medium-light",)),
        ("kiss: woman, man, light skin tone, medium skin tone", "kiss: woman, man", ("light", "medium")),
        ("handshake: medium-dark skin tone", "handshake", ("medium-dark",)),
        ("flag: Germany", "flag: Germany", ()),
        ("family: man, woman, boy", "family: man, woman, boy", ()),
        ("grinning face", "grinning face", ()),
    ],
)
def test_skin_tones(name: str, role: str, tones: tuple[str, ...]) -> None:
    parsed = skin_tones(name)
    assert (parsed.role, parsed.tones) == (role, tones)


def test_splits_are_disjoint_whole_and_of_the_documented_size(emoji: MemoryDataset) -> None:
    parts = {split: set(open_emoji(64, split).captions) for split in ("train", "val", "compose")}
    assert sum(map(len, parts.values())) == 3655 and set.union(*parts.values()) == set(emoji.captions)
    joined = sum(bool(skin_tones(caption).tones) for caption in emoji.captions)
    assert 0.08 <= len(parts["compose"]) / joined <= 0.12
    assert 0.04 <= len(parts["val"]) / (3655 - len(parts["compose"])) <= 0.06
    assert all(skin_tones(caption).tones for caption in parts["compose"])


def test_every_role_and_tone_of_compose_is_in_train() -> None:
    train = [skin_tones(caption) for caption in open_emoji(64, "train").captions]
    whole = [skin_tones(caption) for caption in open_emoji(64).captions]
    roles = {parsed.role for parsed in train if parsed.tones}
    assert roles == {parsed.role for parsed in whole if parsed.tones}
    assert {tone for parsed in train for tone in parsed.tones} == set(TONES)


def test_a_role_that_would_vanish_is_given_back_to_train() -> None:
    people = [
        Emoji((index, tone), f"role {index}: {name} skin tone", "People & Body", "role")
        for index in range(400)
        for tone, name in enumerate(TONES[:1])
    ]
    # Each role has one tone only, so every one of them must stay in train.
    assert set(assign_splits(people)) == {"train"}


def test_the_split_does_not_move_when_emoji_are_added(emoji: MemoryDataset) -> None:
    items = [Emoji((i,), name, "Objects", "tool") for i, name in enumerate(emoji.captions[:500])]
    assert assign_splits(items)[:200] == assign_splits(items[:200])


@pytest.mark.parametrize("size", [16, 24, 32])
def test_smaller_sizes_keep_the_mean_colour(emoji: MemoryDataset, size: int) -> None:
    small = open_emoji(size, "val")
    assert small.images.shape[-1] == size
    row = emoji.captions.index(small.captions[3])
    difference = small.images[3].float().mean((1, 2)) - emoji.images[row].float().mean((1, 2))
    assert float(difference.abs().max()) < 3


def test_fingerprints_tell_size_and_split_apart() -> None:
    prints = {open_emoji(size, split).fingerprint for size in (32, 64) for split in ("train", "val")}
    assert len(prints) == 4
    assert open_emoji(32, "val").fingerprint == open_emoji(32, "val").fingerprint


def test_enlarging_warns(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert open_emoji(96, "compose").images.shape[-1] == 96
    assert "interpolated" in caplog.text


@pytest.mark.parametrize(
    ("size", "split", "message"),
    [(0, None, "size 0"), (-3, "train", "size -3"), (32, "test", "no split 'test'")],
)
def test_wrong_arguments_are_named(size: int, split: str | None, message: str) -> None:
    with pytest.raises(UserError, match=message):
        open_data("emoji", size=size, split=split)


def test_shards_are_small_and_carry_their_licence() -> None:
    shards = sorted(SHARDS.glob("*.tar"))
    assert shards and all(shard.stat().st_size <= 10_000_000 for shard in shards)
    assert "SIL OPEN FONT LICENSE" in (SHARDS / "OFL.txt").read_text()


@pytest.fixture(scope="module")
def few_names(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("names") / "emoji-test.txt"
    path.write_text(
        "# group: People & Body\n# subgroup: person-role\n"
        "1F469 1F3FF 200D 1F680 ; fully-qualified # x E4.0 woman astronaut: dark skin tone\n"
        "1F469 200D 1F680 ; minimally-qualified # x E4.0 not this one\n"
        "# group: Flags\n# subgroup: country-flag\n1F1E9 1F1EA ; fully-qualified # x E0.6 flag: Germany\n",
        encoding="utf-8",
    )
    return path


def test_names_are_read_with_their_groups(few_names: Path) -> None:
    first, second = read_names(few_names)
    assert first.key == "1f469-1f3ff-200d-1f680" and first.name == "woman astronaut: dark skin tone"
    assert (second.group, second.subgroup) == ("Flags", "country-flag")


@pytest.mark.skipif(not FONT.is_file(), reason="the font is not installed")
def test_building_is_reproducible(few_names: Path, tmp_path: Path) -> None:
    first, second = (build_emoji(FONT, few_names, 32, tmp_path / name) for name in ("a", "b"))
    assert first.count == 2 and first.shards[0].read_bytes() == second.shards[0].read_bytes()
    with tarfile.open(first.shards[0]) as tar:
        assert [entry.name for entry in tar][-2:] == ["1f1e9-1f1ea.json", "1f1e9-1f1ea.webp"]
        assert {entry.mtime for entry in tar} == {0}


@pytest.mark.skipif(not FONT.is_file(), reason="the font is not installed")
def test_a_sequence_the_font_does_not_join_is_an_error(tmp_path: Path) -> None:
    names = tmp_path / "names.txt"
    names.write_text("1F600 1F600 ; fully-qualified # x E1.0 two faces\n", encoding="utf-8")
    with pytest.raises(UserError, match="one glyph"):
        build_emoji(FONT, names, 32, tmp_path / "out")


def test_building_without_inputs_names_the_package(few_names: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="unicode-data"):
        build_emoji(FONT, tmp_path / "none.txt", 64, tmp_path)
    with pytest.raises(UserError, match="fonts-noto-color-emoji"):
        build_emoji(tmp_path / "none.ttf", few_names, 64, tmp_path)
    with pytest.raises(UserError, match="8 pixels"):
        build_emoji(FONT, few_names, 0, tmp_path)
