"""Pipelines that are saved whole: with skops, and as ONNX graphs by skl2onnx."""

import pickle
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from helpers.estimators import SINGLE, First, make, make_cv, make_data
from helpers.saved import assert_same_state
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from skorch.callbacks import EarlyStopping

from skrebatch import (
    ReBatchCNNClassifier,
    ReBatchCNNClassifierCV,
    ReBatchCNNRegressor,
    ReBatchCNNRegressorCV,
    register_onnx_converters,
    save_model,
    to_onnx,
    training_dynamics,
)

TOLERANCE = 1e-5
TRUSTED = {
    cls: f"{cls.__module__}.{cls.__name__}"
    for cls in (
        ReBatchCNNClassifier,
        ReBatchCNNClassifierCV,
        ReBatchCNNRegressor,
        ReBatchCNNRegressorCV,
    )
}
FOLDS = {"n_networks": 5, "early_stopping": True, "record_losses": True}
CASES = {
    "folds": ("multiclass", FOLDS),
    "folds of a regression": ("multi-target", {**FOLDS, "loss_smoothing": 0.5}),
    "projected": (
        "binary",
        {"architecture": "projected-cnn", "input_clip": 2.0, "batch_norm": True},
    ),
    "perceptron": (
        "multi-label",
        {"architecture": "mlp", "n_networks": 2},
    ),
    "convolutions": (
        "regression",
        {"conv_channels": (3, 2, 2), "dropout": 0.2, "dtype": "float64"},
    ),
}


# --- skops ---


def through_skops(model, expected):
    """Save and load with skops, where only the expected types need trust."""
    sio = pytest.importorskip("skops.io")
    data = sio.dumps(model)
    assert set(sio.get_untrusted_types(data=data)) == set(expected)
    return sio.loads(data, trusted=list(expected))


@pytest.mark.parametrize("case", CASES)
def test_skops_keeps_all_and_trusts_only_our_class(case):
    task, options = CASES[case]
    X, y = make_data(task)
    pipeline = make_pipeline(StandardScaler(), make(task, **options)).fit(X, y)
    model = pipeline[-1]
    loaded = through_skops(pipeline, [TRUSTED[type(model)]])
    np.testing.assert_array_equal(loaded.predict(X), pipeline.predict(X))
    twin = loaded[-1]
    assert_same_state(model, twin)
    for name in ("oof_decision_function_", "oof_prediction_", "recorded_losses_"):
        assert hasattr(twin, name) == hasattr(model, name)
    model = pickle.loads(pickle.dumps(model))
    for either in (model, twin):
        either.set_params(early_stopping=False).partial_fit(X, y)
    assert_same_state(model, twin)


def test_skops_keeps_searches_and_estimators_that_are_not_fitted():
    X, y = make_data()
    model = make(max_epochs=1, ratio=0.2)
    search = GridSearchCV(model, {"repeats": [1, 2]}, cv=2).fit(X, y)
    expected = [TRUSTED[ReBatchCNNClassifier]]
    # Which parts of scikit-learn's searches skops trusts depends on the versions.
    sio = pytest.importorskip("skops.io")
    untrusted = sio.get_untrusted_types(data=sio.dumps(search))
    of_sklearn = [name for name in untrusted if name.startswith("sklearn.")]
    loaded = through_skops(search, [*expected, *of_sklearn])
    np.testing.assert_array_equal(loaded.predict_proba(X), search.predict_proba(X))
    unfitted = through_skops(model, expected)
    assert vars(unfitted) == vars(model)


@pytest.mark.parametrize("task", ["binary", "regression"])
def test_skops_keeps_estimators_that_choose_among_candidates(task):
    X, y = make_data(task)
    model = make_cv(task, max_epochs=2).fit(X, y)
    expected = [TRUSTED[type(model)], TRUSTED[type(model.estimator)]]
    loaded = through_skops(model, expected)
    assert repr(loaded) == repr(model)
    assert loaded.best_params_ == model.best_params_
    assert_same_state(model.best_estimator_, loaded.best_estimator_)
    np.testing.assert_array_equal(loaded.predict(X), model.predict(X))


def test_skops_asks_for_trust_in_what_is_not_ours():
    X, y = make_data()
    model = make(strategy=First(), callbacks=[EarlyStopping("train_loss")]).fit(X, y)
    expected = {
        TRUSTED[type(model)],
        "helpers.estimators.First",
        "skorch.callbacks.training.EarlyStopping",
        "builtins.print",
    }
    loaded = through_skops(model, expected)
    assert type(loaded.strategy) is First
    assert loaded.callbacks[0].monitor == "train_loss"
    assert_same_state(
        model.set_params(callbacks=None), loaded.set_params(callbacks=None)
    )


