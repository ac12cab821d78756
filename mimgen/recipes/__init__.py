"""Typed runs: what a config returns and the command line carries out.

A run holds a builder, not a built model, so that looking at a config costs nothing and the weights
are sampled after the run's seed is set.
"""

from mimgen.recipes.build import Build
from mimgen.recipes.class_names import class_names
from mimgen.recipes.common import DEFAULT_FLAGS, TrainFlags
from mimgen.recipes.data_config import DataConfig, choose_size, value_or
from mimgen.recipes.generation_fid import FidWatch
from mimgen.recipes.generator import TrainGenerator
from mimgen.recipes.generator_data import square_grid
from mimgen.recipes.init_from import InitFrom, open_text_encoder
from mimgen.recipes.pretrain import Pretrain
from mimgen.recipes.tokenizer import TrainTokenizer
from mimgen.recipes.tokenizers import encoder_of, tokenize
from mimgen.recipes.volumes import Volumes
from mimgen.tokenizers.open import load_image_quantizer, load_tokenizer

TrainingRun = TrainTokenizer | TrainGenerator | Pretrain
Run = TrainingRun | Build

__all__ = [
    "DEFAULT_FLAGS",
    "Build",
    "DataConfig",
    "FidWatch",
    "InitFrom",
    "Pretrain",
    "Run",
    "TrainFlags",
    "TrainGenerator",
    "TrainTokenizer",
    "TrainingRun",
    "Volumes",
    "choose_size",
    "class_names",
    "encoder_of",
    "load_image_quantizer",
    "load_tokenizer",
    "open_text_encoder",
    "square_grid",
    "tokenize",
    "value_or",
]
