# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator, import-untyped"
"""A vector of 16 float32 lanes as a numba type, and the complex matrix block that the Fourier product is made of.

numba leaves vector instructions to LLVM's loop vectorizer, which gives up on a butterfly that reads and writes sixteen
places at once. Here a kernel says `load(address, index)`, `a + b`, `fma(a, b, c)`, `store(address, index, a)`, and each
becomes one instruction on 16 lanes; on machines with narrower registers LLVM splits it into two or four.

Conventions: an address is an integer (`array.ctypes.data`), an index counts floats from it; nothing is bounds-checked.
Kernels that use this are cached by the source of their own file: after a change here, touch those.
"""

from __future__ import annotations

import operator
from typing import Any

import numba
import numba.extending
from llvmlite import ir
from numba.core import cgutils, types
from numba.core.codegen import get_host_cpu_features
from numba.extending import models, overload, register_model

__all__ = [
    "LANES",
    "WIDE",
    "broadcast",
    "complex_block",
    "copy",
    "fma",
    "load",
    "maximum",
    "real_block",
    "store",
    "vector",
    "where_equal",
    "where_greater",
    "where_positive",
    "zeros",
]

LANES = 16
# Whether kernels are compiled for 32 registers of 16 lanes: numba can be told of less than the machine has.
WIDE = "+avx512f" in (numba.config.CPU_FEATURES or get_host_cpu_features()).split(",")  # type: ignore[attr-defined]

# What it returns is called without the typing context, which mypy cannot know.
intrinsic: Any = numba.extending.intrinsic

_FLOAT = ir.FloatType()
_VECTOR = ir.VectorType(_FLOAT, LANES)
_INDEX = ir.IntType(64)


class _VectorType(types.Type):
    def __init__(self) -> None:
        super().__init__(name="float32x16")


vector = _VectorType()


@register_model(_VectorType)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager, fe_type) -> None:
        super().__init__(manager, fe_type, _VECTOR)


def _pointer(builder, address, index, pointee):
    """Return a pointer to the float number `index` behind an address."""
    floats = builder.inttoptr(address, _FLOAT.as_pointer())
    return builder.bitcast(builder.gep(floats, [index]), pointee.as_pointer())


def _splat(builder, scalar):
    undefined = ir.Constant(_VECTOR, ir.Undefined)
    first = builder.insert_element(undefined, scalar, ir.IntType(32)(0))
    return builder.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES))


def _fma(builder, a, b, c):
    function_type = ir.FunctionType(_VECTOR, [_VECTOR] * 3)
    return builder.call(
        cgutils.get_or_insert_function(builder.module, function_type, f"llvm.fma.v{LANES}f32"), [a, b, c]
    )


@intrinsic
def load(_typing, address, index):
    """Return the 16 floats from `index` on."""

    def generate(_context, builder, _signature, args):
        return builder.load(_pointer(builder, args[0], args[1], _VECTOR), align=4)

    return vector(types.intp, types.intp), generate


@intrinsic
def store(_typing, address, index, value):
    """Write 16 floats from `index` on."""

    def generate(context, builder, _signature, args):
        builder.store(args[2], _pointer(builder, args[0], args[1], _VECTOR), align=4)
        return context.get_dummy_value()

    return types.void(types.intp, types.intp, vector), generate


@intrinsic
def broadcast(_typing, address, index):
    """Return the one float at `index` in all lanes."""

    def generate(_context, builder, _signature, args):
        return _splat(builder, builder.load(_pointer(builder, args[0], args[1], _FLOAT), align=4))

    return vector(types.intp, types.intp), generate


@intrinsic
def copy(_typing, to, to_index, source, index):
    """Copy one float."""

    def generate(context, builder, _signature, args):
        value = builder.load(_pointer(builder, args[2], args[3], _FLOAT), align=4)
        builder.store(value, _pointer(builder, args[0], args[1], _FLOAT), align=4)
        return context.get_dummy_value()

    return types.void(*[types.intp] * 4), generate


@intrinsic
def zeros(_typing):
    """Return zero in all lanes."""

    def generate(_context, _builder, _signature, _args):
        return ir.Constant(_VECTOR, [_FLOAT(0.0)] * LANES)

    return vector(), generate


@intrinsic
def fma(_typing, a, b, c):
    """Return a * b + c, rounded once."""

    def generate(_context, builder, _signature, args):
        return _fma(builder, *args)

    return vector(vector, vector, vector), generate


