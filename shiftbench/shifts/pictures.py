"""A user's own backgrounds: images, GIFs and videos of one folder, decoded once a process."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageSequence

from shiftbench.errors import ShiftBenchError

#: What is read; other files of the folder are passed over.
IMAGES = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
CLIPS = (".apng", ".gif")
VIDEOS = (".avi", ".m4v", ".mkv", ".mov", ".mp4", ".webm")

#: Most pixels of a picture.
MOST_PIXELS = 50_000_000

#: Most frames of a file, and most bytes that they may take decoded: a longer video is cut.
MOST_FRAMES, MOST_BYTES = 500, 64_000_000

#: Most bytes that all files of a folder may take decoded; more is refused.
MOST_IN_ALL = 1_000_000_000


def files(folder: str | Path) -> list[Path]:
    """Return the folder's pictures in the order of their names; hidden files are no pictures.

    Raises:
        ShiftBenchError: the folder cannot be read, or holds none.
    """
    try:
        found = [path for path in Path(folder).iterdir() if path.is_file()]
    except OSError as error:
        raise ShiftBenchError(f"--backgrounds {folder}: {error.strerror or error}") from error
    known = (*IMAGES, *CLIPS, *VIDEOS)
    pictures = [p for p in found if p.suffix.lower() in known and not p.name.startswith(".")]
    if not pictures:
        raise ShiftBenchError(
            f"--backgrounds {folder}: no image, GIF or video in it ({', '.join(known)})"
        )
    return sorted(pictures, key=lambda path: path.name)


@cache
def content_hash(folder: str) -> str:
    """Return the SHA-256 of the folder's pictures, of their contents in the order of their names.

    Raises:
        ShiftBenchError: as `files`, or a file cannot be read.
    """
    digest = hashlib.sha256()
    for path in files(folder):
        try:
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        except OSError as error:
            raise ShiftBenchError(f"--backgrounds {path}: {error.strerror or error}") from error
    return digest.hexdigest()


@cache
def load(folder: str, size: int) -> tuple[np.ndarray, ...]:
    """Decode every picture of a folder.

    Args:
        folder: where they are.
        size: side in pixels of the square that each is cut and reduced to.

    Returns:
        One clip a file, in the order of their names: uint8 (T, S, S, 3), a still with T = 1; not to
        be changed, nor can they be.

    Raises:
        ShiftBenchError: as `files`; a picture that is broken, empty or too large, which is named; a
            video without the decoder; more than `MOST_IN_ALL` bytes.
    """
    clips: list[np.ndarray] = []
    for path in files(folder):
        clips.append(_clip(path, size))
        if sum(clip.nbytes for clip in clips) > MOST_IN_ALL:
            raise ShiftBenchError(
                f"--backgrounds {folder}: decoded at {size} px it takes more than "
                f"{MOST_IN_ALL // 10**6} MB: give fewer pictures or shorter videos"
            )
    return tuple(clips)


def _clip(path: Path, size: int) -> np.ndarray:
    decode = _video if path.suffix.lower() in VIDEOS else _image
    most = max(1, min(MOST_FRAMES, MOST_BYTES // (3 * size * size)))
    frames = []
    try:
        for frame in decode(path):
            frames.append(_square(frame, size))
            if len(frames) == most:
                break
    # Decoders raise what they like at broken files: OSError, SyntaxError, ValueError and their own.
    except Exception as error:
        if isinstance(error, ShiftBenchError):
            raise
        why = f"{type(error).__name__}: {error}"
        raise ShiftBenchError(f"--backgrounds {path}: cannot be decoded: {why}") from error
    if not frames:
        raise ShiftBenchError(f"--backgrounds {path}: it has no frames")
    clip = np.stack(frames)
    clip.flags.writeable = False  # every environment of the process shows this one
    return clip


def _image(path: Path) -> Iterator[Image.Image]:
    with warnings.catch_warnings():
        # Pillow warns of large pictures, which are refused below, before it decodes anything.
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        image = Image.open(path)
    with image:
        for frame in ImageSequence.Iterator(image):
            _check_size(path, *frame.size)
            # By way of RGBA, for Pillow warns of palettes that are transparent.
            yield frame.convert("RGBA").convert("RGB")


def _video(path: Path) -> Iterator[Image.Image]:
    av = _decoder(path)
    with av.open(str(path)) as container:
        if not container.streams.video:
            return
        stream = container.streams.video[0]
        _check_size(path, stream.width, stream.height)
        for frame in container.decode(stream):
            yield frame.to_image()


def _decoder(path: Path) -> Any:
    try:
        import av
    except ImportError as error:
        raise ShiftBenchError(
            f"--backgrounds {path}: videos need PyAV: pip install 'shiftbench[video]'"
        ) from error
    return av


def _check_size(path: Path, width: int, height: int) -> None:
    if width * height > MOST_PIXELS:
        raise ShiftBenchError(
            f"--backgrounds {path}: {width} × {height} pixels, at most {MOST_PIXELS} are read"
        )


def _square(image: Image.Image, size: int) -> np.ndarray:
    """Return the middle square of an image at another size: uint8 (size, size, 3)."""
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    box = (left, top, left + side, top + side)
    return np.asarray(image.resize((size, size), Image.Resampling.BOX, box))