def test_skops_keeps_the_names_of_rows_that_it_can():
    X, y = make_data()
    names = pd.Index([f"row {i}" for i in range(len(X))])
    model = make(record_losses=True, max_epochs=1).fit(pd.DataFrame(X, names), y)
    expected = [TRUSTED[type(model)]]
    loaded = through_skops(model, expected)
    pd.testing.assert_frame_equal(training_dynamics(loaded), training_dynamics(model))
    model.sample_index_ = pd.Index(
        [(i, object()) for i in range(len(X))], tupleize_cols=False
    )
    with pytest.warns(UserWarning, match="`sample_index_` is left out"):
        assert not hasattr(through_skops(model, expected), "sample_index_")


def test_a_network_that_is_not_finite_has_no_plain_state():
    model = make(max_epochs=1).fit(*make_data())
    model.module_.head[2].bias.data[0] = np.inf
    with pytest.raises(ValueError, match=r"network\.0\.head\.2\.bias contains NaN"):
        model.__getstate__()


# --- ONNX ---


def outputs_of(graph, columns):
    runtime = pytest.importorskip("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1
    session = runtime.InferenceSession(graph.SerializeToString(), options)
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, columns), strict=True))


def to_graph(model, X, **options):
    skl2onnx = pytest.importorskip("skl2onnx")
    register_onnx_converters()
    if hasattr(model, "classes_"):
        options.setdefault("options", {"zipmap": False})
    return skl2onnx.to_onnx(model, X[:1], **options)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", CASES)
def test_a_scaler_and_an_estimator_as_one_graph(case, dtype):
    task, options = CASES[case]
    X, y = make_data(task)
    X = (100 + 10 * X).astype(dtype)
    pipeline = make_pipeline(StandardScaler(), make(task, **options)).fit(X, y)
    results = outputs_of(to_graph(pipeline, X), {"X": X})
    expected = pipeline.predict(X)
    if "variable" in results:
        model = pipeline[-1]
        error = results["variable"] - expected.reshape(len(X), -1)
        assert abs(error / model.target_scale_).max() < TOLERANCE
    else:
        proba = pipeline.predict_proba(X)
        assert abs(results["probabilities"] - proba).max() < TOLERANCE
        np.testing.assert_array_equal(results["label"], expected)


@pytest.mark.parametrize("n_networks", [1, 3])
@pytest.mark.parametrize("task", ["binary", "multiclass"])
def test_a_calibrated_classifier_as_a_graph(task, n_networks):
    X, y = make_data(task)
    X = X.astype("float32")
    network = make(task, n_networks=n_networks, early_stopping=False, max_epochs=3)
    model = CalibratedClassifierCV(network, cv=2).fit(X, y)
    results = outputs_of(to_graph(model, X), {"X": X})
    assert abs(results["probabilities"] - model.predict_proba(X)).max() < TOLERANCE
    np.testing.assert_array_equal(results["label"], model.predict(X))


@pytest.mark.parametrize("unit", [1e38, 1e-50])
def test_a_scale_that_float32_does_not_have_is_refused(unit):
    X, y = make_data("regression")
    model = make("regression", standardize_target=True).fit(X, unit * y)
    with pytest.raises(ValueError, match="can't represent the scale of the targets"):
        to_graph(make_pipeline(model), X)


@pytest.mark.parametrize("task", ["binary", "regression"])
def test_the_graph_of_a_cv_form_is_that_of_its_best_estimator(task):
    X, y = make_data(task)
    model = make_cv(task, max_epochs=2).fit(X, y)
    own, best = (
        outputs_of(to_graph(make_pipeline(one), X), {"X": X})
        for one in (model, model.best_estimator_)
    )
    assert own.keys() == best.keys()
    for name in own:
        np.testing.assert_array_equal(own[name], best[name])


def mixed_table(n=60):
    """Numbers and words, some of them missing, and labels that are words."""
    rng = np.random.default_rng(0)
    towns = rng.choice(["Ghent", "Kyoto", "Lima"], n)
    table = pd.DataFrame(rng.normal(size=(n, 2)), columns=["width", "height"])
    y = np.where(table["width"] + (towns == "Lima") > 0.3, "yes", "no")
    # onnxruntime imputes in float32 only.
    table = table.mask(rng.random((n, 2)) < 0.1).astype("float32")
    return table.assign(town=towns), y


