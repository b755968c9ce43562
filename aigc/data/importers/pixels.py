"""From image files and numbers to stored images."""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from aigc.data.cleaning import Bytes, Rejected, picture_of
from aigc.modalities.image_files import channels_first, in_shape, listed, read_image


def stored_image(value: object, shape: tuple[int, ...], resize: bool) -> Bytes:
    """An image file, or numbers, as uint8 (C, H, W) of `shape`; grey becomes colour if need be.

    With `resize`, another size is cropped at its centre and scaled, and colour becomes grey.
    Raises Rejected.
    """
    image = decoded(value)
    if image.ndim == 1 and image.size == np.prod(shape):
        return image.reshape(shape)
    if image.ndim == 3 and resize and image.shape != shape:
        image = _resized(image, shape)
    try:
        return np.ascontiguousarray(in_shape(image, shape))
    except ValueError as error:
        raise Rejected("wrong shape", str(error)) from error


def decoded(value: object) -> Bytes:
    """An image file or nested numbers as uint8 (C, H, W); a flat list as (numbers,).

    Raises Rejected.
    """
    if isinstance(value, bytes):
        return _decoded_file(value)
    return _decoded_numbers(value)


def _decoded_file(content: bytes) -> Bytes:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return read_image(content)
    except ValueError as error:
        raise Rejected("undecodable", str(error)) from error


def _decoded_numbers(value: object) -> Bytes:
    """Whole numbers of 0 … 255, flat, (H, W) or (C, H, W)."""
    try:
        numbers = np.asarray(value)
    except ValueError as error:
        raise Rejected("undecodable", "its rows have different lengths") from error
    if numbers.dtype.kind not in "iuf" or not numbers.size:
        raise Rejected("undecodable", f"no image file and no numbers: {type(value).__name__}")
    if not ((numbers >= 0) & (numbers <= 255) & (numbers == np.floor(numbers))).all():
        raise Rejected("undecodable", "its numbers are not whole ones of 0 to 255")
    if numbers.ndim > 3:
        raise Rejected("wrong shape", listed(numbers.shape))
    pixels: NDArray[np.uint8] = numbers.astype(np.uint8)
    return pixels[None] if pixels.ndim == 2 else pixels


def _resized(image: Bytes, shape: tuple[int, ...]) -> Bytes:
    if len(image) not in (1, 3):
        raise Rejected("wrong shape", f"{listed(image.shape)}: neither grey nor colour")
    channels, height, width = shape
    picture = picture_of(image).convert("L" if channels == 1 else "RGB")
    fitted = ImageOps.fit(picture, (width, height), Image.Resampling.LANCZOS)
    return channels_first(np.asarray(fitted))
