"""The package's errors: one root, one leaf per way an input can be wrong.

Each leaf also inherits the built-in that a caller would expect, so `except ValueError` keeps working. Messages say
where (file, layer, line and column), what was found and what was expected. A leaf's docstring says what it means,
then what to do; the documentation's page of errors is made of them.
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
    """A Caffe file (text, binary or HDF5) is corrupt, cut off, holds impossible values, or is of another kind.

    The message names the file and the line or byte. Look whether the file was cut off in a download (`ls -l`), or is a
    web page saved under its name; `cpm-port inspect FILE` tells what a file is.
    """


class LayerError(CpmPortError, ValueError):
    """A layer's fields contradict each other or its inputs.

    Mend the field that the message names in the prototxt. Caffe refuses it as well, or would compute nonsense.
    """


class ShapeError(CpmPortError, ValueError):
    """An array does not have the expected shape.

    Give the array the shape after "expected". A net's inputs are listed by `cpm-port inspect`; a net that takes a
    center map wants four channels, not three.
    """


class UnsupportedLayerError(CpmPortError, NotImplementedError):
    """A net holds layers that the registry lacks; the message lists all of them.

    `cpm_port.graph.register` adds a type of your own; the list of layers says what there is. A layer that only training
    needs goes away with the phase: `--phase TEST`.
    """


class WeightsError(CpmPortError, ValueError):
    """Weights do not fit the net: missing layers, wrong shapes or wrong counts.

    Weights and net belong to different models, or the net was changed: the message lists every layer that does not fit.
    Training takes what fits with `--skip-misfits`.
    """


class DataError(CpmPortError, ValueError):
    """A data set, annotation or prediction file is not what was expected.

    The message names the file, the person or row, and what was expected there. `cpm-port records check` looks through
    training data.
    """


class ModelFileError(CpmPortError, ValueError):
    """A model file is incomplete, holds values that are not finite, or is another model than stated.

    Fetch the file again: a cut download is the usual cause. Say which of the official models it is with `--as NAME`
    where its name does not tell.
    """


class MissingFileError(CpmPortError, FileNotFoundError):
    """A file that the user must bring is not where it is expected.

    Put the file where the message says, or give its path. `cpm-port models` shows where official models are expected.
    """


class MissingDependencyError(CpmPortError, ImportError):
    """An optional dependency is absent; the message names the extra that brings it.

    Install the extra that the message names: `pip install 'cpm_port[onnx]'`.
    """


class TrainingError(CpmPortError, RuntimeError):
    """Training cannot go on: a loss that is not finite, or a snapshot that does not belong to the net.

    Look at the samples that the message names (`cpm-port batches --pictures`), lower the rate, or go on from the last
    snapshot, which is whole.
    """


class UsageError(CpmPortError, ValueError):
    """Arguments that contradict each other.

    Change the arguments as the message says; `cpm-port VERB --help` lists them.
    """


class WriteError(CpmPortError, OSError):
    """A file cannot be written: a full disk, no permission, a folder in its place. What stood there before stays.

    Make room, or name another place by `--out`; then run the command again.
    """
