"""Pictures with captions and labels: the embedded emoji, photographs at hand and one's own data."""

from mimgen.data.balanced import balanced
from mimgen.data.contract import Dataset, Sample, StreamedDataset
from mimgen.data.describe import describe
from mimgen.data.digits import open_digits
from mimgen.data.emoji import open_emoji
from mimgen.data.emoji_build import Summary, build_emoji
from mimgen.data.emoji_names import skin_tones
from mimgen.data.loader import Loader, StreamLoader, with_codes
from mimgen.data.memory import MemoryDataset
from mimgen.data.open import BUILT_IN, open_data, training_split
from mimgen.data.photos import PhotoDataset, open_photos
from mimgen.data.pictures import PictureDataset
from mimgen.data.scenes import SceneDataset, open_scenes
from mimgen.data.stream import ShardStream
from mimgen.data.subset import Subset, nested_subset, without
from mimgen.data.transforms import Transform

__all__ = [
    "BUILT_IN",
    "Dataset",
    "Loader",
    "MemoryDataset",
    "PhotoDataset",
    "PictureDataset",
    "Sample",
    "ShardStream",
    "StreamLoader",
    "StreamedDataset",
    "Summary",
    "Transform",
    "balanced",
    "build_emoji",
    "describe",
    "open_data",
    "open_emoji",
    "open_photos",
    "skin_tones",
    "training_split",
    "with_codes",
    "SceneDataset",
    "Subset",
    "nested_subset",
    "open_digits",
    "open_scenes",
    "without",
]
