"""Typed runs: what a config returns and the command line carries out.

A run holds a builder, not a built model, so that looking at a config costs nothing and the weights
are drawn after the run's seed is set.
"""

from mimgen.recipes.build import Build
from mimgen.recipes.common import USUAL, Common, changed
from mimgen.recipes.generation_fid import FidWatch
from mimgen.recipes.generator import TrainGenerator
from mimgen.recipes.pictures import Pictures, choose_size, given
from mimgen.recipes.pretrain import Pretrain
from mimgen.recipes.start import Start, open_text_encoder
from mimgen.recipes.tokenizer import TrainTokenizer
from mimgen.recipes.tokenizers import DiscreteTokenizer, encoder_of, load_coder, load_tokenizer, tokenize
from mimgen.recipes.volumes import Volumes

TrainingRun = TrainTokenizer | TrainGenerator | Pretrain
Run = TrainingRun | Build

__all__ = [
    "USUAL",
    "Build",
    "Common",
    "DiscreteTokenizer",
    "FidWatch",
    "Pictures",
    "Pretrain",
    "Run",
    "Start",
    "TrainGenerator",
    "TrainTokenizer",
    "TrainingRun",
    "Volumes",
    "changed",
    "choose_size",
    "encoder_of",
    "given",
    "load_coder",
    "load_tokenizer",
    "open_text_encoder",
    "tokenize",
]
