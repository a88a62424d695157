"""Protobuf's text format, in and out: prototxt <-> message.

`parse_text` fills a message of our schema; errors name source, line and column, what was found and what was expected.
`format_text` writes a message back, `format_fields` plain values under the schema's names. The grammar is that of
protobuf's C++ text parser, as Caffe uses it: a singular field given twice is an error, `,` or `;` may follow a field,
`<>` may stand for `{}`, neighbouring strings join, `#` opens a comment.

It knowingly differs from Caffe's in three things. A field that the schema does not know is no error: it is reported as
a note, kept as text in the message (`schema.UNKNOWN_TEXT`) and written back by `format_text`. So is an unknown name in
an enum of a layer's own parameters, and an unknown V1 type; `strangers.py` says what becomes of the layer. And a
carriage return alone ends a line, and so a comment, as old Mac editors write it; to Caffe, such a file is one comment
from its first `#` on.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from google.protobuf.descriptor import FieldDescriptor

from cpm_port.caffe.schema import UNKNOWN_TEXT, Message
from cpm_port.errors import CaffeFormatError

__all__ = ["MAX_DEPTH", "ParsedText", "UnknownField", "format_fields", "format_text", "is_repeated", "parse_text"]

MAX_DEPTH = 64  # Caffe's own messages nest 7 deep
MAX_FIELDS = 100_000  # a six-stage CPM's prototxt has 1,100

# Repeats are possessive, so that a long string or comment needs no memory for backtracking.
_TOKEN = re.compile(
    r"""(?P<skip>(?:[ \t\r\n\f\v]++|\#[^\n]*+)++)
      | (?P<name>[A-Za-z_][A-Za-z0-9_]*)
      | (?P<number>(?:0[xX][0-9a-fA-F]++|(?:\d++\.?+\d*+|\.\d++)(?:[eE][+-]?\d++)?+[fF]?+)(?![A-Za-z0-9_.]))
      | (?P<string>"(?:[^"\\\n]++|\\.)*+"|'(?:[^'\\\n]++|\\.)*+')
      | (?P<mark>[{}<>\[\]:;,\-./])""",
    re.VERBOSE,
)
_ESCAPE = re.compile(r"\\(?:x([0-9a-fA-F]{1,2})|([0-7]{1,3})|(.))", re.DOTALL)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "a": "\a", "b": "\b", "f": "\f", "v": "\v"}
_RAW_BYTE = re.compile("[\udc80-\udcff]")  # a byte that is not UTF-8, as "surrogateescape" decodes it
_INTEGER_RANGES = {
    FieldDescriptor.TYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.TYPE_INT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.TYPE_UINT32: (0, 2**32 - 1),
}
_LINE_END = re.compile(r"\r\n?")
_CLOSING = {"{": "}", "<": ">"}
_STRICT = (  # messages that are not one layer type's own
    "FillerParameter", "LayerParameter", "NetParameter", "SolverParameter", "V0LayerParameter", "V1LayerParameter",
)  # fmt: skip


@dataclass(frozen=True)
class UnknownField:
    """A field that the schema does not know: the message it stands in, its name, its place (both 1-based), the layer in
    which it stands, if in any, and `wanted`, what was expected, where only the field's value is not known.
    """

    message: str
    name: str
    line: int
    column: int
    layer: str = ""
    wanted: str = ""

    def __str__(self) -> str:
        where = f"{self.line}:{self.column}: " + (f"layer {self.layer!r}: " if self.layer else "")
        if self.wanted:
            return f"{where}{self.message}'s {self.name} is none that is known, {self.wanted}; kept as text, not used"
        return f"{where}{self.message} has no field {self.name!r}; kept as text, not used"


@dataclass(frozen=True)
class ParsedText:
    """A parsed text: the message and the fields that its schema lacks."""

    message: Any
    unknown: tuple[UnknownField, ...]


def parse_text(text: str, message: Any, *, source: str = "<string>") -> ParsedText:
    """Parse protobuf text into `message` (changed in place) and return it with its unknown fields.

    Raises
    ------
    CaffeFormatError
        With `source:line:column`, on the first thing that the grammar or the schema's types refuse.
    """
    parser = _Parser(_LINE_END.sub("\n", text), source)
    parser.fields(message, closing="", depth=0)
    return ParsedText(message, tuple(parser.unknown))


def is_repeated(descriptor: Any) -> bool:
    """Tell whether a field is repeated, over all protobuf versions (the newest warn at `.label`)."""
    repeated = getattr(descriptor, "is_repeated", None)
    return bool(descriptor.label == FieldDescriptor.LABEL_REPEATED if repeated is None else repeated)


@dataclass
class _Parser:
    text: str
    source: str
    position: int = 0
    kind: str = ""
    token: str = ""
    start: int = 0
    count: int = 0
    placed: tuple[int, int, int] = (0, 1, 0)  # an offset, its line, where that line starts
    unknown: list[UnknownField] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.advance()

    def advance(self) -> None:
        """Move to the next token; kind "" is the end of the text."""
        while True:
            if self.position >= len(self.text):
                self.kind, self.token, self.start = "", "", len(self.text)
                return
            match = _TOKEN.match(self.text, self.position)
            if match is None:
                self.start = self.position
                raise self.error(f"found {self.text[self.position : self.position + 12]!r}, which starts no token")
            self.position = match.end()
            if match.lastgroup != "skip":
                self.kind, self.token, self.start = str(match.lastgroup), match.group(), match.start()
                return

    def place(self, offset: int) -> tuple[int, int]:
        """Return line and column; counted on from the last place, so that many places cost one reading."""
        last, line, line_start = self.placed if offset >= self.placed[0] else (0, 1, 0)
        line += self.text.count("\n", last, offset)
        line_start = self.text.rfind("\n", last, offset) + 1 or line_start
        self.placed = (offset, line, line_start)
        return line, offset - line_start + 1

    def error(self, what: str, offset: int | None = None) -> CaffeFormatError:
        line, column = self.place(self.start if offset is None else offset)
        return CaffeFormatError(f"{self.source}:{line}:{column}: {what}")

    def found(self) -> str:
        return "the end of the text" if self.kind == "" else repr(self.token[:40])

    def take(self, mark: str) -> bool:
        if self.kind == "mark" and self.token == mark:
            self.advance()
            return True
        return False

    def fields(self, message: Any, closing: str, depth: int) -> None:
        """Read fields until `closing` ("" is the end of the text)."""
        if depth > MAX_DEPTH:
            raise self.error(f"messages nest deeper than {MAX_DEPTH}")
        descriptor = message.DESCRIPTOR
        while not (self.token == closing and self.kind in ("mark", "")):
            if self.kind != "name" and not (self.kind == "mark" and self.token == "["):
                wanted = f"a field name or {closing!r}" if closing else "a field name"
                raise self.error(f"found {self.found()}, expected {wanted}")
            self.count += 1
            if self.count > MAX_FIELDS:
                raise self.error(f"more than {MAX_FIELDS} fields; no Caffe file has so many")
            begin, name = self.start, self.token
            known = descriptor.fields_by_name.get(name) if name != UNKNOWN_TEXT else None
            if known is not None:
                self.advance()
                self.known_field(message, known, begin, depth)
            else:
                text = self.unknown_field(depth)
                self.unknown.append(
                    UnknownField(descriptor.name, text.split(None, 1)[0].rstrip(":"), *self.place(begin))
                )
                getattr(message, UNKNOWN_TEXT).append(text)
            if not self.take(","):
                self.take(";")
        if closing:
            self.advance()

    def known_field(self, message: Any, known: Any, begin: int, depth: int) -> None:
        repeated = is_repeated(known)
        if not repeated and message.HasField(known.name):
            raise self.error(f"field {known.name!r} is given twice, and {message.DESCRIPTOR.name} takes one", begin)
        is_message = known.type == FieldDescriptor.TYPE_MESSAGE
        if not self.take(":") and not is_message:
            raise self.error(f"found {self.found()} after {known.name!r}, expected ':'")
        if repeated and self.take("["):
            while not self.take("]"):
                self.value(message, known, repeated, depth)
                if not self.take(",") and self.token != "]":
                    raise self.error(f"found {self.found()} in the list of {known.name!r}, expected ',' or ']'")
        else:
            self.value(message, known, repeated, depth)

    def value(self, message: Any, known: Any, repeated: bool, depth: int) -> None:
        if known.type == FieldDescriptor.TYPE_MESSAGE:
            opening = self.token
            if self.kind != "mark" or opening not in _CLOSING:
                raise self.error(f"found {self.found()} after {known.name!r}, expected '{{'")
            self.advance()
            if repeated:
                child = getattr(message, known.name).add()
            else:
                child = getattr(message, known.name)
                child.SetInParent()
            before = len(self.unknown)
            self.fields(child, _CLOSING[opening], depth + 1)
            if known.name in ("layer", "layers"):
                self.unknown[before:] = [
                    replace(field, layer=field.layer or child.name) for field in self.unknown[before:]
                ]
            return
        if self.is_strange(message, known):
            getattr(message, UNKNOWN_TEXT).append(f"{known.name}: {self.token}")
            place, wanted = self.place(self.start), f"expected {_expected(known)}"
            self.unknown.append(UnknownField(message.DESCRIPTOR.name, known.name, *place, wanted=wanted))
            self.advance()
            return
        value = self.scalar(known)
        if repeated:
            getattr(message, known.name).append(value)
        else:
            setattr(message, known.name, value)

    def is_strange(self, message: Any, known: Any) -> bool:
        """Tell whether the next token is a name that an enum of a layer's own parameters does not have."""
        if (
            known.type != FieldDescriptor.TYPE_ENUM
            or self.kind != "name"
            or self.token in known.enum_type.values_by_name
        ):
            return False
        name = message.DESCRIPTOR.name
        return (name, known.name) == ("V1LayerParameter", "type") or (
            name.endswith("Parameter") and name not in _STRICT
        )

    def scalar(self, known: Any) -> Any:
        begin = self.start
        if known.type in (FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES):
            if self.kind != "string":
                raise self.error(f"found {self.found()} for {known.name!r}, expected a string in quotes")
            pieces = []
            while self.kind == "string":
                pieces.append(_unescape(self.token[1:-1]))
                self.advance()
            raw = b"".join(pieces)
            if known.type == FieldDescriptor.TYPE_BYTES:
                return raw
            try:
                return raw.decode("utf-8")
            except UnicodeDecodeError:
                raise self.error(f"the string of {known.name!r} is not UTF-8", begin) from None
        negative = self.take("-")
        kind, token = self.kind, self.token
        if kind not in ("name", "number"):
            raise self.error(f"found {self.found()} for {known.name!r}, expected {_expected(known)}")
        value = _convert(known, kind, token, negative)
        if value is None:
            sign = "-" if negative else ""
            raise self.error(f"found {sign + token[:40]!r} for {known.name!r}, expected {_expected(known)}", begin)
        self.advance()
        return value

    def unknown_field(self, depth: int) -> str:
        """Read a field of no known type; return it as tidy text."""
        name = self.token
        if self.take("["):  # an extension's name
            name = "["
            while not self.take("]"):
                if self.kind != "name" and self.token not in (".", "/"):
                    raise self.error(f"found {self.found()} in an extension's name, expected ']'")
                name += self.token
                self.advance()
            name += "]"
        else:
            self.advance()
        colon = self.take(":")
        if self.kind == "mark" and self.token in _CLOSING:
            return f"{name} {self.unknown_message(depth + 1)}"
        if not colon:
            raise self.error(f"found {self.found()} after {name!r}, expected ':' or '{{'")
        return f"{name}: {self.unknown_value(depth)}"

    def unknown_value(self, depth: int) -> str:
        if depth > MAX_DEPTH:
            raise self.error(f"lists nest deeper than {MAX_DEPTH}")
        if self.take("["):
            parts = []
            while not self.take("]"):
                parts.append(self.unknown_value(depth + 1))
                if not self.take(",") and self.token != "]":
                    raise self.error(f"found {self.found()} in a list, expected ',' or ']'")
            return f"[{', '.join(parts)}]"
        if self.kind == "mark" and self.token in _CLOSING:
            return self.unknown_message(depth + 1)
        sign = "-" if self.take("-") else ""
        if self.kind not in ("name", "number", "string"):
            raise self.error(f"found {self.found()}, expected a value")
        parts = [sign + self.token]
        quoted = self.kind == "string"
        self.advance()
        while quoted and self.kind == "string":
            parts.append(self.token)
            self.advance()
        return _RAW_BYTE.sub(lambda match: f"\\{ord(match.group()) - 0xDC00:03o}", " ".join(parts))

    def unknown_message(self, depth: int) -> str:
        if depth > MAX_DEPTH:
            raise self.error(f"messages nest deeper than {MAX_DEPTH}")
        closing = _CLOSING[self.token]
        self.advance()
        lines = []
        while not self.take(closing):
            if self.kind != "name" and not (self.kind == "mark" and self.token == "["):
                raise self.error(f"found {self.found()}, expected a field name or {closing!r}")
            lines += self.unknown_field(depth).split("\n")
            if not self.take(","):
                self.take(";")
        return "\n".join(["{", *(f"  {line}" for line in lines), "}"])


def _unescape(body: str) -> bytes:
    pieces = []
    end = 0
    for match in _ESCAPE.finditer(body):
        pieces.append(body[end : match.start()].encode("utf-8", "surrogateescape"))
        hexadecimal, octal, letter = match.groups()
        if letter is not None:
            pieces.append(_ESCAPES.get(letter, letter).encode("utf-8", "surrogateescape"))
        else:
            pieces.append(bytes([(int(hexadecimal, 16) if hexadecimal else int(octal, 8)) & 0xFF]))
        end = match.end()
    pieces.append(body[end:].encode("utf-8", "surrogateescape"))
    return b"".join(pieces)


def _expected(known: Any) -> str:
    if known.type == FieldDescriptor.TYPE_ENUM:
        return f"one of {', '.join(known.enum_type.values_by_name)}"
    if known.type == FieldDescriptor.TYPE_BOOL:
        return "true or false"
    if known.type in (FieldDescriptor.TYPE_FLOAT, FieldDescriptor.TYPE_DOUBLE):
        return "a number"
    low, high = _INTEGER_RANGES[known.type]
    return f"an integer from {low} to {high}"


def _convert(known: Any, kind: str, token: str, negative: bool) -> Any:
    """Return the value of a scalar's token as the field's type; None where it has none."""
    if known.type == FieldDescriptor.TYPE_ENUM:
        if kind == "name":
            found = None if negative else known.enum_type.values_by_name.get(token)
        else:
            number = _integer(token)
            found = None if number is None else known.enum_type.values_by_number.get(-number if negative else number)
        return None if found is None else found.number
    if known.type == FieldDescriptor.TYPE_BOOL:
        return None if negative else {"true": True, "True": True, "t": True, "1": True,
                                      "false": False, "False": False, "f": False, "0": False}.get(token)  # fmt: skip
    if known.type in (FieldDescriptor.TYPE_FLOAT, FieldDescriptor.TYPE_DOUBLE):
        if kind == "name":
            word = token.lower().removesuffix("f") if token.lower() == "inff" else token.lower()
            value = {"inf": math.inf, "infinity": math.inf, "nan": math.nan}.get(word)
        elif token[:2] in ("0x", "0X"):
            number = _integer(token)
            value = None if number is None else float(min(number, 2**1000))
        else:
            value = float(token.rstrip("fF"))
        return None if value is None else (-value if negative else value)
    number = _integer(token) if kind == "number" else None
    if number is None:
        return None
    low, high = _INTEGER_RANGES[known.type]
    number = -number if negative else number
    return number if low <= number <= high else None


def _integer(token: str) -> int | None:
    if len(token) > 24:
        return None
    if token[:2] in ("0x", "0X"):
        return int(token, 16)
    if not token.isdigit():
        return None
    if token[0] == "0" and len(token) > 1:
        return int(token, 8) if set(token) <= set("01234567") else None
    return int(token)


def format_text(message: Message) -> str:
    """Write a message as protobuf text: fields in the schema's order, two spaces a level, unknown text fields last."""
    return format_fields(_fields_of(message), message.DESCRIPTOR)


def format_fields(fields: Iterable[tuple[str, Any]], descriptor: Any) -> str:
    """Write fields as protobuf text, in the order given.

    Parameters
    ----------
    fields : iterable of (str, value)
        A repeated field once per value. A message's value is an iterable of its own fields, an enum's its name.
    descriptor : Descriptor
        The message that they belong to, for example `message_class("NetParameter").DESCRIPTOR`.

    Raises
    ------
    KeyError
        A field that the message does not have.
    """
    return "".join(f"{line}\n" for line in _format_lines(fields, descriptor, ""))


def _fields_of(message: Any) -> Iterator[tuple[str, Any]]:
    for known, value in message.ListFields():
        for item in value if is_repeated(known) else (value,):
            if known.type == FieldDescriptor.TYPE_MESSAGE:
                yield known.name, _fields_of(item)
            elif known.type == FieldDescriptor.TYPE_ENUM:
                yield known.name, known.enum_type.values_by_number[item].name
            else:
                yield known.name, item


def _format_lines(fields: Iterable[tuple[str, Any]], descriptor: Any, indent: str) -> Iterator[str]:
    for name, value in fields:
        known = descriptor.fields_by_name[name]
        if name == UNKNOWN_TEXT:
            yield from (indent + line for line in value.split("\n"))
        elif known.type == FieldDescriptor.TYPE_MESSAGE:
            yield f"{indent}{name} {{"
            yield from _format_lines(value, known.message_type, indent + "  ")
            yield f"{indent}}}"
        else:
            yield f"{indent}{name}: {_format_scalar(known, value)}"


def _format_scalar(descriptor: Any, value: Any) -> str:
    if descriptor.type == FieldDescriptor.TYPE_ENUM:
        return str(value)
    if descriptor.type == FieldDescriptor.TYPE_BOOL:
        return "true" if value else "false"
    if isinstance(value, str):
        return _quote(value, keep=True)
    if isinstance(value, bytes):
        return _quote(value.decode("latin-1"), keep=False)
    if descriptor.type == FieldDescriptor.TYPE_FLOAT:
        return _shortest_float32(value)
    return repr(value)


def _shortest_float32(value: float) -> str:
    """Return the shortest decimal that reads back as the same float32."""
    if not math.isfinite(value):
        return repr(value)
    for digits in range(6, 10):
        text = f"{value:.{digits}g}"
        if struct.pack("<f", float(text)) == struct.pack("<f", value):
            break
    return text


def _quote(text: str, keep: bool) -> str:
    """Put text in quotes; characters beyond ASCII stay if `keep`, else they are bytes and become escapes."""
    out = []
    for char in text:
        if char in '"\\':
            out.append("\\" + char)
        elif char == "\n":
            out.append("\\n")
        elif char < " " or char == "\x7f" or (not keep and char > "~"):
            out.append(f"\\{ord(char):03o}")
        else:
            out.append(char)
    return f'"{"".join(out)}"'
