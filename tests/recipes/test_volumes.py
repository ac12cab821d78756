"""Where a run's volumes come from: the built-in phantoms, or cubes of own volumes at random positions."""

import numpy as np

from mimgen import configs
from mimgen.recipes.volumes import Volumes


def test_own_volumes_give_random_cubes_and_phantoms_their_training_part(tmp_path):
    np.save(tmp_path / "scan.npy", np.zeros((6, 6, 6), np.float32))
    own = Volumes(str(tmp_path), 4, window=(0, 1)).open()
    assert own.augments and own.window == (0, 1) and own[0].image.shape == (1, 4, 4, 4)
    assert Volumes("volumes", 8).open().name == "volumes/train"
    assert Volumes("volumes", 8, "val").open().name == "volumes/val"


def test_configs_of_volumes_say_what_they_clip(tmp_path):
    usual = configs.experiment("hiendmae")(size="volumes32")
    assert usual.data_config == Volumes("volumes", 32, window=(-175.0, 250.0), spacing=1.5) and not usual.options
    other = configs.experiment("hiendmae")(size="tiny", window=(0.0, 1.0), hierarchical=False)
    assert other.options == {"window": (0.0, 1.0), "hierarchical": False}
    # the control reads the last layer three times
    assert other.build().decoder.taps == (2, 2, 2)
    assert usual.build().decoder.taps == (4, 2, 1)
    assert configs.experiment("hiendmae")().data_config.spec == "emoji"
