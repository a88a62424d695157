"""The package's errors: one root, one leaf per way an input can be wrong.

Each leaf also inherits the built-in that a caller would expect, so `except ValueError` keeps working. Messages say
where (file, layer, line and column), what was found and what was expected.
"""

from __future__ import annotations

__all__ = [
    "CaffeFormatError",
    "CpmPortError",
    "DataError",
    "LayerError",
    "MissingDependencyError",
    "MissingFileError",
    "ModelFileError",
    "ShapeError",
    "TrainingError",
    "UnsupportedLayerError",
    "UsageError",
    "WeightsError",
    "WriteError",
]


class CpmPortError(Exception):
    """Root of every error that this package raises on purpose.

    Examples
    --------
    >>> import cpm_port
    >>> try:
    ...     cpm_port.load_net("absent.prototxt")
    ... except cpm_port.CpmPortError as error:
    ...     print(isinstance(error, FileNotFoundError))
    True
    """


class CaffeFormatError(CpmPortError, ValueError):
    """A Caffe file (text, binary or HDF5) is corrupt, cut off, holds impossible values, or is of another kind."""


class LayerError(CpmPortError, ValueError):
    """A layer's fields contradict each other or its inputs."""


class ShapeError(CpmPortError, ValueError):
    """An array does not have the expected shape."""


class UnsupportedLayerError(CpmPortError, NotImplementedError):
    """A net holds layers that the registry lacks; the message lists all of them."""


class WeightsError(CpmPortError, ValueError):
    """Weights do not fit the net: missing layers, wrong shapes or wrong counts."""


class DataError(CpmPortError, ValueError):
    """A data set, annotation or prediction file is not what was expected."""


class ModelFileError(CpmPortError, ValueError):
    """A model file is incomplete, holds values that are not finite, or is another model than stated."""


class MissingFileError(CpmPortError, FileNotFoundError):
    """A file that the user must bring is not where it is expected."""


class MissingDependencyError(CpmPortError, ImportError):
    """An optional dependency is absent; the message names the extra that brings it."""


class TrainingError(CpmPortError, RuntimeError):
    """Training cannot go on: a loss that is not finite, or a snapshot that does not belong to the net."""


class UsageError(CpmPortError, ValueError):
    """Arguments that contradict each other."""


class WriteError(CpmPortError, OSError):
    """A file cannot be written: a full disk, no permission, a folder in its place. What stood there before stays."""
