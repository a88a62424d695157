"""The readable twin of the released nets: architectures as data, modules, names and the generator of Caffe files."""

from cpm_port.models.architectures import ARCHITECTURES, Architecture, Widths, architecture
from cpm_port.models.cpm import CPM, VGGCPM, build
from cpm_port.models.names import caffe_names, from_caffe, to_caffe
from cpm_port.models.prototxt import SolverSettings, TrainingData, deploy_text, solver_text, train_text, write_files

__all__ = [
    "ARCHITECTURES",
    "CPM",
    "VGGCPM",
    "Architecture",
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
