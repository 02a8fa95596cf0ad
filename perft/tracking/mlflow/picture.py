"""A plot made narrow enough for the description on a run's page."""

import io

WIDTH = 640
"""Pixels, at most."""


def narrowed(png: bytes) -> bytes:
    """A PNG with the same proportions, `WIDTH` pixels wide at most; another picture as it is."""
    from PIL import Image, UnidentifiedImageError  # noqa: PLC0415 - needed once a search

    try:
        with Image.open(io.BytesIO(png)) as picture:
            small = picture.convert("RGB")
    except UnidentifiedImageError:  # the folder is anybody's
        return png
    small.thumbnail((WIDTH, small.height))
    file = io.BytesIO()
    small.save(file, "PNG")
    return file.getvalue()
