"""MessageView shows plain values, hides protobuf, and cannot change the message."""

import copy
import pickle

import pytest

from cpm_port.caffe import MessageView, message_class, parse_net


@pytest.fixture
def view():
    return (
        parse_net(
            "layer { name: 'p' type: 'Pooling' top: 'a' top: 'b' pooling_param { pool: AVE kernel_size: 3 novel: 1 } }"
        )
        .layers[0]
        .params
    )


def test_fields_are_plain_values(view):
    assert view.name == "p"
    assert view.top == ("a", "b")
    assert view.pooling_param.pool == "AVE"
    assert view.pooling_param.kernel_size == 3


def test_unset_fields_are_caffes_defaults(view):
    assert view.pooling_param.stride == 1
    assert view.convolution_param.bias_term is True
    assert view.convolution_param.kernel_size == ()
    assert view.lrn_param.norm_region == "ACROSS_CHANNELS"


def test_has_tells_given_from_default(view):
    assert view.has("pooling_param")
    assert view.pooling_param.has("kernel_size")
    assert view.has("top")
    assert not view.pooling_param.has("stride")
    assert not view.has("bottom")
    assert not view.has("convolution_param")
    assert not view.has("cpmdata_param"), "a field of the other dialect"


def test_reading_an_unset_message_does_not_set_it(view):
    assert view.convolution_param.group == 1
    assert not view.has("convolution_param")


def test_fields_lists_what_was_given(view):
    assert list(view.pooling_param.fields()) == ["pool", "kernel_size"]


def test_unknown_names_are_attribute_errors(view):
    with pytest.raises(AttributeError, match="PoolingParameter has no field 'size'"):
        _ = view.pooling_param.size
    with pytest.raises(AttributeError):
        _ = view._nothing


def test_a_view_is_read_only(view):
    with pytest.raises(AttributeError, match="read only"):
        view.name = "q"
    view.message().name = "q"
    assert view.name == "p"


def test_views_compare_hash_copy_and_pickle_by_content(view):
    other = MessageView(view.message())
    assert other == view
    assert hash(other) == hash(view)
    assert copy.deepcopy(view) == view
    assert pickle.loads(pickle.dumps(view)) == view
    assert view != MessageView(message_class("LayerParameter")())


def test_repr_is_short_text(view):
    assert repr(view.pooling_param).startswith("<PoolingParameter pool: AVE kernel_size: 3")
