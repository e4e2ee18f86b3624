from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import datasets
import numpy as np
import pandas as pd
import pytest
from datasets import ENTRIES, load

BUNDLED = ["breast_cancer", "diabetes"]
FILES = [name for name, entry in ENTRIES.items() if "file" in entry]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty data folder, the only one there is."""
    monkeypatch.setenv("SKREBATCH_DATA", str(tmp_path))
    monkeypatch.setattr(datasets, "SHARED_DATA", tmp_path / "nowhere")
    return tmp_path


def pima(n_rows=768, n_ones=268):
    """A table in the form of the Pima Indians file."""
    table = pd.DataFrame(np.arange(n_rows * 8).reshape(n_rows, 8)).add_prefix("x")
    return table.assign(outcome=np.arange(n_rows) < n_ones)


def insurance():
    """A table in the form of the insurance file."""
    rows = np.arange(1338)
    return pd.DataFrame(
        {
            "age": rows,
            "sex": np.where(rows % 2, "female", "male"),
            "bmi": rows / 7,
            "children": rows % 5,
            "smoker": np.where(rows % 3, "yes", "no"),
            "region": np.array(["ne", "nw", "se", "sw"])[rows % 4],
            "charges": rows * 10.0,
        }
    )


@pytest.mark.parametrize("name", BUNDLED)
def test_bundled_sets_need_no_file(name, folder):
    dataset = load(name)
    assert dataset.X.shape == tuple(ENTRIES[name]["shape"])
    assert len(dataset.y) == len(dataset.X)
    assert dataset.source == f"scikit-learn's load_{name}"
    scaled = dataset.preprocessor().fit_transform(dataset.X)
    np.testing.assert_allclose(np.mean(scaled, axis=0), 0, atol=1e-9)
    np.testing.assert_allclose(np.std(scaled, axis=0), 1)


def test_tasks():
    assert load("breast_cancer").task == "classification"
    assert load("diabetes").task == "regression"


@pytest.mark.parametrize("name", FILES)
def test_shared_files(name):
    entry, file = ENTRIES[name], ENTRIES[name]["file"]
    if not (datasets.SHARED_DATA / file).is_file():
        pytest.skip(f"{file} is not in {datasets.SHARED_DATA}")
    dataset = load(name)
    n_samples = int(entry["shape"][0] * entry.get("sample", 1))
    if name == "ccfd":  # of which the frauds are all kept
        n_samples = int((entry["shape"][0] - 492) * entry["sample"]) + 492
    assert dataset.X.shape == (n_samples, entry["shape"][1])
    assert dataset.source.startswith(file)
    assert (dataset.task == "classification") == ("n_positive" in entry)
    if "n_positive" in entry:
        n_positive = entry["n_positive"][0]
        assert np.bincount(dataset.y).tolist() == [n_samples - n_positive, n_positive]
    prepared = dataset.preprocessor().fit_transform(dataset.X)
    width = 11 if name == "insurance" else entry["shape"][1]
    assert prepared.shape == (n_samples, width)
    assert np.isfinite(prepared).all()


def test_california_sample_is_the_same_every_time():
    if not (datasets.SHARED_DATA / ENTRIES["chp"]["file"]).is_file():
        pytest.skip(f"no California housing in {datasets.SHARED_DATA}")
    first, second = load("chp"), load("chp")
    pd.testing.assert_frame_equal(first.X, second.X)
    np.testing.assert_array_equal(first.y, second.y)
    assert not first.X.duplicated().any()


def test_the_named_folder_comes_before_the_shared_one(folder, tmp_path, monkeypatch):
    shared = tmp_path / "shared"
    shared.mkdir()
    monkeypatch.setattr(datasets, "SHARED_DATA", shared)
    table = pima()
    table.to_csv(shared / "pima_indians_diabetes.csv", index=False)
    assert load("pid").X.to_numpy().max() == 768 * 8 - 1
    table["x0"] += 10_000
    table.to_csv(folder / "pima_indians_diabetes.csv", index=False)
    assert load("pid").X.to_numpy().max() > 10_000


def test_target_and_features_of_a_file(folder):
    pima().to_csv(folder / "pima_indians_diabetes.csv", index=False)
    dataset = load("pid")
    assert list(dataset.X) == [f"x{i}" for i in range(8)]
    assert dataset.y.tolist() == [1] * 268 + [0] * 500


def test_categories_become_a_column_each(folder):
    insurance().to_csv(folder / "insurance.csv", index=False)
    dataset = load("insurance")
    prepared = dataset.preprocessor().fit_transform(dataset.X)
    assert prepared.shape == (1338, 11)
    # sex, smoker and region: one column of each is 1 in every row.
    assert (prepared[:, 3:].sum(axis=1) == 3).all()
    assert set(np.unique(prepared[:, 3:])) == {0, 1}


def test_missing_values_are_filled_from_the_rows_fitted(folder):
    table = insurance()
    table.loc[:2, "age"] = np.nan
    table.loc[:2, "smoker"] = np.nan
    table.to_csv(folder / "insurance.csv", index=False)
    dataset = load("insurance")
    prepared = dataset.preprocessor().fit(dataset.X[3:]).transform(dataset.X)
    assert prepared.shape == (1338, 11)
    median = (3 + 1337) / 2
    expected = (median - np.mean(np.arange(3, 1338))) / np.std(np.arange(3, 1338))
    np.testing.assert_allclose(prepared[:3, 0], expected, atol=1e-12)
    np.testing.assert_array_equal(prepared[:3, 5:7], [[0, 1]] * 3)  # most say yes


def credit_cards(n_rows=2000, n_frauds=7):
    """A small table in the form of the credit card file."""
    names = ["Time", *(f"V{i}" for i in range(1, 29)), "Amount"]
    table = pd.DataFrame(np.arange(n_rows * 30.0).reshape(n_rows, 30), columns=names)
    return table.assign(Class=(np.arange(n_rows) % (n_rows // n_frauds) == 5) + 0)


def test_all_frauds_and_a_share_of_the_other_payments(folder, monkeypatch):
    entry = ENTRIES["ccfd"]
    assert entry["shape"] == [284807, 29] and entry["sample"] == 0.008
    table = credit_cards()
    monkeypatch.setitem(
        ENTRIES, "ccfd", entry | {"shape": [2000, 29], "n_positive": [7]}
    )
    table.to_csv(folder / entry["file"], index=False)
    dataset = load("ccfd")
    assert "Time" not in dataset.X
    assert np.bincount(dataset.y).tolist() == [int(0.008 * 1993), 7]
    frauds = table[table.Class == 1]
    assert dataset.X.V1[dataset.y == 1].tolist() == frauds.V1.tolist()
    assert set(dataset.X.V1[dataset.y == 0]) < set(table[table.Class == 0].V1)
    assert not dataset.X.duplicated().any()
    assert dataset.source == (
        "creditcard.csv, a random 0.008 of the rows of class 0 (seed 42)"
    )
    pd.testing.assert_frame_equal(load("ccfd").X, dataset.X)


def test_two_lines_of_names(folder):
    rows = np.arange(756)
    lines = ["," * 754, ",".join(["id", *(f"x{i}" for i in range(753)), "class"])]
    lines += [",".join(map(str, [i // 3, *[i] * 753, int(i < 564)])) for i in rows]
    (folder / "pd_speech_features.csv").write_text("\n".join(lines))
    dataset = load("pdc_speech")
    assert dataset.X.shape == (756, 753) and "id" not in dataset.X
    assert dataset.X.x0.tolist() == rows.tolist()
    assert dataset.y.sum() == 564


def test_unknown_name():
    with pytest.raises(ValueError, match="No data set 'iris'; there are breast_cancer"):
        load("iris")


def test_folder_that_is_not_there(folder, monkeypatch):
    monkeypatch.setenv("SKREBATCH_DATA", str(folder / "gone"))
    with pytest.raises(FileNotFoundError, match="SKREBATCH_DATA=.*gone is not a"):
        load("pid")


def test_file_that_can_not_be_downloaded(folder):
    message = r"pd_speech_features\.csv can't be downloaded"
    with pytest.raises(FileNotFoundError, match=message):
        load("pdc_speech")


def test_file_on_the_web(folder, tmp_path_factory, monkeypatch):
    served = tmp_path_factory.mktemp("served")
    insurance().to_csv(served / "insurance.csv", index=False)
    handler = partial(SimpleHTTPRequestHandler, directory=served)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever).start()
        address = f"http://127.0.0.1:{server.server_port}"
        entry = ENTRIES["insurance"]
        web = entry | {"url": address}
        monkeypatch.setitem(ENTRIES, "insurance", web)
        dataset = load("insurance")
        server.shutdown()
    assert dataset.source == f"{address}/insurance.csv"
    assert dataset.X.columns.tolist() == list(insurance().columns[:-1])
    assert dataset.y.tolist() == insurance().charges.tolist()


def test_wrong_shape(folder):
    pima(n_rows=767).to_csv(folder / "pima_indians_diabetes.csv", index=False)
    with pytest.raises(ValueError, match="has 767 rows and 8 features; expected 768"):
        load("pid")


def test_wrong_class_counts(folder):
    pima(n_ones=300).to_csv(folder / "pima_indians_diabetes.csv", index=False)
    with pytest.raises(ValueError, match="0: 468, 1: 300; expected 268 of class 1"):
        load("pid")


def test_labels_that_are_not_0_and_1(folder):
    table = pima().assign(outcome=lambda t: t.outcome.astype(int))
    table.loc[[0, 767], "outcome"] = [3, -2]
    table.to_csv(folder / "pima_indians_diabetes.csv", index=False)
    with pytest.raises(ValueError, match="-2: 1, 0: 499, 1: 267, 3: 1"):
        load("pid")


def test_target_column_missing(folder):
    pima().drop(columns="outcome").to_csv(
        folder / "pima_indians_diabetes.csv", index=False
    )
    with pytest.raises(ValueError, match="has no column 'outcome'"):
        load("pid")
