"""The paper's experiments: its tables 4 to 9 in each reading of the method.

    python benchmarks/paper.py          # everything, in half an hour on two cores
    python benchmarks/paper.py --page   # docs/paper.md from results

A run that is killed goes on where it stopped: finished parts are kept in a folder
beside the results. The same command gives the same JSON to the bit, but for the seconds
of the search. Data sets that can't be had are left out and named.
"""

import shutil

from datasets import SEED, load
from harness import DOCS, make_parser, versions
from paper_experiments import SIDE_REPEATS, Plan, run_tables
from paper_report import write_page
from paper_search import PARTS, SearchPlan, run_searches


def find(names):
    """Load what can be had; say where it comes from, and why the others can't."""
    found, missing = {}, {}
    for name in names:
        try:
            dataset = load(name)
        except (OSError, ValueError) as error:
            missing[name] = str(error).splitlines()[0]
            print(f"{name} is left out: {missing[name]}")
        else:
            found[name] = dataset.facts()
    return {"data": found, "missing": missing, "seed": SEED, "versions": versions()}


def main():
    arguments = make_parser(__doc__, "--n-jobs", "--output", "--page").parse_args()
    if arguments.page:
        write_page(arguments.output, DOCS)
        return
    common = find(SIDE_REPEATS), arguments.n_jobs, arguments.output
    run_tables(Plan(), *common)
    run_searches(SearchPlan(), *common)
    shutil.rmtree(arguments.output / PARTS)


if __name__ == "__main__":
    main()
