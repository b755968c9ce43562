"""Image files: decoded the same way by an import and by a stream."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from aigc.errors import first_line

Pixels = NDArray[np.uint8]

FORMATS = ("PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF", "PPM")
"""What is tried; others that Pillow knows start programs or carry no pictures to learn from."""

GREY = {"1", "L", "LA", "La"}
COLOUR = {"P", "PA", "RGB", "RGBA", "RGBX", "RGBa", "CMYK", "YCbCr", "LAB", "HSV"}
"""Pillow's modes of up to 8 bits a channel."""

MAX_PIXELS = 2**26
"""A file of a few bytes can claim to be a picture of any size."""


def read_image(content: bytes | memoryview) -> Pixels:
    """An image file as uint8 (C, H, W): upright, and white behind what is transparent.

    Raises ValueError, with a message that depends on the file alone.
    """
    if not len(content):
        raise ValueError("the file is empty")
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as opened:
            _require_usable(opened)
            return channels_first(np.asarray(_opaque(ImageOps.exif_transpose(opened))))
    except UnidentifiedImageError as error:
        # Its message names an address in memory, which is another one each time.
        raise ValueError(f"no image of a known format: {', '.join(FORMATS)}") from error
    except Exception as error:
        # Pillow has no error class of its own: a broken file raises whatever its bytes lead to.
        raise ValueError(first_line(error)) from error


def in_shape(image: Pixels, shape: tuple[int, ...]) -> Pixels:
    """The image, grey as colour if need be. Raises ValueError when it is not of that shape."""
    if image.ndim == 3 and len(image) == 1 and shape[0] == 3:
        image = np.repeat(image, 3, axis=0)
    if image.shape != shape:
        raise ValueError(f"{listed(image.shape)}, not {listed(shape)}")
    return image


def channels_first(pixels: Pixels) -> Pixels:
    """(H, W) or (H, W, C) as (C, H, W)."""
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


def listed(shape: tuple[int, ...]) -> str:
    """A shape for people."""
    return " × ".join(map(str, shape))


def _require_usable(opened: Image.Image) -> None:
    if opened.mode not in GREY | COLOUR:
        raise ValueError(f"mode {opened.mode} has more than 8 bits")
    if opened.width * opened.height > MAX_PIXELS:
        raise ValueError(f"{opened.width} × {opened.height} pixels: a decompression bomb?")


def _opaque(picture: Image.Image) -> Image.Image:
    mode = "L" if picture.mode in GREY else "RGB"
    if not picture.has_transparency_data:
        return picture.convert(mode)
    white = Image.new("RGBA", picture.size, "white")
    return Image.alpha_composite(white, picture.convert("RGBA")).convert(mode)
