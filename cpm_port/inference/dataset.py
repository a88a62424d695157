"""A model over a data set at the release's pyramid: samples and a net in, one prediction per sample out.

Where in the flow: the release's benchmark loop. Each data set has its own rule for center and scale
(`cpm_port.imaging.pyramid`); every person gets the seven scales of the benchmark.

Sharding: under `torchrun`, process r of n takes every n-th of the people that are still missing (gloo on CPU, nccl on
GPUs, one GPU per process). A person's prediction does not depend on which process makes it, nor on who else is in its
share (on a CPU everybody goes through the net alone; on a GPU four people do, and who they are can move the last bits
of a score), so any number of processes gives the same file. Progress is kept in a
`journal`; process 0 gathers at the end. Images are read, and pyramids made, while the net runs (`stream.py`).
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path

import numpy as np

from cpm_port.annotations.images import check_images, present
from cpm_port.annotations.samples import Sample
from cpm_port.annotations.scored import find_images, find_labels, read_scored
from cpm_port.compute.devices import World, joined_world, wait_for_all
from cpm_port.errors import CpmPortError, DataError
from cpm_port.evaluation.protocols import Protocol
from cpm_port.evaluation.run import Subject
from cpm_port.evaluation.truth import Truth
from cpm_port.files.digest import file_sha256
from cpm_port.imaging.reading import read_image
from cpm_port.inference.interface import BeliefNet, read_interface
from cpm_port.inference.journal import Entry, Journal, open_journal, read_entries
from cpm_port.inference.model import Engine, ready_net
from cpm_port.inference.stream import PersonToFind, predict_stream
from cpm_port.inference.whereabouts import search_of
from cpm_port.parts import FLIC9, Convention, Joints, PartOrder
from cpm_port.predictions.files import require_writable, write_predictions
from cpm_port.predictions.values import Predictions
from cpm_port.version import __version__
from cpm_port.zoo import Choice, resolve

__all__ = ["predict_dataset", "predict_samples"]

_PATIENCE = timedelta(days=2)  # how long a process waits for the slowest one


def predict_dataset(
    protocol: Protocol,
    root: Path,
    save: Path,
    *,
    choice: Choice | None = None,
    engine: Engine | None = None,
    labels: Path | None = None,
    limit: int | None = None,
    only_present: bool = False,
) -> Subject | None:
    """Run a model over the data set that a protocol scores, and write its predictions.

    Parameters
    ----------
    protocol : Protocol
        Its data set, and whose left and right the labels mean.
    root : Path
        The data set's folder: labels, and `images/`.
    save : Path
        The prediction file, of a kind that its name says (`cpm_port.predictions.files.write_predictions`); beside it
        `<save>.journal` keeps the predictions while they are made.
    choice : Choice, optional
        The model (`cpm_port.zoo.resolve`); by default the default model.
    engine : Engine, optional
        How the net runs; under `torchrun`, "cuda" is one GPU per process.
    labels : Path, optional
        Instead of the folder's own label file.
    limit : int, optional
        The first so many people only.
    only_present : bool
        Leave out people whose images are not there, instead of refusing the data set; `Subject.absent` counts them.

    Returns
    -------
    Subject or None
        What `cpm_port.evaluation.run.evaluate` scores; None in the processes that only help.

    Raises
    ------
    UsageError
        `save` ends otherwise; or as of `ready_net` and `joined_world`.
    MissingFileError, DataError
        As of `find_labels`, `read_scored` and `predict_samples`.
    """
    choice, engine, centric = choice or resolve(), engine or Engine(), protocol.convention.centric
    labels = labels or find_labels(protocol.dataset, root, centric)
    samples = read_scored(protocol.dataset, labels, images=find_images(root), centric=centric, absent_too=only_present)[
        :limit
    ]
    everybody = len(samples)
    if only_present:
        samples = present(samples)
    require_writable(save)
    with joined_world(engine.device, _PATIENCE) as world:
        model = ready_net(choice, replace(engine, device=str(world.device)))
        identity = {
            "version": __version__,
            "dataset": protocol.dataset,
            "net": model.record.net.sha256,
            "weights": model.record.weights.sha256,
            "labels": file_sha256(labels),
            "precision": engine.precision,
            **({"flip": "true"} if engine.flip else {}),
        }
        journal = save.with_name(save.name + ".journal")
        predictions = predict_samples(model.net, samples, journal, identity, world, model.sigma, choice.part_order)
    if predictions is None:
        return None
    write_predictions(save, predictions)
    hashes = {"truth": identity["labels"], "weights": identity["weights"]}
    absent = everybody - len(samples)
    whole = limit is None and not absent
    return Subject(predictions, Truth.of(samples, str(labels)), hashes, whole, absent, engine.flip)


def predict_samples(
    net: BeliefNet,
    samples: Sequence[Sample],
    folder: Path,
    identity: Mapping[str, str],
    world: World,
    sigma: float | None = None,
    part_order: PartOrder | None = None,
) -> Predictions | None:
    """Predict every sample that the run's folder does not hold yet; process 0 returns all of them.

    Parameters
    ----------
    net : BeliefNet
        On the world's device.
    samples : sequence of Sample
        With images; the same in every process.
    folder : Path
        The run's journal.
    identity : dict of str to str
        What the run is of; a folder of another run is refused.
    world : World
        This process.
    sigma : float, optional
        Of the center map, box px; by default 21 in proportion to the box (`read_interface`).
    part_order : PartOrder, optional
        The net's parts; by default told by their number.

    Returns
    -------
    Predictions or None
        In the order of the samples, 0-based, in the net's own order of parts; None in processes other than 0.

    Raises
    ------
    MissingFileError
        Images are missing; the message counts them.
    DataError
        Two samples of one name, an unreadable image, or a sample that does not say where to look.
    """
    _check_names(samples)
    check_images(samples)
    if world.leads:
        open_journal(folder, identity)
    wait_for_all(world)
    if not world.leads:
        open_journal(folder, identity)
    done = read_entries(folder)
    wait_for_all(world)  # nobody appends before everybody has read what is there
    missing = [sample for sample in samples if sample.name not in done]
    share = missing[world.rank :: world.size]
    _predict_share(net, share, folder, world, len(samples) - len(missing), sigma, part_order)
    wait_for_all(world)
    return _gathered(net, samples, folder, part_order) if world.leads else None


def _predict_share(
    net: BeliefNet,
    share: Sequence[Sample],
    folder: Path,
    world: World,
    known: int,
    sigma: float | None,
    part_order: PartOrder | None,
) -> None:
    from tqdm import tqdm

    box_size = read_interface(net).box_size
    title = "predicting" if world.size == 1 else f"predicting, share of process 0 of {world.size}"
    people = (
        PersonToFind(
            f"{sample.dataset} {sample.name}",
            partial(read_image, sample.require_image()),
            partial(search_of, sample, box_size=box_size),
        )
        for sample in share
    )
    if world.leads and known:
        print(f"{folder}: goes on where a run stopped ({known} known)", file=sys.stderr)
    with (
        Journal(folder, world.rank) as journal,
        tqdm(
            total=len(share),
            desc=title,
            unit="person",
            disable=None if world.leads else True,
            file=sys.stderr,
        ) as bar,
        closing(predict_stream(net, people, part_order=part_order, sigma=sigma)) as outcomes,
    ):
        for sample, outcome in zip(share, outcomes, strict=True):
            if isinstance(outcome.error, CpmPortError):
                raise DataError(f"{outcome.name}: {outcome.error}") from outcome.error
            if outcome.error is not None:
                raise outcome.error
            assert outcome.prediction is not None
            journal.append(sample.name, Entry(outcome.prediction.joints_image, outcome.prediction.scores))
            bar.update()


def _check_names(samples: Sequence[Sample]) -> None:
    names = [sample.name for sample in samples]
    if len(set(names)) != len(names):
        raise DataError(f"two samples are called {next(name for name in names if names.count(name) > 1)!r}")


def _gathered(net: BeliefNet, samples: Sequence[Sample], folder: Path, order: PartOrder | None) -> Predictions:
    entries = read_entries(folder)
    order = read_interface(net, order).part_order
    convention = Convention(order, 0, "observer" if order == FLIC9 else "person")
    return Predictions(
        Joints(np.stack([entries[sample.name].joints for sample in samples]), convention),
        np.stack([entries[sample.name].scores for sample in samples]),
        tuple(sample.name for sample in samples),
        f"predictions of {net.spec.source}",
    )
