"""The comparison trains the network that its committed results are of."""

import numpy as np
import pytest
from compare import CURVES, SETTING, load, trace
from harness import RESULTS, read_json


@pytest.mark.parametrize("curve", CURVES)
def test_a_curve_begins_as_the_committed_one(curve):
    dataset, plan = load("diabetes"), SETTING["plan"] | {"curve_epochs": 3}
    train, test = dataset.splits(plan["outer_folds"], plan["outer_repeats"])[0]
    found = trace(curve, dataset, plan, 0, train, test)
    curves = read_json(RESULTS / "compare_diabetes.json")["curves"]
    expected = next(run for run in curves if (run["curve"], run["split"]) == (curve, 0))
    for part in ("train", "test"):
        np.testing.assert_allclose(found[part], expected[part][:3], rtol=1e-5)
