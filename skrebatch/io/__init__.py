"""Saving, loading and exporting fitted models."""

from skrebatch.io._model_files import load_model, save_model
from skrebatch.io._onnx import to_onnx

__all__ = ["load_model", "save_model", "to_onnx"]
