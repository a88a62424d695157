"""Every public reader of files, in one table: what it reads, and sound files of that kind to be spoiled.

Seeds are the goldens, and small files that the package, SciPy, h5py, lmdb, Pillow and OpenCV write.
"""

from __future__ import annotations

import functools
import importlib.util
import io
import json
import random
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import h5py
import numpy as np
from PIL import Image
from scipy.io import savemat

from cpm_port.annotations.flic import read_flic, read_flic_h5, read_flic_raw_test
from cpm_port.annotations.genjson import read_genjson
from cpm_port.annotations.imported import read_imported
from cpm_port.annotations.lsp import read_lsp, read_lspet
from cpm_port.annotations.mpii import read_mpii, read_mpii_detections, read_mpii_hourglass, read_mpii_validation
from cpm_port.caffe import (
    SolverState,
    parse_net,
    read_mean,
    read_net,
    read_solver,
    read_solverstate,
    read_weights,
    write_mean,
    write_solverstate,
    write_weights,
)
from cpm_port.drawn.source import DrawnPeople
from cpm_port.evaluation.reference import load_file
from cpm_port.formats import StoredModel, safetensors
from cpm_port.imaging.reading import read_image
from cpm_port.imaging.video import VideoReader, VideoWriter
from cpm_port.inference.journal import open_journal, read_entries
from cpm_port.parts import CPM14, LSP14, Convention, Joints
from cpm_port.predictions.files import read_predictions, write_predictions
from cpm_port.predictions.results import read_result
from cpm_port.predictions.values import Predictions
from cpm_port.pycaffe.io import load_image
from cpm_port.records.lmdb import check_lmdb, decode_datum, encode_datum, write_lmdb
from cpm_port.records.shards import INDEX, ShardRecords, write_shards
from cpm_port.report.compare import read_arrays
from cpm_port.report.inspect import inspect_file
from cpm_port.training.batches import open_data_layers
from cpm_port.training.progress import read_metrics
from cpm_port.training.snapshot import RunState, read_snapshot, write_snapshot
from cpm_port.zoo import read_own_model
from tests.annotations import labelled_files, test_flic, test_genjson, test_mpii
from tests.predictions import test_results
from tests.records.test_lmdb import record
from tests.support import GOLDEN, ROOT
from tests.zoo.own_model import write_own

LAYERS, SOLVER = GOLDEN / "caffe" / "layers", GOLDEN / "caffe" / "solver"
NET = parse_net(
    'input: "data" input_dim: 1 input_dim: 1 input_dim: 1 input_dim: 3\n'
    'layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip" inner_product_param { num_output: 2 } }'
)
BLOBS = {"ip": (np.arange(6, dtype=np.float32).reshape(2, 3), np.ones(2, np.float32))}
PEOPLE = Predictions(
    Joints(np.arange(2 * 14 * 2.0).reshape(2, 14, 2) + 1, Convention(LSP14, 0, "person")),
    np.ones((2, 14)),
    ("im1", "im2"),
)


@dataclass(frozen=True)
class Reader:
    """One kind of file.

    Attributes
    ----------
    seeds : callable
        Returns sound files' contents.
    read : callable
        Reads the folder or file; it may raise leaves of CpmPortError only.
    file : str
        The spoiled file's name, below the folder of one try.
    root : str
        What `read` gets: the file's own name, or a folder above it.
    beside : callable, optional
        Puts other, sound files into the folder.
    """

    seeds: Callable[[], list[bytes]]
    read: Callable[[Path], object]
    file: str
    root: str = ""
    beside: Callable[[Path], object] | None = None

    def target(self, folder: Path) -> Path:
        return folder / (self.root or self.file)


def goldens(pattern: str, most: int = 12, largest: int = 30_000) -> Callable[[], list[bytes]]:
    def read() -> list[bytes]:
        found = [
            path
            for path in sorted(GOLDEN.rglob(pattern))
            if path.stat().st_size <= largest and "faults" not in path.parts
        ]
        found = [path for path in found if ".solver." not in path.name or ".solver." in pattern]
        chosen = random.Random(0).sample(found, min(most, len(found)))
        return [path.read_bytes() for path in chosen]

    return read


def made(name: str, *writers: Callable[[Path], object]) -> Callable[[], list[bytes]]:
    """Return what writers write to a file of that name."""

    def write() -> list[bytes]:
        contents = []
        for writer in writers:
            with TemporaryDirectory() as folder:
                writer(Path(folder))
                contents.append((Path(folder) / name).read_bytes())
        return contents

    return write


def matlab(**variables: Any) -> Callable[[], list[bytes]]:
    def write() -> list[bytes]:
        contents = []
        for compressed in (False, False, True):
            buffer = io.BytesIO()
            savemat(buffer, variables, do_compression=compressed)
            contents.append(buffer.getvalue())
        return contents

    return write


