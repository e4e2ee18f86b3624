"""Whatever a user has set globally, every function works as ever, and leaves it so."""

import contextlib
import locale
import os
import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
import sklearn
import torch
from helpers.estimators import make, make_cv, make_data, outcome
from sklearn.base import clone
from skorch import NeuralNetRegressor
from skorch.callbacks import GradientNormClipping
from torch import nn

from skrebatch import (
    DynamicBatchSampler,
    FusedGridSearchCV,
    IntervalInsertionSampler,
    LabelIssuesDisplay,
    LossCurveDisplay,
    RatioCurveDisplay,
    ReBatch,
    SampleDynamicsDisplay,
    TabularCNN,
    find_label_issues,
    fit_fused,
    interval_insertion,
    load_model,
    loss_area,
    loss_trend,
    nrmse,
    redistribution_size,
    row_lengths,
    save_model,
    to_onnx,
    training_dynamics,
)
from skrebatch.strategies import STRATEGIES

matplotlib = pytest.importorskip("matplotlib")
pyplot = pytest.importorskip("matplotlib.pyplot")

ROWS = 40


# --- what a user may have set ---


@contextlib.contextmanager
def setting(setter, value, before):
    setter(value)
    try:
        yield
    finally:
        setter(before)


def default_dtype(dtype):
    return setting(torch.set_default_dtype, dtype, torch.get_default_dtype())


def ascii_locale():
    def choose(name):
        locale.setlocale(locale.LC_ALL, name)

    return setting(choose, "C", locale.setlocale(locale.LC_ALL))


@contextlib.contextmanager
def warnings_raise():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


@contextlib.contextmanager
def pandas_options(**options):
    """Set the options that this version of pandas has."""
    with contextlib.ExitStack() as stack:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # some are deprecated
            for name, value in options.items():
                with contextlib.suppress(pd.errors.OptionError):
                    context = pd.option_context(name.replace("__", "."), value)
                    stack.enter_context(context)
        yield


SETTINGS = {
    # This device stands in for "cuda" or "mps": nothing can be computed on it.
    "default device": lambda: setting(torch.set_default_device, "meta", None),
    "default dtype float64": lambda: default_dtype(torch.float64),
    "default dtype bfloat16": lambda: default_dtype(torch.bfloat16),
    "inference mode": torch.inference_mode,
    "no gradients": torch.no_grad,
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "deterministic algorithms": lambda: setting(
        torch.use_deterministic_algorithms, True, False
    ),
    "floating-point errors raise": lambda: np.errstate(all="raise"),
    "warnings raise": warnings_raise,
    "numpy prints little": lambda: np.printoptions(
        precision=1, threshold=2, edgeitems=1, suppress=True, legacy="1.13"
    ),
    "pandas prints little": lambda: pandas_options(
        display__max_rows=1, display__max_columns=1, display__precision=1
    ),
    "pandas strings": lambda: pandas_options(
        future__infer_string="2.3" <= pd.__version__ < "3",  # earlier, of pyarrow alone
        mode__string_storage="python",
    ),
    "pandas copies": lambda: pandas_options(mode__copy_on_write=pd.__version__ < "3"),
    "scikit-learn gives pandas": lambda: sklearn.config_context(
        transform_output="pandas"
    ),
    "scikit-learn routes metadata": lambda: sklearn.config_context(
        enable_metadata_routing=True
    ),
    "scikit-learn checks little": lambda: sklearn.config_context(
        assume_finite=True, skip_parameter_validation=True
    ),
    "ASCII locale": ascii_locale,
}


def state():
    """All that a function might change for others."""
    return {
        "device": torch.empty(0).device,
        "dtype": torch.get_default_dtype(),
        "gradients": torch.is_grad_enabled(),
        "inference": torch.is_inference_mode_enabled(),
        "autocast": torch.is_autocast_enabled("cpu"),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "threads": torch.get_num_threads(),
        "torch's numbers": torch.get_rng_state().tolist(),
        "numpy's numbers": pickle.dumps(np.random.get_state()),  # noqa: NPY002
        "numpy's errors": np.geterr(),
        "numpy prints": np.get_printoptions(),
        "pandas prints": pd.get_option("display.max_rows"),
        "pandas strings": pd.get_option("mode.string_storage"),
        "matplotlib": dict(matplotlib.rcParams),
        "scikit-learn": sklearn.get_config(),
        "warnings": warnings.filters.copy(),
        "locale": locale.setlocale(locale.LC_ALL),
        "folder": os.getcwd(),
        "environment": dict(os.environ),
    }


