"""Convolutional Pose Machines from Caffe to PyTorch: find people's joints, read the files, test, score and retrain.

    import cpm_port

    result = cpm_port.predict("photo.jpg")      # everybody in the picture, by the model that ships with the package
    for person in result:
        print(person, dict(zip(person.part_order.parts, person.joints)))
    result.save("results")                      # JSON, and the limbs over the picture

    model = cpm_port.load_model()               # or another: load_model("mpii-lsp-6s")
    for result in model.stream("dance.mp4"):    # a folder, a video, a camera: result by result
        print(result)

Joints are (x, y) in px of the picture, from 0 at the middle of its first pixel; scores go from 0 to 1. Pictures as
arrays are BGR, as OpenCV reads them (`rgb=True` for others).

Names to begin with, each imported on first use so that the package stays light; `help(cpm_port.predict)`, and so on,
shows one with an example:

- `predict(image)`: the people of one picture; `load_model(...)`: a `Model`, called with pictures, folders, videos;
- `Result` and `PersonResult`: what they give, as values, pictures, files and other people's formats;
- `evaluate(protocol, ...)`: a score under a named protocol;
- `load_net(prototxt, weights)`: any Caffe net as an `nn.Module`, a `CaffeNet`;
- `CPM`: the paper's net, written to be read;
- `DrawnPeople`: drawn pictures with known joints, for trying things out;
- `CpmPortError`: the root of every error that is raised on purpose.

Of the package's contents, listed below, users come to `caffe` (Caffe's files), `graph` (nets out of them),
`inference` (pictures to joints), `evaluation` (joints to scores), `data` and `training`, `zoo` (models by name),
`pycaffe` (for code that calls pycaffe), and `errors`. The shell's `cpm-port --help` lists the commands.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cpm_port.errors import CpmPortError
from cpm_port.version import __version__

if TYPE_CHECKING:
    from cpm_port.drawn.source import DrawnPeople
    from cpm_port.graph import CaffeNet, load_net
    from cpm_port.inference.face import Model, load_model, predict
    from cpm_port.inference.face import evaluate_protocol as evaluate
    from cpm_port.inference.results import PersonResult, Result
    from cpm_port.models import CPM

__all__ = [
    "CPM",
    "CaffeNet",
    "CpmPortError",
    "DrawnPeople",
    "Model",
    "PersonResult",
    "Result",
    "__version__",
    "evaluate",
    "load_model",
    "load_net",
    "predict",
]


def __getattr__(name: str) -> Any:
    if name in ("CaffeNet", "load_net"):
        from cpm_port import graph

        return getattr(graph, name)
    if name in ("Model", "evaluate", "load_model", "predict"):
        from cpm_port.inference import face

        return face.evaluate_protocol if name == "evaluate" else getattr(face, name)
    if name in ("PersonResult", "Result"):
        from cpm_port.inference import results

        return getattr(results, name)
    if name == "CPM":
        from cpm_port.models import CPM

        return CPM
    if name == "DrawnPeople":
        from cpm_port.drawn.source import DrawnPeople

        return DrawnPeople
    raise AttributeError(f"module 'cpm_port' has no attribute {name!r}")


def __dir__() -> list[str]:
    """Name what is imported on first use too, so that `help` and completion show it.

    The two nets are left out: of each, `help` of the package would show a thousand lines that are torch's own.
    """
    return sorted({*globals(), *__all__} - {"CPM", "CaffeNet"})
