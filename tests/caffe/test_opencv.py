"""What we write loads in OpenCV 4 and gives real Caffe's outputs; our field numbers are those that OpenCV carries.

Oracles: OpenCV's Caffe importer (versions 4.x have one, 5 does not), and the outputs of real Caffe's runs. `make peers`
builds an environment with it; elsewhere these tests skip.
"""

import contextlib
import functools
from pathlib import Path

import numpy as np
import pytest
from google.protobuf import descriptor_pb2

from cpm_port.caffe import message_class, read_net, read_weights, wire, write_prototxt, write_weights
from cpm_port.errors import CaffeFormatError
from tests.caffe.support import LAYERS

cv2 = pytest.importorskip("cv2", reason="OpenCV is not here")
if not hasattr(cv2.dnn, "readNetFromCaffe"):
    pytest.skip(f"OpenCV {cv2.__version__} has no Caffe importer; version 4.14 has", allow_module_level=True)

RELATIVE = 1e-5  # float32, other summation order

CASES = [
    "batchnorm_global",
    "batchnorm_scale",
    "conv_11x11_pad5",
    "conv_1x1",
    "conv_basic",
    "conv_depthwise",
    "conv_dilation",
    "conv_group",
    "conv_khkw_stride_hw",
    "conv_nobias",
    "conv_pad",
    "conv_relu_inplace",
    "conv_stride",
    "deconv_basic",
    "deconv_stride_pad",
    "ip",
    "legacy_input_dim",
    "prelu",
    "v1_layers",
]


def opencv_forward(folder: Path, source: Path, weights: Path, inputs: dict[str, np.ndarray]) -> np.ndarray:
    """Write a net and its weights ourselves, and let OpenCV run them to the end."""
    net = read_net(source)
    write_prototxt(folder / "net.prototxt", net)
    write_weights(folder / "net.caffemodel", read_weights(weights), net)
    run = cv2.dnn.readNetFromCaffe(str(folder / "net.prototxt"), str(folder / "net.caffemodel"))
    for name, values in inputs.items():
        run.setInput(np.ascontiguousarray(values), name)
    return np.asarray(run.forward())


@pytest.mark.parametrize("case", CASES)
def test_opencv_runs_what_we_write_and_gives_real_caffes_outputs(case, tmp_path):
    with np.load(LAYERS / f"{case}.npz") as golden:
        inputs = {name.removeprefix("in/"): golden[name] for name in golden.files if name.startswith("in/")}
        output = read_net(LAYERS / f"{case}.prototxt").outputs[0]
        expected = golden[f"blob/{output}"]
    found = opencv_forward(tmp_path, LAYERS / f"{case}.prototxt", LAYERS / f"{case}.caffemodel", inputs)
    assert found.size == expected.size
    difference = np.abs(found.reshape(expected.shape) - expected).max()
    assert difference <= RELATIVE * np.abs(expected).max(), f"largest difference {difference}"


def test_opencv_runs_an_architecture_of_the_release(shared, tmp_path):
    nets = shared / "golden" / "caffe" / "nets"
    with np.load(nets / "flic_small.npz") as golden:
        data, expected = golden["data"], golden["Mconv5_stage4"]
    found = opencv_forward(tmp_path, nets / "flic_small_v1.prototxt", nets / "flic_small_v1.caffemodel", {"data": data})
    difference = np.abs(found - expected).max()
    assert difference <= RELATIVE * np.abs(expected).max(), f"largest difference {difference}"


def opencv_schema() -> descriptor_pb2.FileDescriptorProto:
    """Find the serialized schema of Caffe's files that is compiled into OpenCV."""
    (library,) = Path(cv2.__file__).parent.glob("cv2*.so")
    data = library.read_bytes()
    name = b"opencv-caffe.proto"
    position = data.find(b"\x0a" + bytes([len(name)]) + name)
    known = {field.number for field in descriptor_pb2.FileDescriptorProto.DESCRIPTOR.fields}
    end = position
    with contextlib.suppress(CaffeFormatError):  # what follows the message in the library is no protobuf
        for number, _, _, _, stop in wire._Walker(data, "cv2").fields(position, len(data)):
            if number not in known:
                break
            end = stop
    return descriptor_pb2.FileDescriptorProto.FromString(data[position:end])


@functools.cache
def our_schema() -> descriptor_pb2.FileDescriptorProto:
    return descriptor_pb2.FileDescriptorProto.FromString(message_class("NetParameter").DESCRIPTOR.file.serialized_pb)


# Where OpenCV's schema leaves upstream Caffe's: fields of other forks, under numbers of its own, and one of its own.
FOREIGN = {("PoolingParameter", "ceil_mode"), ("DropoutParameter", "scale_train"), ("BatchNormParameter", "scale_bias")}


def test_field_numbers_types_and_packing_are_those_of_opencvs_schema():
    compared = 0
    for theirs in opencv_schema().message_type:
        if theirs.name in {"PermuteParameter", "ROIPoolingParameter"} or theirs.name.startswith(
            ("Normalize", "PriorBox", "Detection", "NonMax", "SaveOutput", "Proposal", "PSROI")
        ):
            continue
        (ours,) = [message for message in our_schema().message_type if message.name == theirs.name]
        fields = {field.name: field for field in ours.field}
        for field in theirs.field:
            foreign = (theirs.name, field.name) in FOREIGN or (theirs.name == "LayerParameter" and field.number > 146)
            if foreign or field.name.startswith("raw_data"):
                continue
            mine = fields[field.name]
            assert (mine.number, mine.type, mine.label) == (field.number, field.type, field.label), (
                theirs.name,
                field.name,
            )
            assert mine.options.packed == field.options.packed, (theirs.name, field.name)
            compared += 1
        for enum in theirs.enum_type:
            (mine,) = [candidate for candidate in ours.enum_type if candidate.name == enum.name]
            assert {(v.name, v.number) for v in mine.value} == {(v.name, v.number) for v in enum.value}
    assert compared > 300