# --- what they call ---


def data(task="binary"):
    """A table with a column and labels that are not ASCII."""
    X, y = make_data(task, n=ROWS)
    if task == "binary":
        y = pd.Series(np.where(y == 1, "größer", "kleiner"))
    return pd.DataFrame(X, columns=["α", "b", "c", "d", "e"]), y


def fit(task="binary", **params):
    return make(task, record_losses=True, **params).fit(*data(task))


FITTED = {task: fit(task) for task in ("binary", "regression")}


def fits(*params):
    """What fits with these parameters have found out."""
    return [outcome(fit(**one)) for one in params]


def partial_fit():
    X, y = data()
    return outcome(make().partial_fit(X, y).partial_fit(X, y))


def warm_start():
    model = pickle.loads(pickle.dumps(FITTED["binary"]))
    return outcome(model.set_params(warm_start=True).fit(*data()))


def predict():
    (X, y), model, regressor = data(), FITTED["binary"], FITTED["regression"]
    methods = "predict", "predict_proba", "predict_log_proba", "decision_function"
    results = [getattr(model, method)(X) for method in methods]
    far = [model.predict_proba(X * 1e5), regressor.predict(X * 1e-300)]
    return [*results, *far, model.score(X, y), regressor.predict(X)]


def copies():
    model = FITTED["binary"]
    twin = pickle.loads(pickle.dumps(model))
    return [outcome(clone(model).fit(*data())), outcome(twin), twin.predict(data()[0])]


def save_and_load(folder):
    pytest.importorskip("safetensors")
    path = folder / "modèle.safetensors"
    save_model(FITTED["binary"], path)
    return [path.read_bytes(), outcome(load_model(path).partial_fit(*data()))]


def checkpoint(folder):
    pytest.importorskip("safetensors")
    return outcome(fit(checkpoint_dir=folder, checkpoint_every=1))


def onnx(folder):
    pytest.importorskip("onnx")
    to_onnx(FITTED["binary"], folder / "modèle.onnx")
    return (folder / "modèle.onnx").read_bytes()


def scores_of(search):
    return [v for name, v in search.cv_results_.items() if name.startswith("split")]


def search():
    grid = {"ratio": [0.1, 0.5], "strategy": ["min-loss", "ohem"]}
    grids = [grid, {"callbacks": [[GradientNormClipping(1.0)]]}]
    found = FusedGridSearchCV(make(), grids, cv=2, error_score="raise").fit(*data())
    return [scores_of(found), outcome(found.best_estimator_)]


def choice():
    results = []
    for task in ("binary", "regression"):
        model = make_cv(task).fit(*data(task))
        results += [scores_of(model), outcome(model.best_estimator_)]
    return results


def fused():
    models = [make(ratio=ratio, early_stopping=True) for ratio in (0.1, 0.5)]
    return [outcome(model) for model in fit_fused(models, *data())]


def callback():
    X, y = (array.astype(np.float32) for array in make_data("multi-target", n=ROWS))
    rebatch = ReBatch(0.25, "ohem", record_losses=True, random_state=0)
    options = {"max_epochs": 3, "verbose": 0, "train_split": None}
    module = nn.Linear(5, 2, dtype=torch.float32)
    net = NeuralNetRegressor(module, callbacks=[rebatch], **options).fit(X, y)
    assert len(net.history) == 3
    return rebatch.recorded_losses_.shape


def samplers():
    sampler = IntervalInsertionSampler(12, 2, random_state=0)
    sampler.redistribute(np.array([1, 5]))
    return [
        list(sampler),
        list(DynamicBatchSampler([2, 9, 3, 8], 18, random_state=0)),
        interval_insertion(range(6), [1, 2], 2),
        redistribution_size(40, 0.3),
        row_lengths(np.array([[1, 2, np.nan], [1, np.nan, np.nan]])),
    ]


def issues(task="binary"):
    """The quality of the labels, by a network and the preparation of its features."""
    X, y = data(task)
    return find_label_issues(X.assign(kind=["a", "b"] * 20), y, make(task))


def inspect():
    curve = FITTED["binary"].loss_curve_
    found = issues(), issues("regression")
    return [
        *(frame["label_quality"].to_numpy() for frame in found),
        *(frame["is_label_issue"].to_numpy() for frame in found),
        *(training_dynamics(m).to_numpy(float, na_value=-1) for m in FITTED.values()),
        loss_area([5.0, 4.0, np.nan, 2.0], curve),
        loss_trend([1e-300, 2e-300, np.nan, 4.0]),
        nrmse([1e-200, 2.0, 4.0], [1.0, 2.5, 3.0]),
    ]


