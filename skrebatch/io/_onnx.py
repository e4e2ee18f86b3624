"""Export of fitted estimators to ONNX, for prediction without Python."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import is_regressor
from torch import nn

from skrebatch._engine.nn.clipping import LARGEST_RATIO
from skrebatch._engine.nn.tabular_cnn import TabularCNN, networks_of
from skrebatch._engine.serialization.atomic_write import replace_file
from skrebatch._utils.extras import import_extra
from skrebatch._utils.settings import with_default_settings
from skrebatch.estimators._classifier import is_multilabel
from skrebatch.io._model_files import check_savable, package_versions

# These versions of 2021 and 2022 contain all operators that are needed, and many
# runtimes support them.
OPSET, _IR_VERSION = 15, 8
# The smallest probability whose logarithm is computed.
_TINY = np.array(1e-37)


@with_default_settings
def to_onnx(estimator: Any, path: str | os.PathLike[str]) -> None:
    """Export the prediction of a fitted estimator as an ONNX graph.

    The ONNX [1]_ graph accepts any number of rows and computes in float32. The names of
    its input and outputs are those of sklearn-onnx with ``zipmap=False`` [2]_. Writing
    is atomic: if it fails, an existing file is left unchanged.

    =================  ==================================================  ===========
    name               content                                             dtype
    =================  ==================================================  ===========
    ``X``              input (n_samples, n_features)                       float32
    ``label``          output of classifiers (n_samples,), of multi-label  int64, string
                       classifiers (n_samples, n_classes), 0 or 1
    ``probabilities``  output of classifiers (n_samples, n_classes)        float32
    ``variable``       output of regressors (n_samples, n_outputs)         float32
    =================  ==================================================  ===========

    Parameters
    ----------
    estimator : ReBatchCNNClassifier, ReBatchCNNRegressor or one of their CV forms
        Fitted estimator. To export a pipeline or a search, pass its last step or its
        `best_estimator_`; for whole pipelines see :func:`register_onnx_converters`.
    path : str or path-like
        Path of the file. An existing file is replaced.

    Raises
    ------
    TypeError
        If the estimator is not one of the classes above.
    sklearn.exceptions.NotFittedError
        If the estimator is not fitted.
    ValueError
        If the estimator has ``variable_length=True``, or labels that are neither
        strings nor integers.
    OSError
        If the file can't be written.
    ImportError
        If onnx is not installed; it is part of the extra ``onnx``.

    See Also
    --------
    register_onnx_converters : Exports whole pipelines.
    save_model : Saves an estimator for prediction, inspection and training in Python.

    References
    ----------
    .. [1] https://onnx.ai
    .. [2] https://onnx.ai/sklearn-onnx

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import onnx
    >>> from sklearn.datasets import load_iris
    >>> from skrebatch import ReBatchCNNClassifier, to_onnx
    >>> X, y = load_iris(return_X_y=True)
    >>> model = ReBatchCNNClassifier(max_epochs=5, random_state=0).fit(X, y)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     to_onnx(model, Path(folder, "iris.onnx"))
    ...     graph = onnx.load(Path(folder, "iris.onnx")).graph
    >>> [output.name for output in graph.output]
    ['label', 'probabilities']
    """
    onnx = import_extra("onnx", "to_onnx", "onnx")
    check_savable(
        estimator,
        "to_onnx",
        "export it whole with skl2onnx.to_onnx, after register_onnx_converters()",
    )
    model = make_onnx_model(estimator)
    onnx.checker.check_model(model, full_check=True)
    replace_file(path, [model.SerializeToString()])


def make_onnx_model(
    estimator: Any, input_kind: str = "FLOAT", raw_scores: bool = False
) -> Any:
    """Return the prediction of a fitted estimator as an ONNX model.

    Parameters
    ----------
    estimator : estimator of this package
    input_kind : str, default="FLOAT"
        Name of the dtype of the input in ONNX; the model casts it to float32.
    raw_scores : bool, default=False
        Whether a classifier returns logits instead of probabilities, one for each
        class.

    Returns
    -------
    model : onnx.ModelProto
    """
    estimator = _final(estimator)
    networks = networks_of(estimator.module_)
    if networks[0].architecture.variable_length:
        raise ValueError(
            "to_onnx can't export an estimator with variable_length=True, because the "
            "computation depends on the lengths of the rows. save_model can save it."
        )
    graph = _Graph(import_extra("onnx", "to_onnx", "onnx"), input_kind)
    if is_regressor(estimator):
        scales = estimator.target_mean_, estimator.target_scale_
        targets = [graph.add_network(net, *_unscaled(net, *scales)) for net in networks]
        graph.add("Mean", *targets, output="variable")
    elif is_multilabel(estimator):
        logits = [graph.add_network(net, *_last_layer(net)) for net in networks]
        probas = [graph.add("Sigmoid", output) for output in logits]
        proba = graph.add("Mean", *probas, output="probabilities")
        scores, bound = (logits[0], 0.0) if len(logits) == 1 else (proba, 0.5)
        positive = graph.add("Greater", scores, np.array(bound))
        graph.add("Cast", positive, to=graph.dtype("INT64"), output="label")
    else:
        labels = _labels(estimator.classes_)
        logits = [graph.add_network(net, *_class_logits(net)) for net in networks]
        probas = [graph.add("Softmax", output, axis=1) for output in logits]
        output = "" if raw_scores else "probabilities"
        proba = graph.add("Mean", *probas, output=output)
        # Like `predict`, use the logits of a single network: different logits may have
        # equal probabilities after rounding.
        scores = logits[0] if len(logits) == 1 else proba
        codes = graph.add("ArgMax", scores, axis=1, keepdims=0)
        graph.add("Gather", labels, codes, output="label")
        if raw_scores:
            if len(logits) > 1:
                scores = graph.add("Log", graph.add("Max", proba, _TINY))
            graph.add("MatMul", scores, _differences(labels), output="probabilities")
    table = {"X": (input_kind, estimator.n_features_in_)}
    return graph.make_model(table, outputs_of(estimator))


def outputs_of(estimator: Any) -> dict[str, tuple[Any, ...]]:
    """Return the dtype and the columns of each output of the ONNX model, by name."""
    estimator = _final(estimator)
    if is_regressor(estimator):
        return {"variable": ("FLOAT", estimator.n_outputs_)}
    n_classes = len(estimator.classes_)
    if is_multilabel(estimator):
        label: tuple[Any, ...] = "INT64", n_classes
    else:
        is_text = _labels(estimator.classes_).dtype == object
        label = ("STRING" if is_text else "INT64",)
    return {"label": label, "probabilities": ("FLOAT", n_classes)}


def _final(estimator: Any) -> Any:
    """Return the best estimator of a CV form, or the estimator itself."""
    return getattr(estimator, "best_estimator_", estimator)


def _labels(classes: NDArray[Any]) -> NDArray[Any]:
    """Return labels as int64, or as an object array of strings."""
    if all(isinstance(label, str) for label in classes):
        return classes.astype(object)
    if classes.dtype.kind in "biuf":
        with np.errstate(invalid="ignore"):
            numbers = classes.astype(np.int64)
        if (numbers == classes).all():
            return numbers
    raise ValueError(
        "to_onnx requires labels that are strings or 64-bit integers, got "
        f"{classes.tolist()}."
    )


def _differences(labels: NDArray[Any]) -> NDArray[np.float64]:
    """Return the matrix from logits to scores; of two classes, their difference."""
    return np.array([[1.0, -1], [-1, 1]]) if len(labels) == 2 else np.eye(len(labels))


def _last_layer(network: TabularCNN) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return weights (O, n_in) and bias (O,) of the last layer, in float64."""
    last: Any = network.head[-1]
    weight, bias = last.weight.detach().double(), last.bias.detach().double()
    return weight.cpu().numpy(), bias.cpu().numpy()


