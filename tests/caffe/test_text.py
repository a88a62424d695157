"""Prototxt text is read with protobuf's grammar and written back. Oracles: protobuf's own parser, hand-worked texts."""

import math
import time
import tracemalloc

import pytest
from google.protobuf import text_format
from hypothesis import given, settings
from hypothesis import strategies as st

from cpm_port.caffe import text
from cpm_port.caffe.schema import UNKNOWN_TEXT, message_class
from cpm_port.caffe.text import format_fields, format_text, parse_text
from cpm_port.errors import CaffeFormatError
from tests.caffe.support import LAYER_CASES, LAYERS


def parse(source: str, name: str = "NetParameter"):
    return parse_text(source, message_class(name)(), source="net.prototxt")


@pytest.mark.parametrize("case", LAYER_CASES)
def test_reads_caffes_own_prototxts_as_protobuf_does(case):
    source = (LAYERS / f"{case}.prototxt").read_text()
    expected = text_format.Parse(source, message_class("NetParameter")())
    assert parse(source).message == expected


@pytest.mark.parametrize("case", LAYER_CASES)
def test_writing_and_reading_gives_the_same_message(case):
    message = parse((LAYERS / f"{case}.prototxt").read_text()).message
    assert parse(format_text(message)).message == message


@pytest.mark.parametrize(
    "source",
    [
        'name: "a" input: "b"',
        "name: 'a'; input: 'b',",
        'name : "a" # a comment }\n\tinput:\n\n"b"',
        'name: "a" input: ["b"]',
        'name:"""a" input:"" \'b\'',
        r'name: "\x61" input: "\142"',
    ],
)
def test_grammar_variants_mean_the_same(source):
    assert parse(source).message == message_class("NetParameter")(name="a", input=["b"])


@pytest.mark.parametrize(
    "source", ["layer { name: 'x' }", "layer < name: 'x' >", "layer: { name: 'x' }", "layer [{name: 'x'}]"]
)
def test_messages_may_stand_in_braces_angles_and_lists(source):
    assert [layer.name for layer in parse(source).message.layer] == ["x"]


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("1", 1.0),
        ("-1.5e-3", -0.0015),
        (".5f", 0.5),
        ("3.", 3.0),
        ("0x10", 16.0),
        ("1e39", math.inf),
        ("-inf", -math.inf),
    ],
)
def test_numbers_read_as_float32(written, value):
    assert parse(f"base_lr: {written}", "SolverParameter").message.base_lr == pytest.approx(value, rel=1e-7)


def test_nan_is_a_number_to_the_reader():
    assert math.isnan(parse("base_lr: nan", "SolverParameter").message.base_lr)


@pytest.mark.parametrize(("written", "value"), [("0x1F", 31), ("017", 15), ("-5", -5), ("2147483647", 2**31 - 1)])
def test_integers_may_be_hexadecimal_and_octal(written, value):
    assert parse(f"max_iter: {written}", "SolverParameter").message.max_iter == value


@pytest.mark.parametrize(
    ("written", "value"), [("true", True), ("1", True), ("t", True), ("False", False), ("0", False)]
)
def test_booleans_have_protobufs_spellings(written, value):
    assert parse(f"force_backward: {written}").message.force_backward is value


@pytest.mark.parametrize("written", ["TRAIN", "0"])
def test_enums_are_names_or_numbers(written):
    assert parse(f"state {{ phase: {written} }}").message.state.phase == 0


@pytest.mark.parametrize(
    ("source", "place", "what"),
    [
        ('name: "a"\nname: "b"', "2:1", "given twice"),
        ('layer {\n  name: "a"', "2:12", "the end of the text, expected a field name or '}'"),
        ("layer { name: a }", "1:15", "'a' for 'name', expected a string in quotes"),
        ('name: "a\n"', "1:7", "starts no token"),
        ('name "a"', "1:6", "expected ':'"),
        ("input_dim: 2147483648", "1:12", "expected an integer from -2147483648 to 2147483647"),
        ("input_dim: 1.5", "1:12", "expected an integer"),
        ("input_dim: 09", "1:12", "expected an integer"),
        ("force_backward: 2", "1:17", "expected true or false"),
        ("state {\n phase: VALID }", "2:9", "expected one of TRAIN, TEST"),
        ("state { phase: 7 }", "1:16", "expected one of TRAIN, TEST"),
        ("layer: 5", "1:8", r"expected '\{'"),
        ("}", "1:1", "expected a field name"),
        ("input_dim: [1, 2", "1:17", r"expected ',' or '\]'|for 'input_dim'"),
        ("layer { name: '\udcff' }", "1:15", "not UTF-8"),
        ("unknown 5", "1:9", "expected ':' or"),
        ("unknown: {", "1:11", "the end of the text"),
        ("\x00", "1:1", "starts no token"),
    ],
)
def test_errors_say_where_what_and_what_was_expected(source, place, what):
    with pytest.raises(CaffeFormatError, match=rf"^net\.prototxt:{place}: .*({what})"):
        parse(source)