def network():
    generator = torch.Generator().manual_seed(0)
    module = TabularCNN(5, 2, generator=generator)
    X, _ = make_data(n=3)
    rows = torch.tensor(X, dtype=torch.float64)
    return module.double()(rows).detach().numpy()


def plots():
    found = FusedGridSearchCV(make(), {"ratio": [0.1, 0.5]}, cv=2).fit(*data())
    displays = [
        LossCurveDisplay.from_estimator(FITTED["binary"], fit_line=True),
        RatioCurveDisplay.from_search(found),
        SampleDynamicsDisplay.from_estimator(FITTED["regression"]),
        LabelIssuesDisplay.from_frame(issues()),
    ]
    axes = [np.ravel(display.ax_)[0] for display in displays]
    for ax in axes:
        ax.figure.canvas.draw()
    pyplot.close("all")
    lines = [line.get_xydata() for ax in axes for line in ax.lines]
    return [lines, [text.get_text() for ax in axes for text in ax.texts]]


FUNCTIONS = {
    "fit": lambda: fits(
        {"task": "multiclass", "early_stopping": True, "lr_schedule": "cosine"},
        {"precision": "bf16", "batch_norm": True, "dropout": 0.2, "n_augments": 1},
        {"task": "regression", "optimizer": torch.optim.RAdam, "n_networks": 2},
        {"task": "multi-target", "architecture": "mlp", "dtype": "float64"},
        {"class_weight": "balanced", "variable_length": True, "input_clip": 2.0},
    ),
    "strategies": lambda: fits(*({"strategy": name} for name in STRATEGIES)),
    "partial_fit": partial_fit,
    "warm start": warm_start,
    "predict": predict,
    "copies": copies,
    "save and load": save_and_load,
    "checkpoint": checkpoint,
    "onnx": onnx,
    "search": search,
    "ratio by cross-validation": choice,
    "fit_fused": fused,
    "callback": callback,
    "samplers": samplers,
    "inspection": inspect,
    "network": network,
    "plots": plots,
    "text": lambda: repr(FITTED["binary"]),
    "HTML": lambda: len(FITTED["binary"]._repr_html_()) > 1000,
}

# What the libraries themselves can't do.
IMPOSSIBLE = {
    ("default device", "callback"): "a DataLoader of torch needs a real device",
    ("default device", "network"): "a module of torch is made on the default device",
    ("inference mode", "callback"): "torch can't train in inference mode",
    ("ASCII locale", "HTML"): "scikit-learn reads its style sheet by the locale",
}
EXPECTED = {}


def call(name, folder):
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002
    function = FUNCTIONS[name]
    needs_folder = "folder" in function.__code__.co_varnames
    before = state()
    result = function(folder) if needs_folder else function()
    after = state()
    if name == "callback":  # skorch and DataLoader draw from torch
        del before["torch's numbers"], after["torch's numbers"]
    assert after == before
    return result


@pytest.mark.filterwarnings("ignore:noise_std=")
@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("setting", SETTINGS)
def test_functions_work_as_ever_and_leave_all_settings(setting, name, tmp_path):
    if (setting, name) in IMPOSSIBLE:
        pytest.skip(IMPOSSIBLE[setting, name])
    folders = tmp_path / "usual", tmp_path / "own"
    for folder in folders:
        folder.mkdir()
    if name not in EXPECTED:
        EXPECTED[name] = call(name, folders[0])
    with SETTINGS[setting]():
        result = call(name, folders[1])
    np.testing.assert_equal(result, EXPECTED[name])


@pytest.mark.parametrize("setting", SETTINGS)
def test_what_was_made_under_a_setting_is_used_without_it(setting, tmp_path):
    def make_models():
        models = [fit(), *fit_fused([make(), make()], *data()), make()]
        models[-1].partial_fit(*data())
        return models

    with SETTINGS[setting]():
        models = make_models()
    for model, expected in zip(models[:3], make_models(), strict=False):
        np.testing.assert_equal(
            outcome(model.partial_fit(*data()))[0],
            outcome(expected.partial_fit(*data()))[0],
        )
    outputs = models[-1].module_(torch.zeros(1, 5))
    outputs.sum().backward()
    assert all(p.grad is not None for p in models[-1].module_.parameters())
