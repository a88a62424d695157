"""`caffe.proto`: holds `caffe_pb2`."""

from __future__ import annotations

from cpm_port.pycaffe.proto import caffe_pb2

__all__ = ["caffe_pb2"]
