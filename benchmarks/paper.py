"""The paper's experiments: its tables 4 to 9 in each reading of the method.

It takes half an hour on two cores; the page is docs/paper.md. A run that is killed goes
on where it stopped: finished parts are kept in a folder beside the results. The same
command gives the same JSON to the bit, but for the seconds of the search. Data sets
that can't be had are left out and named.
"""

import shutil

import paper_experiments
import paper_search
from datasets import SEED, load
from harness import DOCS, make_parser, versions
from paper_report import write_page


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
    found = find(paper_experiments.SIDE_REPEATS)
    common = found, arguments.n_jobs, arguments.output
    paper_experiments.run_tables(paper_experiments.PLAN, *common)
    paper_search.run_searches(paper_search.PLAN, *common)
    shutil.rmtree(arguments.output / paper_search.PARTS)


if __name__ == "__main__":
    main()
