"""Pictures with captions and labels: the embedded emoji, photographs at hand and one's own data."""

from mimgen.data.balanced import balanced
from mimgen.data.band_scaling import MODIS_TOA, BandScaling
from mimgen.data.bands import open_bands
from mimgen.data.colours import Colours
from mimgen.data.contract import Dataset, Sample, StreamedDataset
from mimgen.data.describe import describe
from mimgen.data.digits import open_digits
from mimgen.data.emoji import open_emoji
from mimgen.data.emoji_build import Summary, build_emoji
from mimgen.data.emoji_names import skin_tones
from mimgen.data.figures import open_figures
from mimgen.data.loader import Loader, StreamLoader, with_codes
from mimgen.data.memory import MemoryDataset
from mimgen.data.open import BUILT_IN, open_data, training_split
from mimgen.data.pairs import PairDataset, open_pairs
from mimgen.data.parallax import ParallaxDataset, open_parallax
from mimgen.data.phantoms import open_phantoms
from mimgen.data.photos import PhotoDataset, open_photos
from mimgen.data.pictures import PictureDataset
from mimgen.data.rasters import open_rasters
from mimgen.data.scenes import SceneDataset, open_scenes
from mimgen.data.shifts import ShiftedViews
from mimgen.data.stream import ShardStream
from mimgen.data.subset import Subset, nested_subset, without
from mimgen.data.transforms import Transform
from mimgen.data.views import MultiCrop, Views, random_crops
from mimgen.data.volumes import VolumeFolder, open_volumes

__all__ = [
    "BUILT_IN",
    "BandScaling",
    "Colours",
    "Dataset",
    "Loader",
    "MODIS_TOA",
    "MemoryDataset",
    "MultiCrop",
    "PairDataset",
    "ParallaxDataset",
    "PhotoDataset",
    "PictureDataset",
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
    "nested_subset",
    "open_bands",
    "open_data",
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