def hdf5(fill: Callable[[Any], object]) -> Callable[[], list[bytes]]:
    def write(folder: Path) -> None:
        with h5py.File(folder / "a.h5", "w") as file:
            fill(file)

    return made("a.h5", write)


def fill_hourglass(file: Any) -> None:
    file["part"], file["visible"] = np.full((2, 16, 2), 50.0), np.ones((2, 16))
    file["center"], file["scale"] = np.full((2, 2), 101.0), np.full(2, 2.5)
    file["normalize"], file["index"], file["person"] = np.full(2, 30.0), np.array([6.0, 7]), np.array([0.0, 1])
    file["imgname"] = np.array([b"1.jpg", b"22.jpg"])


def fill_flic(file: Any) -> None:
    file["part"], file["imgname"] = np.full((2, 11, 2), 50.0), np.array([list(b"1.jpg\0"), list(b"22.jpg")], float)
    file["center"], file["scale"], file["torsobox"] = np.ones((2, 2)), np.ones(2), np.ones((2, 4))


def fill_predictions(file: Any) -> None:
    file["preds"] = np.ones((3, 16, 2))


def both(*sources: Callable[[], list[bytes]]) -> Callable[[], list[bytes]]:
    return lambda: [content for source in sources for content in source()]


def pictures() -> list[bytes]:
    rgb = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    found = []
    for mode, kinds in (
        ("RGB", ("JPEG", "PNG", "BMP", "TIFF", "WEBP", "PPM")),
        ("P", ("PNG", "GIF")),
        ("LA", ("PNG",)),
    ):
        for kind in kinds:
            buffer = io.BytesIO()
            Image.fromarray(rgb).convert(mode).save(buffer, kind)
            found.append(buffer.getvalue())
    exif = Image.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, "JPEG", exif=exif, progressive=True)
    return [*found, buffer.getvalue()]


def videos() -> list[bytes]:
    def write(name: str) -> Callable[[Path], None]:
        def film(folder: Path) -> None:
            with VideoWriter(folder / name, 25.0, (32, 32)) as writer:
                for level in range(3):
                    writer.write(np.full((32, 32, 3), 80 * level, np.uint8))

        return film

    return made("a.mp4", write("a.mp4"))() + made("a.avi", write("a.avi"))()


def read_video(path: Path) -> int:
    with VideoReader(path) as reader:
        return sum(1 for _, _ in zip(reader, range(10), strict=False))


def snapshot(folder: Path) -> None:
    write_snapshot(
        folder / "s", iteration=3, current_step=1, blobs=BLOBS, net=NET, history=[BLOBS["ip"][0]],
        run=RunState("sgd", 1, None, (0.5,), 0.5, {}),
    )  # fmt: skip


def journal(folder: Path) -> None:
    open_journal(folder / "j", {"net": "a"})
    line = json.dumps({"name": "a", "joints": [[1.0, 2.0]] * 14, "scores": [1.0] * 14})
    (folder / "j" / "0.jsonl").write_text(line + "\n" + line.replace('"a"', '"b"') + "\n")


def read_journal(folder: Path) -> object:
    return open_journal(folder / "j", {"net": "a"}), read_entries(folder / "j")


def result(folder: Path) -> None:
    (folder / "a.json").write_text(test_results.IMAGE.text())


def video_result(folder: Path) -> None:
    test_results.write_video(folder / "a.json", test_results.video(2))


def genjson(folder: Path) -> None:
    (folder / "a.json").write_text(json.dumps({"root": [test_genjson.record(k) for k in range(3)]}))


def own_model(folder: Path) -> None:
    write_own(folder / "m")


def labelled(text: Callable[[], str]) -> Callable[[], list[bytes]]:
    return lambda: [text().encode()]


def openpose(folder: Path) -> None:
    write_predictions(folder / "op", PEOPLE)


def records(folder: Path) -> None:
    write_lmdb(folder / "db", (record(number, 3, width=64) for number in range(3)))


def many_records(folder: Path) -> None:
    import lmdb

    with lmdb.open(str(folder / "db"), map_size=1 << 22) as environment, environment.begin(write=True) as transaction:
        for number in range(400):
            transaction.put(b"%05d" % number, b"x" * (number % 40))


def shard(folder: Path, remove: str | None = None) -> None:
    """Write two people as a shard with its index; take one of the two files away."""
    samples = []
    for number in range(2):
        sample, image = DrawnPeople(2, 64)[number]
        path = folder / f"{number}.png"
        Image.fromarray(image[:, :, ::-1]).save(path)
        samples.append(replace(sample, image=path, split="train"))
    with TemporaryDirectory() as place:
        write_shards(Path(place) / "out", samples, 2, None)
        (folder / "out").mkdir(exist_ok=True)
        for file in (Path(place) / "out").iterdir():
            if file.name != remove:
                (folder / "out" / file.name).write_bytes(file.read_bytes())