@intrinsic
def maximum(_typing, a, b):
    """Return the larger of each pair of lanes; `b` where either is NaN."""

    def generate(_context, builder, _signature, args):
        return builder.select(builder.fcmp_ordered(">", *args), *args)

    return vector(vector, vector), generate


@intrinsic
def where_positive(_typing, a, b):
    """Return `b` in the lanes where `a` is positive (or NaN), 0 in the others."""

    def generate(_context, builder, _signature, args):
        zero = ir.Constant(_VECTOR, [_FLOAT(0.0)] * LANES)
        return builder.select(builder.fcmp_unordered(">", args[0], zero), args[1], zero)

    return vector(vector, vector), generate


@intrinsic
def where_greater(_typing, a, b, c, d):
    """Return `c` in the lanes where `a` is greater than `b`, `d` in the others."""

    def generate(_context, builder, _signature, args):
        return builder.select(builder.fcmp_ordered(">", args[0], args[1]), args[2], args[3])

    return vector(vector, vector, vector, vector), generate


@intrinsic
def where_equal(_typing, a, b, c):
    """Return `c` in the lanes where `a` and `b` are equal, 0 in the others."""

    def generate(_context, builder, _signature, args):
        zero = ir.Constant(_VECTOR, [_FLOAT(0.0)] * LANES)
        return builder.select(builder.fcmp_ordered("==", args[0], args[1]), args[2], zero)

    return vector(vector, vector, vector), generate


def _arithmetic(instruction):
    @intrinsic
    def function(_typing, a, b):
        def generate(_context, builder, _signature, args):
            return getattr(builder, instruction)(*args)

        return vector(vector, vector), generate

    return function


_add, _subtract, _multiply = (_arithmetic(name) for name in ("fadd", "fsub", "fmul"))


@overload(operator.add)
def _overload_add(a, b):
    if a is vector and b is vector:
        return lambda a, b: _add(a, b)
    return None


@overload(operator.sub)
def _overload_subtract(a, b):
    if a is vector and b is vector:
        return lambda a, b: _subtract(a, b)
    return None


@overload(operator.mul)
def _overload_multiply(a, b):
    if a is vector and b is vector:
        return lambda a, b: _multiply(a, b)
    return None


@overload(operator.neg)
def _overload_negative(a):
    if a is vector:
        return lambda a: zeros() - a
    return None


@intrinsic(prefer_literal=True)
def complex_block(
    _typing, a, a_row, a_step, a_imaginary, b, b_row, b_imaginary, out, out_row, out_imaginary, depth, rows, panel
):
    """Write a @ b for `rows` rows of a, with all sums in registers.

    Everything is complex, real and imaginary parts in separate planes. Addresses in bytes, distances in floats.

    Parameters
    ----------
    a, a_row, a_step, a_imaginary : int
        Address of a's first row, distance from row to row, from column to column, from a real to its imaginary part.
    b, b_row, b_imaginary : int
        Address of b, (depth, 16 * panel) real parts, contiguous along a row; distances as for a.
    out, out_row, out_imaginary : int
        As for b; 16 * panel columns are written.
    depth : int
        Columns of a, at least 1.
    rows, panel : literal int
        How many rows, and how many vectors of columns.
    """
    height, width = rows.literal_value, panel.literal_value

    def generate(context, builder, _signature, args):
        a, a_row, a_step, a_imaginary, b, b_row, b_imaginary, out, out_row, out_imaginary, depth, _, _ = args

        def starts(address, row):
            return [_pointer(builder, address, builder.mul(row, _INDEX(r)), _FLOAT) for r in range(height)]

        a_parts = [(start, builder.gep(start, [a_imaginary])) for start in starts(a, a_row)]
        before, loop, after = builder.block, builder.append_basic_block("depth"), builder.append_basic_block("done")
        builder.branch(loop)
        builder.position_at_end(loop)
        k = builder.phi(_INDEX)
        k.add_incoming(_INDEX(0), before)
        sums = {}
        for key in ((r, v, part) for r in range(height) for v in range(width) for part in (0, 1)):
            sums[key] = builder.phi(_VECTOR)
            sums[key].add_incoming(ir.Constant(_VECTOR, [_FLOAT(0.0)] * LANES), before)
        here, column = builder.mul(k, b_row), builder.mul(k, a_step)
        b_parts = [
            [
                builder.load(_pointer(builder, b, builder.add(offset, _INDEX(v * LANES)), _VECTOR), align=4)
                for v in range(width)
            ]
            for offset in (here, builder.add(here, b_imaginary))
        ]
        new = {}
        for r in range(height):
            real, imaginary = (_splat(builder, builder.load(builder.gep(part, [column]))) for part in a_parts[r])
            minus = builder.fneg(imaginary)
            for v in range(width):
                b_real, b_imag = b_parts[0][v], b_parts[1][v]
                new[r, v, 0] = _fma(builder, minus, b_imag, _fma(builder, real, b_real, sums[r, v, 0]))
                new[r, v, 1] = _fma(builder, imaginary, b_real, _fma(builder, real, b_imag, sums[r, v, 1]))
        following = builder.add(k, _INDEX(1))
        k.add_incoming(following, loop)
        for key, phi in sums.items():
            phi.add_incoming(new[key], loop)
        builder.cbranch(builder.icmp_signed("<", following, depth), loop, after)
        builder.position_at_end(after)
        for r, start in enumerate(starts(out, out_row)):
            for v in range(width):
                for part, place in ((0, start), (1, builder.gep(start, [out_imaginary]))):
                    target = builder.bitcast(builder.gep(place, [_INDEX(v * LANES)]), _VECTOR.as_pointer())
                    builder.store(new[r, v, part], target, align=4)
        return context.get_dummy_value()

    return types.void(*[types.intp] * 11, rows, panel), generate


