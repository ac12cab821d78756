"""Images with captions and labels: the embedded emoji, photographs at hand and one's own data."""

from mimgen.data.balanced import balanced
from mimgen.data.builtin.band_scaling import MODIS_TOA, BandScaling
from mimgen.data.builtin.bands import open_bands
from mimgen.data.builtin.digits import open_digits
from mimgen.data.builtin.emoji import open_emoji
from mimgen.data.builtin.emoji_build import Summary, build_emoji
from mimgen.data.builtin.emoji_names import skin_tones
from mimgen.data.builtin.figures import open_figures
from mimgen.data.builtin.parallax import ParallaxDataset, open_parallax
from mimgen.data.builtin.phantoms import open_phantoms
from mimgen.data.builtin.photos import PhotoDataset, open_photos
from mimgen.data.builtin.scenes import SceneDataset, open_scenes
from mimgen.data.contract import Dataset, Sample, StreamedDataset
from mimgen.data.describe import describe
from mimgen.data.images import evaluation_split, evenly_spaced, load_images, load_spaced, open_dataset
from mimgen.data.loader import Loader, StreamLoader, with_codes
from mimgen.data.memory import MemoryDataset
from mimgen.data.open import BUILT_IN, open_data, training_split
from mimgen.data.sources.images import ImageDataset
from mimgen.data.sources.pairs import PairDataset, open_pairs
from mimgen.data.sources.rasters import open_rasters
from mimgen.data.sources.stream import ShardStream
from mimgen.data.sources.volumes import VolumeFolder, open_volumes
from mimgen.data.subset import Subset, nested_subset, without
from mimgen.data.transforms.colours import Colours
from mimgen.data.transforms.resize import Transform
from mimgen.data.transforms.shifts import ShiftedViews
from mimgen.data.transforms.views import MultiCrop, Views, random_crops

__all__ = [
    "BUILT_IN",
    "MODIS_TOA",
    "BandScaling",
    "Colours",
    "Dataset",
    "ImageDataset",
    "Loader",
    "MemoryDataset",
    "MultiCrop",
    "PairDataset",
    "ParallaxDataset",
    "PhotoDataset",
    "Sample",
    "SceneDataset",
    "ShardStream",
    "ShiftedViews",
    "StreamLoader",
    "StreamedDataset",
    "Subset",
    "Summary",
    "Transform",
    "Views",
    "VolumeFolder",
    "balanced",
    "build_emoji",
    "describe",
    "evaluation_split",
    "evenly_spaced",
    "load_images",
    "load_spaced",
    "nested_subset",
    "open_bands",
    "open_data",
    "open_dataset",
    "open_digits",
    "open_emoji",
    "open_figures",
    "open_pairs",
    "open_parallax",
    "open_phantoms",
    "open_photos",
    "open_rasters",
    "open_scenes",
    "open_volumes",
    "random_crops",
    "skin_tones",
    "training_split",
    "with_codes",
    "without",
]
