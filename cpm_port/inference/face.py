"""The Python face: a model that is called with pictures, and gives results. `cpm_port` shows it to the world.

    model = cpm_port.load_model()
    for result in model("photos/"):
        print(result, [person.joints for person in result])

Where in the flow: on top of the room; `cpm-port predict` goes the same way (`finding.py`).
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cpm_port.engine.precision import Precision
from cpm_port.errors import UsageError
from cpm_port.inference.finding import find_results
from cpm_port.inference.looking import Box, Looking, PeopleChoice, Wanted
from cpm_port.inference.model import Engine, ReadyNet, ready_net
from cpm_port.inference.predict import Mode
from cpm_port.inference.results import Result
from cpm_port.inference.sources import pictures
from cpm_port.inference.whereabouts import Whereabouts
from cpm_port.zoo import LICENCE, Choice, ModelEntry, ModelScore, resolve, scores

if TYPE_CHECKING:
    from cpm_port.evaluation.run import Evaluation

__all__ = ["Model", "evaluate_protocol", "load_model", "predict"]

OWN_LICENCE = "Apache-2.0, as the package; its training photographs are for research (MODEL_CARD.md)"


@dataclass(frozen=True, eq=False)
class Model(ReadyNet):
    """A model that finds people's joints; `load_model` makes one.

    Attributes
    ----------
    name : str
        Its name in the zoo; of files of your own, the weights' file.
    parts : tuple of str
        The joints' names, in the order of results.
    box_size : int
        Side of the net's input, px.
    trained_on : str
        In words.
    scores : tuple of ModelScore
        What it scores, each with its protocol and source.
    licence : str
    net : BeliefNet
        The net itself: an `nn.Module` that returns blobs by name.

    Examples
    --------
    >>> import cpm_port
    >>> model = cpm_port.load_model()
    >>> model
    <model default: 14 parts, box 176 px, on cpu>
    >>> _, picture = cpm_port.DrawnPeople(seed=2, difficulty=0)[0]
    >>> [len(result) for result in model([picture, picture], boxes=[(0, 0, 256, 256)])]
    [1, 1]
    """

    choice: Choice
    engine: Engine

    @property
    def entry(self) -> ModelEntry | None:
        """What the zoo knows of it."""
        return self.choice.entry

    @property
    def name(self) -> str:
        """Its name in the zoo; of files of your own, the weights' file."""
        return self.record.weights.file if self.entry is None else self.entry.name

    @property
    def parts(self) -> tuple[str, ...]:
        """The joints' names, in the order of results."""
        return self.interface.part_order.parts

    @property
    def box_size(self) -> int:
        """Side of the net's input, px."""
        return self.interface.box_size

    @property
    def trained_on(self) -> str:
        """What it was trained on, in words."""
        return "not known" if self.entry is None else self.entry.title

    @property
    def scores(self) -> tuple[ModelScore, ...]:
        """What it scores, each with its protocol and source; nothing for files of your own."""
        return () if self.entry is None else scores(self.entry)

    @property
    def licence(self) -> str:
        """Under what licence the weights are."""
        if self.entry is None or self.entry.own_scores is not None:
            return "not known"
        return OWN_LICENCE if self.entry.embedded else LICENCE

    def __call__(self, source: Any, **options: Any) -> list[Result]:
        """Find the people of a source's pictures; as `stream`, all at once.

        A long video is better streamed: every result holds its picture.
        """
        return list(self.stream(source, **options))

    def stream(
        self,
        source: Any,
        *,
        people: PeopleChoice | None = None,
        boxes: Sequence[Box] | None = None,
        multipliers: Sequence[float] | None = None,
        mode: Mode = "benchmark",
        rgb: bool = False,
    ) -> Generator[Result, None, None]:
        """Find the people of pictures, one picture after another, in bounded memory.

        Parameters
        ----------
        source : path, int, PIL.Image, ndarray, or iterable of these
            A path: an image, a video, a folder of them, or a pattern (`shots/*.jpg`). A number: a camera. An array:
            (H, W, 3) uint8, BGR, or (H, W) grey.
        people : {"one", "all"} or PersonFinder, optional
            One person; everybody; or whomever a finder of your own finds (`cpm_port.inference.people`), a `Notebook`,
            for instance. By default everybody with the default model, which was made for that, and one person with
            others.
        boxes : sequence of (x, y, width, height), optional
            Where the people are, image px, instead of looking for them; of every picture alike.
        multipliers : sequence of float, optional
            The scales to look at, relative to a person's; by default 0.7 to 1.3.
        mode : {"benchmark", "demo"}
            Sum the scales' maps, or average them over a wider range.
        rgb : bool
            Whether arrays are RGB rather than BGR.

        Raises
        ------
        CpmPortError
            What is wrong with a picture, or with what is asked for.
        """
        where = Whereabouts(multipliers=None if multipliers is None else tuple(multipliers), mode=mode)
        wanted = Wanted(where, people, boxes=None if boxes is None else tuple(boxes))
        return self._results(pictures(source, rgb=rgb), wanted.with_model(self))

    def _results(self, shown: Iterable[Any], looking: Looking) -> Generator[Result, None, None]:
        with closing(find_results(shown, self, looking)) as answers:
            for answer in answers:
                if answer.error is not None:
                    raise answer.error
                assert answer.result is not None
                yield answer.result

    def __repr__(self) -> str:
        return f"<model {self.name}: {len(self.parts)} parts, box {self.box_size} px, on {self.engine.device}>"