def without_the_shard(folder: Path) -> None:
    shard(folder, remove="shard-000000.tar")


def without_the_index(folder: Path) -> None:
    shard(folder, remove=INDEX)


def all_of_shards(path: Path) -> object:
    store = ShardRecords(path)
    return [store[number] for number in range(min(len(store), 4))]


def metrics(folder: Path) -> None:
    lines = ({"kind": "train", "iteration": number, "loss": 0.5} for number in range(3))
    (folder / "m.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def one_batch(text: str) -> Callable[[Path], object]:
    def read(folder: Path) -> object:
        with closing(
            open_data_layers(parse_net(text.replace("HERE", str(folder)), phase="TRAIN"), phase="TRAIN")
        ) as source:
            return source.next_batch()

    return read


HDF5_LAYER = 'layer { name: "d" type: "HDF5Data" top: "data" hdf5_data_param { source: "HERE/l.txt" batch_size: 2 } }'
DATA_LAYER = 'layer { name: "d" type: "Data" top: "data" data_param { source: "HERE/db" batch_size: 2 backend: LMDB } }'


def hdf5_list(folder: Path) -> None:
    (folder / "l.txt").write_text(f"{folder / 'd.h5'}\n")


def references() -> list[bytes]:
    return [path.read_bytes() for path in sorted((ROOT / "reference_results").glob("[!d]*.json"))[:6]]


def mpii_release() -> dict[str, Any]:
    people = [test_mpii.rect([test_mpii.point(0, (31, 41)), test_mpii.point(9, (51, 61), "1")]), test_mpii.rect(None)]
    return test_mpii.release([people, []], [1, 0])


def validation() -> dict[str, Any]:
    person = test_mpii.rect([test_mpii.point(0, (31, 41))])
    return {
        "annolist": test_mpii.struct([{"annorect": test_mpii.struct([person])}]),
        "RELEASE_img_index": np.array([[3.0]]),
        "RELEASE_person_index": np.array([[1.0]]),
    }


@functools.cache
def flic_examples() -> Any:
    from cpm_port.parts import FLIC9
    from tests.evaluation.support import drawn_people

    return test_flic._examples(drawn_people(FLIC9, 3, 0))


JOINTS = np.random.default_rng(0).uniform(1, 90, (3, 14, 4))
STATES = both(goldens("*.solverstate"), goldens("*.solverstate.h5"))
MODELS = both(goldens("*.caffemodel"), goldens("*.caffemodel.h5"))

READERS: dict[str, Reader] = {
    "net": Reader(goldens("*.prototxt", 30), read_net, "a.prototxt"),
    "inspect net": Reader(goldens("*.prototxt", 30), inspect_file, "a.prototxt"),
    "solver": Reader(goldens("*.solver.prototxt"), read_solver, "a.prototxt"),
    "caffemodel": Reader(goldens("*.caffemodel"), read_weights, "a.caffemodel"),
    "caffemodel.h5": Reader(
        both(goldens("*.caffemodel.h5"), made("a.h5", lambda folder: write_weights(folder / "a.h5", BLOBS, NET))),
        read_weights,
        "a.caffemodel.h5",
    ),
    "inspect model": Reader(MODELS, inspect_file, "a.caffemodel"),
    "solverstate": Reader(goldens("*.solverstate"), read_solverstate, "a.solverstate"),
    "solverstate.h5": Reader(
        both(
            goldens("*.solverstate.h5"),
            made("a.h5", lambda f: write_solverstate(f / "a.h5", SolverState(3, "x", 1, [BLOBS["ip"][0]]))),
        ),
        read_solverstate,
        "a.solverstate.h5",
    ),
    "mean": Reader(
        made("m", lambda f: write_mean(f / "m", np.ones((3, 4, 5), np.float32))), read_mean, "m.binaryproto"
    ),
    "safetensors": Reader(
        made("a.safetensors", lambda f: safetensors.FORMAT.write(f / "a.safetensors", StoredModel(BLOBS, NET))),
        safetensors.read,
        "a.safetensors",
    ),
    "snapshot": Reader(
        made("s_iter_3.solverstate.json", snapshot),
        lambda path: read_snapshot(path.with_suffix("")),
        "s_iter_3.solverstate.json",
        beside=snapshot,
    ),
    "metrics": Reader(made("m.jsonl", metrics), read_metrics, "m.jsonl"),
    "journal": Reader(made("j/0.jsonl", journal), read_journal, "j/0.jsonl", ".", journal),
    "run of a journal": Reader(made("j/run.json", journal), read_journal, "j/run.json", ".", journal),
    "predictions h5": Reader(
        both(made("p.h5", lambda f: write_predictions(f / "p.h5", PEOPLE)), hdf5(fill_predictions)),
        read_predictions,
        "p.h5",
    ),
    "predictions mat": Reader(
        both(
            matlab(prediction_all=JOINTS[:2].transpose(1, 0, 2)),
            matlab(preds=np.ones((2, 16, 2))),
            matlab(pos_pred_src=np.ones((16, 2, 3))),
            matlab(**mpii_release()),
        ),
        read_predictions,
        "p.mat",
    ),
    "predictions json": Reader(
        made("p.json", lambda f: write_predictions(f / "p.json", PEOPLE)),
        lambda path: read_predictions(path, order=LSP14),
        "p.json",
    ),
    "openpose": Reader(
        made("op/im1_keypoints.json", openpose),
        lambda path: read_predictions(path, order=LSP14),
        "op/im1_keypoints.json",
        "op",
    ),
    "openpose cpm14": Reader(
        made("op/im1_keypoints.json", openpose),
        lambda path: read_predictions(path, order=CPM14),
        "op/im1_keypoints.json",
        "op",
    ),
    "result": Reader(made("a.json", result, video_result), read_result, "a.json"),
    "reference": Reader(references, load_file, "a.json"),
    "genjson": Reader(made("a.json", genjson), read_genjson, "a.json"),
    **{
        kind: Reader(
            labelled(text),
            lambda path, tool=tool: read_imported(tool, path, path.parent / "images"),
            Path(name).name,
            beside=lambda folder: labelled_files.write_image(folder / "images"),
        )
        for kind, (tool, name, text) in labelled_files.FILES.items()
    },
    "own model": Reader(made("m/model.json", own_model), read_own_model, "m/model.json", "m", own_model),
    "lsp": Reader(matlab(joints=JOINTS), read_lsp, "joints.mat"),
    "lspet": Reader(matlab(joints=JOINTS.transpose(1, 0, 2)), read_lspet, "joints.mat"),
    "mpii": Reader(matlab(**mpii_release()), read_mpii, "mpii.mat"),
    "mpii validation": Reader(matlab(**validation()), read_mpii_validation, "v.mat"),
    "mpii detections": Reader(
        matlab(pos_gt_src=np.ones((16, 2, 3)), headboxes_src=np.ones((2, 2, 3)), jnt_missing=np.zeros((16, 3))),
        read_mpii_detections,
        "d.mat",
    ),
    "mpii hourglass": Reader(hdf5(fill_hourglass), read_mpii_hourglass, "h.h5"),
    "flic": Reader(lambda: matlab(examples=flic_examples())(), read_flic, "examples.mat"),
    "flic raw test": Reader(matlab(joints=np.full((2, 12, 3), 50.0)), read_flic_raw_test, "raw.mat"),
    "flic h5": Reader(hdf5(fill_flic), read_flic_h5, "f.h5"),
    "lmdb": Reader(
        both(made("db/data.mdb", records), made("db/data.mdb", many_records)),
        lambda path: list(check_lmdb(path)),
        "db/data.mdb",
        "db",
    ),
    "datum": Reader(
        lambda: [encode_datum(record(others=k)) for k in range(3)],
        lambda path: decode_datum(path.read_bytes()),
        "datum",
    ),
    "Data layer": Reader(made("db/data.mdb", records), one_batch(DATA_LAYER), "db/data.mdb", "."),
    "HDF5Data layer": Reader(
        hdf5(lambda file: file.create_dataset("data", data=np.ones((3, 2)))),
        one_batch(HDF5_LAYER),
        "d.h5",
        ".",
        hdf5_list,
    ),
    "arrays": Reader(goldens("*.npz"), read_arrays, "a.npz"),
    "image": Reader(pictures, read_image, "a.png"),
    "image of a script": Reader(pictures, load_image, "a.png"),
    "video": Reader(videos, read_video, "a.mp4"),
}
"""A kind's name -> what reads it."""

SHARDS = {
    "shard": Reader(
        made("out/shard-000000.tar", shard), all_of_shards, "out/shard-000000.tar", "out/index.json", without_the_shard
    ),
    "index of shards": Reader(made("out/index.json", shard), all_of_shards, "out/index.json", "", without_the_index),
}
if importlib.util.find_spec("webdataset"):  # the extra that reads them
    READERS |= SHARDS


@contextmanager
def prepared_folder(reader: Reader) -> Iterator[Path]:
    """Give a folder with the sound files that belong beside the one to be spoiled."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        (folder / reader.file).parent.mkdir(parents=True, exist_ok=True)
        if reader.beside is not None:
            reader.beside(folder)
        yield folder
