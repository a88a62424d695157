"""The zoo: the published models and our own, each one name for a net, its preprocessing, its scores and its file.

`resolve` turns the user's choice (`--model NAME`, or `--net` and `--weights`) into files. The official weights are not
part of the package: `add` checks and installs a file that the user brings, `download` one that a server still has. No
torch in this room.

- `entries.py`: what is known of each model;
- `recognition.py`: which of them a file is, and whether it is whole;
- `store.py`: the folder of installed models;
- `own.py`: models of the user's own, each a folder;
- `fetch.py`: fetching over HTTP, in pieces where needed;
- `choice.py`: names to files, and the list of all models.
"""

from cpm_port.zoo.choice import Choice, resolve
from cpm_port.zoo.entries import ENTRIES, LICENCE, ModelEntry, ModelScore, model_named, scores
from cpm_port.zoo.fetch import download
from cpm_port.zoo.own import OwnModel, read_own_model, write_own_model
from cpm_port.zoo.recognition import recognise
from cpm_port.zoo.store import Installed, add, find_installed, models_dir

__all__ = [
    "ENTRIES",
    "LICENCE",
    "Choice",
    "Installed",
    "ModelEntry",
    "ModelScore",
    "OwnModel",
    "add",
    "download",
    "find_installed",
    "model_named",
    "models_dir",
    "read_own_model",
    "recognise",
    "resolve",
    "scores",
    "write_own_model",
]
