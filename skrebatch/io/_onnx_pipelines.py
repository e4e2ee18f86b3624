"""Export of whole pipelines to ONNX, through sklearn-onnx."""

from __future__ import annotations

from typing import Any

from sklearn.base import is_classifier

from skrebatch._utils.extras import import_extra
from skrebatch.io._model_files import CV_FORMS, ESTIMATORS
from skrebatch.io._onnx import OPSET, make_onnx_model, outputs_of


def register_onnx_converters() -> None:
    """Enable ``skl2onnx.to_onnx`` for pipelines with the estimators of this package.

    Call this function once before the export. The part of the graph that belongs to the
    estimator is that of :func:`to_onnx`: it computes in float32 and needs opset 15 or
    newer. sklearn-onnx [1]_ converts the other steps. The sklearn-onnx options
    ``zipmap`` (True or False), ``output_class_labels`` and ``raw_scores`` are
    supported.

    Raises
    ------
    ImportError
        If skl2onnx is not installed; it is part of the extra ``onnx-pipelines``.

    See Also
    --------
    to_onnx : Exports an estimator alone, without skl2onnx.

    References
    ----------
    .. [1] https://onnx.ai/sklearn-onnx

    Examples
    --------
    >>> import skl2onnx
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from skrebatch import ReBatchCNNClassifier, register_onnx_converters
    >>> X, y = load_iris(return_X_y=True)
    >>> model = ReBatchCNNClassifier(max_epochs=5, random_state=0)
    >>> pipeline = make_pipeline(StandardScaler(), model).fit(X, y)
    >>> register_onnx_converters()
    >>> graph = skl2onnx.to_onnx(pipeline, X[:1], options={"zipmap": False}).graph
    >>> [output.name for output in graph.output]
    ['label', 'probabilities']
    """
    skl2onnx = _import("skl2onnx")
    for name, cls in (ESTIMATORS | CV_FORMS).items():
        options = None
        if is_classifier(cls()):
            options = {
                "nocl": [False],  # skl2onnx asks for it where it makes dictionaries
                "zipmap": [True, False],
                "output_class_labels": [False, True],
                "raw_scores": [True, False],  # CalibratedClassifierCV asks for it
            }
        skl2onnx.update_registered_converter(
            cls, f"Skrebatch{name}", _set_types, _convert, options=options
        )


def _import(module: str) -> Any:
    return import_extra(module, "register_onnx_converters", "onnx-pipelines")


def _set_types(operator: Any) -> None:
    """Set the types and shapes of the outputs, as skl2onnx asks for them."""
    types = _import("skl2onnx.common.data_types")
    by_kind = {
        "FLOAT": types.FloatTensorType,
        "INT64": types.Int64TensorType,
        "STRING": types.StringTensorType,
    }
    n_rows = operator.inputs[0].get_first_dimension()
    described = outputs_of(operator.raw_operator).values()
    for variable, (kind, *columns) in zip(operator.outputs, described, strict=True):
        variable.set_type(by_kind[kind]([n_rows, *columns]))


def _convert(scope: Any, operator: Any, container: Any) -> None:
    """Add the graph of an estimator to that of its pipeline."""
    if container.target_opset_onnx < OPSET:
        raise ValueError(
            f"The estimators of skrebatch need opset {OPSET} or newer, got "
            f"target_opset={container.target_opset_onnx}."
        )
    if len(operator.inputs) != 1:
        raise ValueError(
            "The estimators of skrebatch need one table as their input, got "
            f"{len(operator.inputs)} columns: put a ColumnTransformer before them."
        )
    (table,) = operator.inputs
    onnx = _import("onnx")
    kind = onnx.TensorProto.DataType.Name(table.type._get_element_onnx_type())
    raw_scores = container.get_options(operator.raw_operator, {}).get("raw_scores")
    model = make_onnx_model(operator.raw_operator, kind, bool(raw_scores))
    _import("skl2onnx.helpers").add_onnx_graph(scope, operator, container, model)