def mixed_pipeline(**options):
    numbers = make_pipeline(SimpleImputer(), StandardScaler())
    words = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    columns = ColumnTransformer(
        [("numbers", numbers, ["width", "height"]), ("words", words, ["town"])]
    )
    model = ReBatchCNNClassifier(
        **{**SINGLE, "max_epochs": 4, "random_state": 0, "lr": 0.02, **options}
    )
    return make_pipeline(columns, model)


WITHOUT_PANDAS = """
import sys
from importlib.machinery import PathFinder
find = PathFinder.find_spec
PathFinder.find_spec = lambda name, *rest: (
    None if name == "pandas" else find(name, *rest)
)
import numpy as np, onnxruntime, polars, skops.io
folder = sys.argv[1]
with np.load(folder + "/table.npz") as arrays:
    columns = dict(arrays)
pipeline = skops.io.load(folder + "/model.skops", trusted=sys.argv[2:])
print(*pipeline.predict(polars.DataFrame({n: c[:, 0] for n, c in columns.items()})))
session = onnxruntime.InferenceSession(folder + "/model.onnx")
columns["town"] = columns["town"].astype(object)
print(*session.run(["label"], columns)[0])
"""


def test_a_column_transformer_gives_the_same_labels_without_pandas(tmp_path):
    sio = pytest.importorskip("skops.io")
    pytest.importorskip("polars")
    table, y = mixed_table()
    pipeline = mixed_pipeline(n_networks=2).fit(table, y)
    graph = to_graph(pipeline, table)
    columns = {name: table[[name]].to_numpy() for name in table}
    proba = outputs_of(graph, columns)["probabilities"]
    assert abs(proba - pipeline.predict_proba(table)).max() < TOLERANCE

    sio.dump(pipeline, tmp_path / "model.skops")
    (tmp_path / "model.onnx").write_bytes(graph.SerializeToString())
    columns["town"] = columns["town"].astype(str)
    np.savez(tmp_path / "table.npz", **columns)
    # The other types are those of scikit-learn's steps, and depend on its version.
    trusted = sio.get_untrusted_types(file=tmp_path / "model.skops")
    own = {name for name in trusted if not name.startswith(("sklearn.", "numpy."))}
    assert own == {TRUSTED[ReBatchCNNClassifier]}
    result = subprocess.run(
        [sys.executable, "-c", WITHOUT_PANDAS, str(tmp_path), *trusted],
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    expected = pipeline.predict(table)
    assert set(expected) == {"yes", "no"}
    for line in result.stdout.splitlines():
        assert line.split() == list(expected)


def test_probabilities_by_name_of_the_class():
    X, y = make_data()
    words = np.array(["no", "yes"])[y]
    pipeline = make_pipeline(StandardScaler(), make(max_epochs=1)).fit(X, words)
    results = outputs_of(to_graph(pipeline, X, options={"zipmap": True}), {"X": X})
    (first, *_), proba = results["output_probability"], pipeline.predict_proba(X)
    assert first == pytest.approx(
        dict(zip(["no", "yes"], proba[0], strict=True)), abs=TOLERANCE
    )


def test_what_a_graph_can_not_hold():
    X, y = make_data()
    model = make(max_epochs=1).fit(X, y)
    with pytest.raises(ValueError, match="need opset 15 or newer, got target_opset=14"):
        to_graph(model, X, target_opset=14)
    with pytest.raises(ValueError, match="one table as their input, got 5 columns"):
        to_graph(model, pd.DataFrame(X, columns=list("abcde")))


def test_errors_say_how_a_pipeline_is_saved_whole(tmp_path):
    pipeline = make_pipeline(StandardScaler(), ReBatchCNNRegressor())
    with pytest.raises(TypeError, match=r"or save it whole with skops\.io\.dump"):
        save_model(pipeline, tmp_path / "model")
    with pytest.raises(TypeError, match=r"skl2onnx\.to_onnx, after register_onnx"):
        to_onnx(pipeline, tmp_path / "model")


def test_a_missing_skl2onnx_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "skl2onnx", None)
    with pytest.raises(ImportError, match=r'pip install "skrebatch\[onnx-pipelines\]"'):
        register_onnx_converters()
