"""Images: found, checked, split, decoded and varied."""

from mobilenets.data.augmentation import Augment, augment
from mobilenets.data.batches import (
    Batch,
    EpochSampler,
    MemoryPixels,
    StreamedPixels,
    decode,
    physical_bytes,
    train_pixels,
    training_size,
    whole,
)
from mobilenets.data.formats.builtin import BUILT_IN
from mobilenets.data.formats.folders import name_of
from mobilenets.data.formats.shards import Members
from mobilenets.data.images import Images
from mobilenets.data.loading import find_images, load_images
from mobilenets.data.pack import ShardSize, write_shards
from mobilenets.data.preprocess import Preprocess
from mobilenets.data.read import read_image
from mobilenets.data.reading import AUTO_READING, Reading, parse_reading
from mobilenets.data.source import Arrays, Files, Source
from mobilenets.data.split import SplitRule

__all__ = [
    "AUTO_READING",
    "BUILT_IN",
    "Arrays",
    "Augment",
    "Batch",
    "EpochSampler",
    "Files",
    "Images",
    "Members",
    "MemoryPixels",
    "Preprocess",
    "Reading",
    "ShardSize",
    "Source",
    "SplitRule",
    "StreamedPixels",
    "augment",
    "decode",
    "find_images",
    "load_images",
    "name_of",
    "parse_reading",
    "physical_bytes",
    "read_image",
    "train_pixels",
    "training_size",
    "whole",
    "write_shards",
]