def load_model(
    name: str | None = None,
    *,
    net: str | Path | None = None,
    weights: str | Path | None = None,
    device: str = "cpu",
    precision: Precision = "float32",
    engine: Engine | None = None,
) -> Model:
    """Load a model, ready to be called with pictures.

    Parameters
    ----------
    name : str, optional
        One of `cpm-port models`, or a folder that `cpm-port finetune` wrote; without it and the next two, the default
        model.
    net, weights : path, optional
        A deploy prototxt of your own, and its .caffemodel, .h5 or .safetensors.
    device : str
        cpu, cuda, cuda:1, ...
    precision : {"float32", "tf32", "bf16"}
        The net's arithmetic.
    engine : Engine, optional
        How the net runs, in full; instead of device and precision.

    Raises
    ------
    UsageError
        An unknown name, one file without the other, a net that is no pose net, a device that is not there.
    MissingFileError
        The model's weights are not there; the message says what to do.
    CaffeFormatError, WeightsError, UnsupportedLayerError, ModelFileError
        The files are not what they should be.

    Examples
    --------
    >>> import cpm_port
    >>> model = cpm_port.load_model()
    >>> model.name, model.box_size, model.parts[:3]
    ('default', 176, ('head_top', 'neck', 'right_shoulder'))
    """
    choice, engine = resolve(name, net, weights), engine or Engine(device, precision)
    ready = ready_net(choice, engine)
    return Model(ready.net, ready.interface, ready.sigma, ready.record, ready.searches, choice, engine)


def predict(
    image: Any,
    *,
    model: str | Model | None = None,
    people: PeopleChoice | None = None,
    boxes: Sequence[Box] | None = None,
    rgb: bool = False,
) -> Result:
    """Find the people of one picture; the model is loaded once and kept.

    Parameters
    ----------
    image : path, PIL.Image or ndarray
        One picture; for several, `load_model(...).stream`.
    model : str or Model, optional
        By default the default model.
    people, boxes, rgb
        As of `Model.stream`.

    Raises
    ------
    UsageError
        Not one picture; or as of `load_model` and `Model.stream`.

    Examples
    --------
    >>> import cpm_port
    >>> _, picture = cpm_port.DrawnPeople(seed=2, difficulty=0)[0]
    >>> result = cpm_port.predict(picture, boxes=[(0, 0, 256, 256)])
    >>> result[0].joints.shape
    (14, 2)
    """
    ready = model if isinstance(model, Model) else _kept(model)
    with closing(ready.stream(image, people=people, boxes=boxes, rgb=rgb)) as found:
        result = next(found, None)
        if result is None or result.time is not None or next(found, None) is not None:
            raise UsageError(f"{image!r}: not one picture; for videos and several, load_model(...).stream(...)")
    return result


@lru_cache(maxsize=1)
def _kept(name: str | None) -> Model:
    return load_model(name)


def evaluate_protocol(
    protocol: str,
    *,
    predictions: str | Path | None = None,
    ground_truth: str | Path | None = None,
    model: str | Model | None = None,
    data: str | Path | None = None,
    save: str | Path | None = None,
    threshold: float | None = None,
    limit: int | None = None,
) -> Evaluation:
    """Score a prediction file, or a model over a data set, under a named protocol.

    Parameters
    ----------
    protocol : str
        Its name; an unknown one lists them all.
    predictions, ground_truth : path, optional
        A prediction file and the labels it is scored against; with a model, other labels than the data set's own.
    model : str or Model, optional
        A model to run; by default the default model, where `data` is given.
    data : path, optional
        The data set's folder.
    save : path, optional
        Where a model's predictions go; by default `PROTOCOL.h5`.
    threshold : float, optional
        Instead of the protocol's own.
    limit : int, optional
        The first so many people only.

    Raises
    ------
    UsageError
        Neither two files nor a data set, or both.
    MissingFileError, DataError
        As of the readers.

    Examples
    --------
    >>> import cpm_port
    >>> cpm_port.evaluate("lsp-pc")
    Traceback (most recent call last):
    ...
    cpm_port.errors.UsageError: give predictions and ground_truth, or a model's data
    """
    from cpm_port.evaluation.protocols import protocol_named
    from cpm_port.evaluation.run import evaluate, read_subject
    from cpm_port.inference.dataset import predict_dataset

    known = protocol_named(protocol)
    if data is not None and predictions is None:
        choice, engine = (model.choice, model.engine) if isinstance(model, Model) else (resolve(model), None)
        subject = predict_dataset(
            known, Path(data), Path(save or f"{protocol}.h5"), choice=choice, engine=engine,
            labels=None if ground_truth is None else Path(ground_truth), limit=limit,
        )  # fmt: skip
        if subject is None:
            raise UsageError("under torchrun only process 0 scores: run `cpm-port evaluate`")
    elif predictions is not None and ground_truth is not None and data is None and model is None:
        subject = read_subject(known, Path(predictions), Path(ground_truth), limit=limit)
    else:
        raise UsageError("give predictions and ground_truth, or a model's data")
    return evaluate(known, subject, threshold=threshold)
