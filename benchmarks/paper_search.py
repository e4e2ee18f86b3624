"""The paper's third future work: a search for the ratio, nested in cross-validation."""

import numpy as np
from compare import SCORES, fit, make_search, network, other_models
from datasets import load
from harness import read_setting, rounded, run_jobs, score, write_json
from sklearn.model_selection import GridSearchCV
from threadpoolctl import threadpool_limits

from skrebatch import FusedGridSearchCV

OURS = "re-Batch"
PLAIN = "no re-Batch"
PARTS = "paper_parts"


SETTING = read_setting(__file__)
PLAN = SETTING["plan"]


def grids(plan):
    """Return what our two arms search: as many candidates, learning rates and sizes.

    The ratio sets the batch size, as in the paper. A ratio of 0 is not in the grid, so
    that what re-Batch gains or loses shows.
    """
    ours = {"ratio": plan["ratios"], "lr": plan["rates"]}
    choices = (("min-loss", 1), ("min-loss", 2), ("max-loss", 0))
    plain = {"ratio": (0,), "lr": plan["rates"], "batch_size": plan["batch_sizes"]}
    return {
        OURS: [
            ours | {"strategy": (strategy,), "repeats": (repeats,)}
            for strategy, repeats in choices
        ],
        PLAIN: [plain | {"weight_decay": (0.0, 1e-4, 1e-3)}],
    }


def tuned_models(task):
    """Return the models of compare.py, with a grid for each."""
    models, tuned = other_models(task, seed=0), dict(SETTING["tuned"])
    strengths = tuple(np.logspace(-3, 3, 8))
    if task == "classification":
        models["linear"] = models["logistic regression"].set_params(max_iter=1000)
        tuned["linear"] = {"C": strengths}
    else:
        models["linear"], tuned["linear"] = models["ridge"], {"alpha": strengths}
        tuned["MLP"] = {f"regressor__{name}": v for name, v in tuned["MLP"].items()}
    return {name: (models[name], grid) for name, grid in tuned.items()}


def run_search(name, arm, split, plan):
    """Search on a split of a data set; score what is found on the rows left out."""
    dataset = load(name)
    train, test = dataset.splits(plan["outer_folds"], plan["outer_repeats"])[split]
    if arm in (OURS, PLAIN):
        model = network(dataset, max_epochs=plan["max_epochs"], random_state=split)
        search, grid = FusedGridSearchCV, grids(plan)[arm]
    else:
        model, grid = tuned_models(dataset.task)[arm]
        search, grid = GridSearchCV, [grid]
    search = make_search(search, model, grid, dataset, plan["inner_folds"])
    with threadpool_limits(1):
        seconds = fit(search, dataset.X.iloc[train], dataset.y[train])
    best = {
        name.rpartition("__")[2]: value for name, value in search.best_params_.items()
    }
    scorers = SCORES[dataset.task]
    found = {
        "candidates": len(search.cv_results_["params"]),
        "best": best,
        "scores": score(search, dataset.X.iloc[test], dataset.y[test], scorers),
    }
    case = {"data": name, "arm": arm, "split": split}
    cost = {"seconds": seconds, "refit": search.refit_time_}
    return {"run": rounded(case | found), "cost": case | cost}


def run_searches(plan, setting, n_jobs, folder):
    """Run all searches; write what they found, and apart from it what they took.

    Finished parts stay, for a run that is killed later.
    """
    jobs = [
        (name, arm, split, plan)
        for name in setting["data"]
        for arm in (OURS, PLAIN, *plan["others"])
        for split in range(plan["outer_folds"] * plan["outer_repeats"])
    ]
    setting = {**setting, "plan": plan, "grids": grids(plan)}
    done = run_jobs(run_search, jobs, setting, folder / PARTS, n_jobs)
    results = {**setting, "runs": [part["run"] for part in done]}
    write_json(folder / "paper_search.json", results, indent=None)
    costs = [part["cost"] for part in done]
    write_json(folder / "paper_search_seconds.json", rounded(costs, 3), indent=None)
