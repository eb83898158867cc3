"""MNIST: reading the files, straightening the digits, and their similarity."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cytomoe.errors import InputError

if TYPE_CHECKING:
    from cytomoe.settings import Settings
    from cytomoe.similarity import Similarity

FloatArray = NDArray[np.float32]

SIDE = 28
DIGITS = 10
# Orientation features: blur before the gradient and reach of the smoothing after it (standard deviations in pixels),
# directions, how sharply they are told apart, and the pixels from one place to the next. Neighbours by these features
# are of one digit in 97 %, by blurred pixels in 95 %.
_BLUR, _REACH = 0.7, 2.0
_DIRECTIONS, _SHARPNESS, _EVERY = 8, 4, 3
_COMPONENTS = 50  # principal components in which neighbours are looked for
_NEIGHBOURS = (8, 10, 12, 15, 20)  # a partition each
_PARTS = ("t10k", "train")


def read_digits(folder: Path) -> tuple[FloatArray, NDArray[np.int64], str]:
    """Read the digits that are there: the 10,000 test digits, and the 60,000 training digits after them.

    Parameters
    ----------
    folder
        Holds the IDX files under their usual names, with or without ``.gz``.

    Returns
    -------
    images, labels, what
        Shapes (digits, 784), in [0, 1], and (digits,); ``what`` says in words which digits they are.

    Raises
    ------
    InputError
        If neither part is there or a file is damaged.
    """
    images, labels = [], []
    for part in _PARTS:
        paths = [_find(folder, f"{part}-{kind}") for kind in ("images-idx3-ubyte", "labels-idx1-ubyte")]
        if None not in paths:
            pixels, digits = (_read_idx(path) for path in paths if path is not None)
            if len(pixels) != len(digits):
                raise InputError(f"{paths[0]}: {len(pixels):,} images for {len(digits):,} labels")
            images.append(pixels.reshape(len(pixels), -1))
            labels.append(digits)
    if not images:
        raise InputError(f"{folder}: holds no MNIST files (t10k-images-idx3-ubyte.gz, t10k-labels-idx1-ubyte.gz)")
    scaled = np.concatenate(images).astype(np.float32)
    scaled /= 255
    what = f"{len(scaled):,} digits" + (" (the test set)" if len(images) == 1 and len(scaled) == 10_000 else "")
    return scaled, np.concatenate(labels).astype(np.int64), what


def _find(folder: Path, name: str) -> Path | None:
    return next((path for path in (folder / f"{name}.gz", folder / name) if path.is_file()), None)


def _read_idx(path: Path) -> NDArray[np.uint8]:
    """Bytes of an IDX file in the shape that its header gives."""
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError) as error:
        raise InputError(f"{path}: can't be read ({error})") from error
    if len(content) < 8 or content[:3] != b"\0\0\x08":
        raise InputError(f"{path}: not an IDX file of bytes")
    n_dimensions = content[3]
    shape = np.frombuffer(content, ">u4", n_dimensions, 4).astype(np.int64)
    values = np.frombuffer(content, np.uint8, offset=4 + 4 * n_dimensions)
    if len(values) != int(np.prod(shape)):
        raise InputError(f"{path}: {len(values):,} bytes of data for the shape {'x'.join(map(str, shape))}")
    return values.reshape(shape)


def straighten(images: FloatArray) -> FloatArray:
    """Undo the slant of digits: a shear that makes the moment of inertia between rows and columns vanish.

    Parameters
    ----------
    images
        Shape (digits, 784).

    Returns
    -------
    ndarray
        Same shape, float32, each centred.
    """
    from scipy.ndimage import affine_transform

    square = images.reshape(-1, SIDE, SIDE)
    rows, columns = np.mgrid[:SIDE, :SIDE].astype(np.float32)
    straight = np.empty_like(square)
    middle = np.array([(SIDE - 1) / 2] * 2)
    for i, image in enumerate(square):
        mass = max(float(image.sum()), 1e-6)
        row, column = float((rows * image).sum()) / mass, float((columns * image).sum()) / mass
        variance = float(((rows - row) ** 2 * image).sum()) / mass
        slant = float(((rows - row) * (columns - column) * image).sum()) / mass / max(variance, 1e-6)
        shear = np.array([[1.0, 0.0], [slant, 1.0]])
        straight[i] = affine_transform(image, shear, np.array([row, column]) - shear @ middle, order=1)
    return straight.reshape(len(images), -1)


def orientation_features(images: FloatArray) -> FloatArray:
    """Where strokes run in which direction: histograms of gradient orientations (Dalal & Triggs 2005), smoothed.

    A pen that writes a little higher, or bolder, changes every pixel of a stroke's edge and few of these values.

    Parameters
    ----------
    images
        Shape (digits, 784).

    Returns
    -------
    ndarray
        Shape (digits, 8 directions x 9 x 9 places), float32, each row of length 1.
    """
    from scipy.ndimage import gaussian_filter

    blurred = gaussian_filter(images.reshape(-1, SIDE, SIDE), (0, _BLUR, _BLUR))
    along_rows, along_columns = np.gradient(blurred, axis=(1, 2))
    strength = np.hypot(along_rows, along_columns)
    angle = np.arctan2(along_rows, along_columns)
    maps = []
    for direction in 2 * np.pi / _DIRECTIONS * np.arange(_DIRECTIONS):
        towards = strength * np.cos(angle - direction).clip(min=0) ** _SHARPNESS
        smooth = gaussian_filter(towards, (0, _REACH, _REACH))
        maps.append(smooth[:, _EVERY - 1 :: _EVERY, _EVERY - 1 :: _EVERY].reshape(len(images), -1))
    features = np.concatenate(maps, axis=1)
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    return (features / np.maximum(lengths, 1e-12)).astype(np.float32)


def digit_similarity(images: FloatArray, settings: Settings, rng: np.random.Generator) -> Similarity:
    """Spectral clustering of straightened digits by their orientation features, into ten."""
    from cytomoe.benchmarks.similarities import principal_components, spectral_similarity

    features = orientation_features(straighten(images))
    points = principal_components(features, _COMPONENTS, int(rng.integers(2**31)))
    return spectral_similarity(points, clusters=DIGITS, neighbours=_NEIGHBOURS, rng=rng)


def most_frequent_digits(clusters: NDArray[np.int64], labels: NDArray[np.int64], n_clusters: int) -> NDArray[np.int64]:
    """Most frequent digit of each cluster from 0, shape (clusters,); 0 for one without digits."""
    counts = np.zeros((n_clusters, DIGITS), dtype=np.int64)
    np.add.at(counts, (clusters, labels), 1)
    return counts.argmax(axis=1)


class Judge:
    """Says from outside which digit an image shows: five neighbours among the real digits, by their labels."""

    def __init__(self, images: FloatArray, labels: NDArray[np.int64]) -> None:
        from sklearn.neighbors import KNeighborsClassifier

        self.neighbours = KNeighborsClassifier(5, algorithm="brute").fit(self._features(images), labels)

    @staticmethod
    def _features(images: FloatArray) -> FloatArray:
        return orientation_features(straighten(images))

    def digits(self, images: FloatArray) -> NDArray[np.int64]:
        """Digit of each image, shape (n,)."""
        return np.asarray(self.neighbours.predict(self._features(images)), dtype=np.int64)
