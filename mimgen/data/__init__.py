"""Pictures with captions and labels: the embedded emoji and one's own data."""

from mimgen.data.contract import Dataset, Sample, StreamedDataset
from mimgen.data.describe import describe
from mimgen.data.emoji import open_emoji
from mimgen.data.emoji_build import Summary, build_emoji
from mimgen.data.emoji_names import skin_tones
from mimgen.data.loader import Loader, StreamLoader, with_codes
from mimgen.data.memory import MemoryDataset
from mimgen.data.open import open_data
from mimgen.data.pictures import PictureDataset
from mimgen.data.stream import ShardStream
from mimgen.data.transforms import Transform

__all__ = [
    "Dataset",
    "Loader",
    "MemoryDataset",
    "PictureDataset",
    "Sample",
    "ShardStream",
    "StreamLoader",
    "StreamedDataset",
    "Summary",
    "Transform",
    "build_emoji",
    "describe",
    "open_data",
    "open_emoji",
    "skin_tones",
    "with_codes",
]
