"""Sources of the net's inputs: Input, and the data layers. Shapes that lie in a source's files, the caller gives."""

from __future__ import annotations

from cpm_port.caffe.layer_types.table import LayerType, Shape, declare, fail
from cpm_port.caffe.spec import LayerSpec

__all__: list[str] = []


def _input(layer: LayerSpec, bottoms: list[Shape]) -> list[Shape]:
    shapes = [tuple(shape.dim) for shape in layer.params.input_param.shape]
    if not shapes:
        raise fail(layer, "declares no shape; give it in input_shapes")
    return shapes * len(layer.tops) if len(shapes) == 1 else shapes


def _dummy_data(layer: LayerSpec, bottoms: list[Shape]) -> list[Shape]:
    param, count = layer.params.dummy_data_param, len(layer.tops)
    shapes: list[Shape] = [tuple(shape.dim) for shape in param.shape]
    if not shapes:
        columns = (param.num, param.channels, param.height, param.width)
        shapes = [tuple(dims) for dims in zip(*columns, strict=False)]
    if len(shapes) not in (1, count):
        raise fail(layer, f"{len(shapes)} shapes for {count} tops; expected one, or one per top")
    return shapes * count if len(shapes) == 1 else shapes


def _memory_data(layer: LayerSpec, bottoms: list[Shape]) -> list[Shape]:
    param = layer.params.memory_data_param
    return [(param.batch_size, param.channels, param.height, param.width), (param.batch_size,)]


def _cpm_data(layer: LayerSpec, bottoms: list[Shape]) -> list[Shape]:
    """Image with center map, and labels (*Source*: shihenw/caffe@d154e89 src/caffe/layers/cpm_data_layer.cpp)."""
    if not layer.params.has("cpmdata_param"):
        raise fail(layer, "has no cpmdata_param")
    batch, transform = layer.params.cpmdata_param.batch_size, layer.params.transform_param
    height, width, stride = transform.crop_size_y, transform.crop_size_x, transform.stride
    if not transform.put_gaussian or stride < 1:
        raise fail(layer, f"put_gaussian {transform.put_gaussian} and stride {stride}; expected true and at least 1")
    images: Shape = (batch, 4, height, width)
    labels: Shape = (batch, 2 * (transform.num_parts + 1), height // stride, width // stride)
    return [images, labels][: len(layer.tops)]


def _from_source(layer: LayerSpec, bottoms: list[Shape]) -> list[Shape]:
    raise fail(layer, "its shapes lie in its data source; give those of its tops in input_shapes")


declare(
    *(LayerType(name, _from_source, kind="source") for name in ("Data", "HDF5Data", "ImageData", "WindowData")),
    LayerType("CPMData", _cpm_data, kind="source", origin="CPM fork"),
    LayerType("DummyData", _dummy_data, kind="source"),
    LayerType("Input", _input, kind="source"),
    LayerType("MemoryData", _memory_data, kind="source"),
)