UNKNOWN = """layer {
  name: "x"
  future_param {
    size: [1, -2]  flag: SOME  text: 'a' "b"
    inner < deep: 1.5e3 >
  }
  [my.extension]: 7
}
novel: "field"
"""


def test_unknown_fields_are_reported_with_their_place():
    found = [(field.message, field.name, field.line, field.column) for field in parse(UNKNOWN).unknown]
    assert found == [
        ("LayerParameter", "future_param", 3, 3),
        ("LayerParameter", "[my.extension]", 7, 3),
        ("NetParameter", "novel", 9, 1),
    ]


def test_unknown_fields_survive_reading_and_writing():
    written = format_text(parse(UNKNOWN).message)
    again = parse(written)
    assert format_text(again.message) == written
    for part in (
        "size: [1, -2]",
        "flag: SOME",
        "text: 'a' \"b\"",
        "deep: 1.5e3",
        "[my.extension]: 7",
        'novel: "field"',
    ):
        assert part in written


def test_fields_are_written_in_the_order_given_and_by_their_types():
    data = [("batch_size", 2), ("source", 'a "b"\\c'), ("backend", "LMDB")]
    fields = [("data_param", data), ("top", "x"), ("top", "y"), ("name", "LMDB"), ("loss_weight", 0.1)]
    lines = ["data_param {", "  batch_size: 2", '  source: "a \\"b\\"\\\\c"', "  backend: LMDB", "}"]
    lines += ['top: "x"', 'top: "y"', 'name: "LMDB"', "loss_weight: 0.1"]
    assert format_fields(fields, message_class("LayerParameter").DESCRIPTOR).splitlines() == lines
    with pytest.raises(KeyError, match="tops"):
        format_fields([("tops", "x")], message_class("LayerParameter").DESCRIPTOR)


def test_the_hidden_field_cannot_be_written_by_name():
    parsed = parse(f'{UNKNOWN_TEXT}: "layer {{"')
    assert [field.name for field in parsed.unknown] == [UNKNOWN_TEXT]


@pytest.mark.parametrize(
    "bomb", ["a {" * 100_000, "a <" * 100_000, "a: " + "[" * 100_000, "a: [{b: [{" + "c: [{" * 100_000]
)
def test_depth_bombs_are_refused(bomb):
    with pytest.raises(CaffeFormatError, match="nest deeper than 64"):
        parse(f"layer {{ {bomb}")


@pytest.mark.parametrize(
    "source",
    ['name: "' + "a" * 2**20 + '"', 'name: "' + r"\n" * 2**20 + '"', "# x\n" * 2**20, 'name: "' + "a" * 2**20],
    ids=["string", "escapes", "comments", "unclosed"],
)
def test_long_tokens_cost_little_memory(source):
    tracemalloc.start()
    try:
        for start in (0, len("name: ")):
            text._TOKEN.match(source, start)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2**20, "no way back is kept for a character"


def test_many_unknown_fields_are_placed_in_one_reading():
    source = "#" * 2**20 + "\n" + 'name: "x" ' + "odd: 1 " * 5000 + "\n odd: 2"
    start = time.process_time()
    places = [(field.line, field.column) for field in parse(source).unknown]
    assert places == [(2, 11 + 7 * index) for index in range(5000)] + [(3, 2)]
    assert time.process_time() - start < 2


def test_strings_in_a_row_join_in_linear_time():
    source = 'name: "' + "a" * 2**20 + '" ' + '"b" ' * 2**17
    start = time.process_time()
    assert parse(source).message.name == "a" * 2**20 + "b" * 2**17
    assert time.process_time() - start < 4


def test_field_floods_are_refused(monkeypatch):
    monkeypatch.setattr(text, "MAX_FIELDS", 10)
    with pytest.raises(CaffeFormatError, match="more than 10 fields"):
        parse("layer {}" * 11)


@settings(deadline=None)
@given(st.floats(width=32))
def test_float32_values_survive_writing_and_reading(value):
    message = message_class("SolverParameter")(base_lr=value)
    again = parse(format_text(message), "SolverParameter").message.base_lr
    assert again == message.base_lr or math.isnan(value)


@settings(deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_strings_survive_writing_and_reading(value):
    message = message_class("NetParameter")(name=value)
    assert parse(format_text(message)).message == message


@settings(deadline=None)
@given(st.binary())
def test_bytes_survive_writing_and_reading(value):
    message = message_class("Datum")(data=value)
    assert parse(format_text(message), "Datum").message == message


@pytest.mark.parametrize(
    "number", ["1" * 200_000, "1" * 200_000 + "x", "0x" + "f" * 200_000 + "g", "1e" + "1" * 200_000]
)
def test_a_number_is_read_once_however_long(number: str) -> None:
    """A pattern that went back over its digits would take minutes here."""
    with pytest.raises(CaffeFormatError):
        parse_text(f'name: "a" input_dim: {number}', message_class("NetParameter", "bvlc")())
