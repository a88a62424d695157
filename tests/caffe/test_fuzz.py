"""Spoiled files give a value or one of our errors, never anything else, and soon.

Oracle: the readers' contract. Small files of real Caffe are cut, flipped and mixed by a seeded generator; text also
word by word.
"""

import random
import time
from pathlib import Path

import numpy as np
import pytest

from cpm_port.caffe import (
    format_prototxt,
    infer_shapes,
    param_shapes,
    read_mean,
    read_model,
    read_net,
    read_solver,
    read_solverstate,
    read_weights,
    write_mean,
)
from cpm_port.errors import CpmPortError
from tests.caffe.support import LAYERS, SOLVER

ROUNDS = 60
SECONDS = 3.0  # for one file, on a slow and busy machine; milliseconds on an idle one


def read_all_of_a_model(path: Path) -> None:
    read_model(path).save(path.with_suffix(".copy"))
    for arrays in read_weights(path).values():
        for array in arrays:
            array.tobytes()
    net = read_net(path)
    format_prototxt(net)
    assert [repr(layer.params) for layer in net.layers]


def read_all_of_hdf5(path: Path) -> None:
    for arrays in read_weights(path).values():
        for array in arrays:
            array.tobytes()


def read_all_of_a_net(path: Path) -> None:
    for phase in ("TRAIN", "TEST"):
        net = read_net(path, phase=phase)
        format_prototxt(net)
        shapes = infer_shapes(net)
        for layer in net.layers:
            param_shapes(layer, [shapes[bottom] for bottom in layer.bottoms])


BINARY = [
    (LAYERS / "v1_layers.caffemodel", read_all_of_a_model),
    (LAYERS / "batchnorm_scale.caffemodel", read_all_of_a_model),
    (LAYERS / "legacy_input_dim.caffemodel", read_all_of_a_model),
    (SOLVER / "sgd_step_iter_10.caffemodel", read_all_of_a_model),
    (SOLVER / "adam_fixed_iter_10.solverstate", read_solverstate),
    (SOLVER / "sgd_step_hdf5_iter_10.caffemodel.h5", read_all_of_hdf5),
    (SOLVER / "sgd_step_hdf5_iter_10.solverstate.h5", read_solverstate),
]
TEXT = [
    *(
        (LAYERS / f"{case}.prototxt", read_all_of_a_net)
        for case in ("v1_layers", "conv_shared_params", "reshape_infer", "spp")
    ),
    (SOLVER / "train.prototxt", read_all_of_a_net),
    (SOLVER / "sgd_multistep.solver.prototxt", read_solver),
]
TEXT = [(path, reader) for path, reader in TEXT if path.is_file()]


def spoil_bytes(data: bytes, rng: random.Random) -> bytes:
    """Cut, remove, insert or flip a few bytes; early bytes, where structure lies, more often."""
    out = bytearray(data)
    position = rng.randrange(min(len(out), 400) if rng.random() < 0.7 else len(out))
    match rng.randrange(5):
        case 0:
            del out[position:]
        case 1:
            del out[position : position + rng.randrange(1, 40)]
        case 2:
            out[position:position] = rng.randbytes(rng.randrange(1, 20))
        case 3:
            out[position] ^= 1 << rng.randrange(8)
        case _:
            for _ in range(rng.randrange(1, 6)):
                out[rng.randrange(len(out))] = rng.randrange(256)
    return bytes(out)


def spoil_words(text: str, rng: random.Random) -> str:
    """Remove, repeat, swap or replace words, so that the text often stays grammatical."""
    words = text.split()
    position, other = rng.randrange(len(words)), rng.randrange(len(words))
    strange = [
        "-1",
        "0",
        "4294967295",
        "1e30",
        "nan",
        "{",
        "}",
        '"data"',
        "MAX",
        "layer",
        "dim:",
        "axis:",
        "true",
        "7",
        "#",
    ]
    match rng.randrange(4):
        case 0:
            del words[position]
        case 1:
            words.insert(other, words[position])
        case 2:
            words[position], words[other] = words[other], words[position]
        case _:
            words[position] = rng.choice(strange)
    return "\n".join(words)


def check(path: Path, reader) -> bool:
    """Read a spoiled file; tell whether it read."""
    start = time.perf_counter()
    try:
        reader(path)
    except CpmPortError:
        return False
    else:
        return True
    finally:
        assert time.perf_counter() - start < SECONDS


@pytest.mark.parametrize(("path", "reader"), BINARY, ids=[path.name for path, _ in BINARY])
def test_spoiled_binary_files_give_a_value_or_our_error(path, reader, tmp_path):
    rng = random.Random(path.name)
    spoiled = tmp_path / path.name
    outcomes = []
    for _ in range(ROUNDS):
        spoiled.write_bytes(spoil_bytes(path.read_bytes(), rng))
        outcomes.append(check(spoiled, reader))
    assert not all(outcomes), "some were refused"


@pytest.mark.parametrize(("path", "reader"), TEXT, ids=[path.name for path, _ in TEXT])
def test_spoiled_texts_give_a_value_or_our_error(path, reader, tmp_path):
    rng = random.Random(path.name)
    spoiled = tmp_path / path.name
    outcomes = []
    for index in range(ROUNDS):
        if index % 4:
            spoiled.write_text(spoil_words(path.read_text(), rng))
        else:
            spoiled.write_bytes(spoil_bytes(path.read_bytes(), rng))
        outcomes.append(check(spoiled, reader))
    assert not all(outcomes), "some were refused"


def test_spoiled_means_give_a_value_or_our_error(tmp_path):
    rng = random.Random(0)
    path = tmp_path / "mean.binaryproto"
    write_mean(path, np.ones((3, 4, 5), np.float32))
    whole = path.read_bytes()
    for _ in range(ROUNDS):
        path.write_bytes(spoil_bytes(whole, rng))
        check(path, read_mean)


@pytest.mark.parametrize("seed", range(20))
def test_noise_is_refused_or_read_by_every_reader(seed, tmp_path):
    path = tmp_path / "noise"
    path.write_bytes(random.Random(seed).randbytes(200))
    for reader in (read_all_of_a_model, read_solverstate, read_mean, read_all_of_a_net, read_solver):
        check(path, reader)