@intrinsic(prefer_literal=True)
def real_block(_typing, a, a_row, b, bias, out, out_row, depth, rectify, rows, panel):
    """Write bias + a @ b for `rows` rows of a, rectified where `rectify`; the sums stay in registers.

    Addresses in bytes, distances in floats. The depth goes over contiguous values of a's rows.

    Parameters
    ----------
    a, a_row : int
        Address of a's first row, distance from row to row.
    b : int
        Address of b, (depth, 16 * panel), C-contiguous.
    bias : int
        Address of 16 * panel values.
    out, out_row : int
        As for a; 16 * panel columns are written.
    depth, rectify : int
        Columns of a, at least 1; 0 or 1.
    rows, panel : literal int
        How many rows, and how many vectors of columns.
    """
    height, width = rows.literal_value, panel.literal_value

    def generate(context, builder, _signature, args):
        a, a_row, b, bias, out, out_row, depth, rectify, _, _ = args

        def starts(address, row):
            return [_pointer(builder, address, builder.mul(row, _INDEX(r)), _FLOAT) for r in range(height)]

        def vectors(address, offset):
            places = [builder.add(offset, _INDEX(v * LANES)) for v in range(width)]
            return [builder.load(_pointer(builder, address, place, _VECTOR), align=4) for place in places]

        a_starts, first = starts(a, a_row), vectors(bias, _INDEX(0))
        before, loop, after = builder.block, builder.append_basic_block("depth"), builder.append_basic_block("done")
        builder.branch(loop)
        builder.position_at_end(loop)
        k = builder.phi(_INDEX)
        k.add_incoming(_INDEX(0), before)
        sums = {(r, v): builder.phi(_VECTOR) for r in range(height) for v in range(width)}
        b_vectors = vectors(b, builder.mul(k, _INDEX(width * LANES)))
        new = {}
        for r, start in enumerate(a_starts):
            value = _splat(builder, builder.load(builder.gep(start, [k])))
            for v in range(width):
                new[r, v] = _fma(builder, value, b_vectors[v], sums[r, v])
        following = builder.add(k, _INDEX(1))
        k.add_incoming(following, loop)
        for (r, v), phi in sums.items():
            phi.add_incoming(first[v], before)
            phi.add_incoming(new[r, v], loop)
        builder.cbranch(builder.icmp_signed("<", following, depth), loop, after)
        builder.position_at_end(after)
        zero = ir.Constant(_VECTOR, [_FLOAT(0.0)] * LANES)
        keep = builder.icmp_signed("==", rectify, _INDEX(0))
        for r, start in enumerate(starts(out, out_row)):
            for v in range(width):
                value = new[r, v]
                rectified = builder.select(builder.fcmp_ordered(">", zero, value), zero, value)
                target = builder.bitcast(builder.gep(start, [_INDEX(v * LANES)]), _VECTOR.as_pointer())
                builder.store(builder.select(keep, value, rectified), target, align=4)
        return context.get_dummy_value()

    return types.void(*[types.intp] * 8, rows, panel), generate
