"""The readable twin of the released nets: architectures as data, modules, names and the generator of Caffe files.

Data flows from `architectures.py` (which nets there are) to `prototxt.py` (their Caffe files), `cpm.py` (their modules)
and `names.py` (one's weights as the other's); `interface.py` finds input and belief maps in any pose net. Only modules
and weights need torch, so they are imported on first use.
"""

from typing import TYPE_CHECKING, Any

from cpm_port.models.architectures import ARCHITECTURES, Architecture, Widths, architecture
from cpm_port.models.prototxt import SolverSettings, TrainingData, deploy_text, solver_text, train_text, write_files

if TYPE_CHECKING:
    from cpm_port.models.cpm import CPM, VGGCPM, ResidualCPM, build
    from cpm_port.models.names import caffe_names, from_caffe, to_caffe

__all__ = [
    "ARCHITECTURES",
    "CPM",
    "VGGCPM",
    "Architecture",
    "ResidualCPM",
    "SolverSettings",
    "TrainingData",
    "Widths",
    "architecture",
    "build",
    "caffe_names",
    "deploy_text",
    "from_caffe",
    "solver_text",
    "to_caffe",
    "train_text",
    "write_files",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'cpm_port.models' has no attribute {name!r}")
    from cpm_port.models import cpm, names

    return getattr(cpm if name in cpm.__all__ else names, name)


def __dir__() -> list[str]:
    """Name what is imported on first use too, so that `help` and completion show it."""
    return sorted({*globals(), *__all__})
