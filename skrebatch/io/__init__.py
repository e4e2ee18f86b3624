"""Saving, loading and exporting fitted models."""

from skrebatch.io._model_files import load_model, save_model
from skrebatch.io._onnx import to_onnx
from skrebatch.io._onnx_pipelines import register_onnx_converters

__all__ = ["load_model", "register_onnx_converters", "save_model", "to_onnx"]
