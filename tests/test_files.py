"""Files and folders appear whole or not at all, and a wrong word is answered with the nearest."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mimgen import files
from mimgen.errors import UserError, unknown_name
from mimgen.files import new_file, new_folder, path_like, write_atomically


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_text_and_bytes(tmp_path: Path) -> None:
    write_atomically(tmp_path / "a", "ä")
    write_atomically(tmp_path / "b", b"\x00")
    assert (tmp_path / "a").read_text("utf-8") == "ä" and (tmp_path / "b").read_bytes() == b"\x00"
    assert names(tmp_path) == ["a", "b"]


def test_an_interrupted_write_leaves_the_old_file(tmp_path: Path) -> None:
    write_atomically(tmp_path / "a", "old")

    def interrupted() -> None:
        with new_file(tmp_path / "a") as temporary:
            temporary.write_text("ne")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert (tmp_path / "a").read_text() == "old" and names(tmp_path) == ["a"]


def test_permissions_are_those_of_any_file(tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    write_atomically(tmp_path / "a", "x")
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "plain").stat().st_mode
    (tmp_path / "a").chmod(0o600)
    write_atomically(tmp_path / "a", "y")
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o600


def test_two_writers_of_one_file_do_not_meet(tmp_path: Path) -> None:
    with new_file(tmp_path / "a") as first, new_file(tmp_path / "a") as second:
        assert first != second
        first.write_text("1")
        second.write_text("2")
    assert (tmp_path / "a").read_text() == "1" and names(tmp_path) == ["a"]


def test_everything_is_on_disk_before_the_name_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[str] = []
    sync, replace = files.sync, os.replace
    monkeypatch.setattr(files, "sync", lambda path: (events.append("sync"), sync(path)))
    monkeypatch.setattr(files.os, "replace", lambda a, b: (events.append("replace"), replace(a, b)))
    write_atomically(tmp_path / "a", "x")
    assert events == ["sync", "replace"]


def test_a_folder_appears_when_it_is_whole(tmp_path: Path) -> None:
    def half() -> None:
        with new_folder(tmp_path / "deep" / "a") as made:
            (made / "one").touch()
            raise ValueError("half")

    with pytest.raises(ValueError, match="half"):
        half()
    assert names(tmp_path / "deep") == []
    with new_folder(tmp_path / "a") as made:
        (made / "one").touch()
        assert not (tmp_path / "a").exists()
    assert names(tmp_path / "a") == ["one"]
    with pytest.raises(UserError, match="exists already"), new_folder(tmp_path / "a"):
        pass
    with new_folder(tmp_path / "a", replace=True) as made:
        (made / "two").touch()
    assert names(tmp_path / "a") == ["two"] and names(tmp_path) == ["a", "deep"]


def test_a_name_nearby(tmp_path: Path) -> None:
    (tmp_path / "photographs").mkdir()
    assert path_like(tmp_path / "photograps") == f"; did you mean {tmp_path / 'photographs'}?"
    assert path_like(Path("emojy"), ["emoji"]) == "; did you mean emoji?"
    assert path_like(tmp_path / "quite another") == ""
    assert str(unknown_name("colour", "gren", ["red", "green"])) == (
        "unknown colour 'gren'; did you mean green? (there are: red, green)"
    )
