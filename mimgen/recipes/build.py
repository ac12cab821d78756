"""Tokenizers that are computed from the images, such as the centroids of k-means, and not trained."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from mimgen.data import Dataset
from mimgen.errors import UserError
from mimgen.files import write_atomically
from mimgen.ops.launch import is_main_process
from mimgen.pretrained import PretrainedModule
from mimgen.recipes.common import Recorded
from mimgen.recipes.data_config import DataConfig, record
from mimgen.training import Result, changes


@dataclass(frozen=True)
class Build(Recorded):
    """Compute a tokenizer from images; leaves `<out>/tokenizer`.

    Attributes:
        name: name of the config.
        size: name of the size.
        data_config: the data.
        seed: of whatever `build` samples.
        build: (images) -> the part.
        options: further arguments of the config that differ from its defaults; a finished folder serves the same only.
    """

    name: str
    size: str
    data_config: DataConfig
    seed: int
    build: Callable[[Dataset], PretrainedModule]
    options: Mapping[str, Any] = field(default_factory=dict)

    def run(self, out: Path) -> Result:
        """Compute it, by the first process of a launch only; a finished folder is left as it is.

        Raises:
            UserError: streamed or empty data, or the folder holds something built otherwise.
        """
        if not is_main_process():
            return Result(0, [], out)
        if (out / "tokenizer" / "config.json").is_file():
            self._check_same(out)
            return Result(0, [], out)
        dataset = self.data_config.open()
        if not isinstance(dataset, Dataset):
            raise UserError(f"{dataset.name} is a stream; {self.name} needs data on disk")
        if not len(dataset):
            raise UserError(f"{dataset.name} holds no images; check the split and the folder")
        out.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(self.seed)
        start = time.perf_counter()
        part = self.build(dataset)
        facts = {"seconds": round(time.perf_counter() - start, 2), "images": len(dataset)}
        # where the loop leaves what it knows of a trained run, so that `evaluate` finds the size
        write_atomically(out / "settings.json", json.dumps({"record": self.record()}, indent=2) + "\n")
        part.save_pretrained(out / "tokenizer")
        return Result(0, [facts], out)

    def _check_same(self, out: Path) -> None:
        """Refuse a folder in which something else was built."""
        path = out / "settings.json"
        before = json.loads(path.read_text("utf-8"))["record"] if path.is_file() else {}
        now = json.loads(json.dumps(self.record()))
        changed = changes(before, now)
        if changed:
            raise UserError(
                f"{out} was built with other settings: {'; '.join(changed)}. Choose another --out, or delete {out}"
            )

    def record(self) -> dict[str, Any]:
        """What is known of the tokenizer besides its weights."""
        return record(self.name, self.size, self.data_config, self.options, seed=self.seed)
