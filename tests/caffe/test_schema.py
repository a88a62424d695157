"""The message classes carry Caffe's field numbers in each dialect. Oracle: values typed from both Caffes' schemas."""

import pytest
from google.protobuf import descriptor_pool

from cpm_port.caffe.schema import DIALECTS, UNKNOWN_TEXT, dialect_of, field_names, message_class
from cpm_port.errors import UsageError


@pytest.mark.parametrize(
    ("dialect", "message", "field", "number"),
    [
        ("bvlc", "LayerParameter", "swish_param", 147),
        ("bvlc", "LayerParameter", "clip_param", 148),
        ("bvlc", "LayerParameter", "elu_param", 140),
        ("bvlc", "LayerParameter", "bias_param", 141),
        ("cpm", "LayerParameter", "cpmdata_param", 147),
        ("cpm", "LayerParameter", "roi_pooling_param", 148),
        ("cpm", "LayerParameter", "elu_param", 140),
        ("cpm2015", "LayerParameter", "cpmdata_param", 140),
        ("cpm2015", "LayerParameter", "roi_pooling_param", 141),
        ("bvlc", "TransformationParameter", "force_color", 6),
        ("cpm", "TransformationParameter", "stride", 6),
        ("cpm", "TransformationParameter", "scale_cvg", 7),
        ("cpm", "TransformationParameter", "force_color", 22),
        ("cpm2015", "TransformationParameter", "transform_body_joint", 38),
        ("cpm", "CPMDataParameter", "lbl_source", 11),
        ("bvlc", "V1LayerParameter", "blob_share_mode", 1002),
        ("bvlc", "V0LayerParameter", "hdf5_output_param", 1001),
    ],
)
def test_dialects_number_their_fields_as_their_caffe_does(dialect, message, field, number):
    assert message_class(message, dialect).DESCRIPTOR.fields_by_name[field].number == number


@pytest.mark.parametrize(
    ("message", "field", "default"),
    [
        ("TransformationParameter", "stride", 4),
        ("TransformationParameter", "center_perterb_max", 10),
        ("TransformationParameter", "sigma_center", 27 - 6),
        ("TransformationParameter", "aug_way", "rand"),
        ("SolverParameter", "random_seed", -1),
        ("SolverParameter", "regularization_type", "L2"),
        ("ConvolutionParameter", "group", 1),
        ("ParamSpec", "lr_mult", 1),
        ("LRNParameter", "beta", 0.75),
        ("PythonParameter", "param_str", ""),
    ],
)
def test_unset_fields_have_caffes_defaults(message, field, default):
    assert getattr(message_class(message, "cpm")(), field) == default


@pytest.mark.parametrize("dialect", DIALECTS)
def test_blob_values_are_packed(dialect):
    blob = message_class("BlobProto", dialect)(data=[1.0, 2.0])
    assert blob.SerializeToString() == b"\x2a\x08" + b"\0\0\x80\x3f\0\0\0\x40"


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_message_knows_its_dialect(dialect):
    assert dialect_of(message_class("NetParameter", dialect)()) == dialect


def test_the_schema_stays_out_of_the_process_wide_pool():
    message_class("NetParameter")
    with pytest.raises(KeyError):
        descriptor_pool.Default().FindMessageTypeByName("cpm_port.bvlc.NetParameter")


def test_unknown_messages_and_dialects_are_refused_by_name():
    with pytest.raises(UsageError, match="no message 'Nothing'"):
        message_class("Nothing")
    with pytest.raises(UsageError, match="expected one of bvlc, cpm, cpm2015"):
        message_class("NetParameter", "caffe2")


def test_field_names_of_a_message_that_the_dialect_lacks_are_none():
    assert field_names("CPMDataParameter", "bvlc") == frozenset()
    assert {"name", "type", UNKNOWN_TEXT} <= field_names("LayerParameter", "cpm")