def _class_logits(network: TabularCNN) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return a last layer with one logit for each class; 0 and z for two classes."""
    weight, bias = _last_layer(network)
    if len(bias) > 1:
        return weight, bias
    return np.vstack([0 * weight, weight]), np.hstack([0 * bias, bias])


def _unscaled(
    network: TabularCNN, mean: NDArray[Any], scale: NDArray[Any]
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return a last layer whose outputs are targets on the original scale."""
    weight, bias = _last_layer(network)
    return weight * scale[:, None], bias * scale + mean


class _Graph:
    """Builder of an ONNX graph."""

    def __init__(self, onnx: Any, input_kind: str):
        self.onnx = onnx
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self.table = "X"
        if input_kind != "FLOAT":
            self.table = self.add("Cast", "X", to=self.dtype("FLOAT"))

    def dtype(self, kind: str) -> int:
        """Return the number of a dtype in ONNX from its name."""
        number: int = self.onnx.TensorProto.DataType.Value(kind)
        return number

    def add(
        self, operation: str, *inputs: Any, output: str = "", **attributes: Any
    ) -> str:
        """Add a node with names or constants as inputs; return its output's name."""
        names = [v if isinstance(v, str) else self._add_constant(v) for v in inputs]
        output = output or f"{operation.lower()}_{len(self.nodes)}"
        make = self.onnx.helper.make_node
        self.nodes.append(make(operation, names, [output], name=output, **attributes))
        return output

    def _add_constant(self, value: Any) -> str:
        """Add a constant, with floats converted to float32; return its name."""
        if isinstance(value, torch.Tensor):
            value = value.detach().cpu().numpy()
        if value.dtype.kind == "f":
            exact = value
            with np.errstate(over="ignore"):
                value = exact.astype(np.float32)
            if not np.isfinite(value).all() or (exact.any() and not value.any()):
                raise ValueError(
                    "to_onnx computes in float32, which can't represent the scale of "
                    "the targets or the weights. Scale the targets before the fit."
                )
        name = f"constant_{len(self.constants)}"
        self.constants.append(self.onnx.numpy_helper.from_array(value, name))
        return name

    def add_network(
        self, network: TabularCNN, last_weight: NDArray[Any], last_bias: NDArray[Any]
    ) -> str:
        """Add a network with the given last layer; return the name of its output."""
        x = self.table
        if network.architecture.clips_inputs:
            x = self._add_clipped(x, network.input_clip)
        if network.architecture.blocks:
            x = self._add_sequences(x, network)
        head: Any = network.head
        layer: Any
        for block, layer in zip(
            network.architecture.blocks, network.features, strict=True
        ):
            conv, pads = layer[1], [block.left, block.right]
            x = self.add("Conv", x, conv.weight, conv.bias, pads=pads)
            x = self.add("Relu", x)
            kernel, strides = [block.pool_size], [block.pool_stride]
            x = self.add("MaxPool", x, kernel_shape=kernel, strides=strides)
        if network.architecture.blocks:
            x = self.add("Flatten", x)  # (n, C, L) -> (n, C * L)
        for layer in head[:-1]:
            if isinstance(layer, nn.Linear):
                x = self.add("Gemm", x, layer.weight, layer.bias, transB=1)
            elif isinstance(layer, nn.BatchNorm1d):
                norm = layer.weight, layer.bias, layer.running_mean, layer.running_var
                x = self.add("BatchNormalization", x, *norm, epsilon=layer.eps)
            elif isinstance(layer, nn.ReLU):
                x = self.add("Relu", x)
        return self.add("Gemm", x, last_weight, last_bias, transB=1)

    def _add_clipped(self, x: str, limit: torch.Tensor) -> str:
        """Add what :func:`clip_smoothly` computes; return the name of its output."""
        bounds = np.array(-LARGEST_RATIO), np.array(LARGEST_RATIO)
        ratio = self.add("Clip", self.add("Div", x, limit), *bounds)
        square = self.add("Mul", ratio, ratio)
        root = self.add("Sqrt", self.add("Add", square, np.array(1.0)))
        return self.add("Mul", self.add("Div", ratio, root), limit)

    def _add_sequences(self, x: str, network: TabularCNN) -> str:
        """Add what makes the rows sequences; return the name of its output."""
        if network.architecture.projection is None:
            return self.add("Unsqueeze", x, np.array([1]))  # (n, F) -> (n, 1, F)
        channels, positions = network.architecture.projection
        layer = network.projection
        x = self.add("Relu", self.add("Gemm", x, layer.weight, layer.bias, transB=1))
        # In a shape, 0 is the size that there is: (n, L * C) -> (n, L, C) -> (n, C, L)
        x = self.add("Reshape", x, np.array([0, positions, channels]))
        return self.add("Transpose", x, perm=[0, 2, 1])

    def make_model(
        self, inputs: dict[str, tuple[Any, ...]], outputs: dict[str, tuple[Any, ...]]
    ) -> Any:
        """Return the model, from the dtype and the columns of inputs and outputs."""
        helper = self.onnx.helper
        given, computed = (
            [
                helper.make_tensor_value_info(
                    name, self.dtype(kind), ["n_samples", *columns]
                )
                for name, (kind, *columns) in described.items()
            ]
            for described in (inputs, outputs)
        )
        graph = helper.make_graph(
            self.nodes, "skrebatch", given, computed, self.constants
        )
        return helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=_IR_VERSION,
            producer_name="skrebatch",
            producer_version=package_versions()["skrebatch"],
        )
