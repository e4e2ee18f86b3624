"""Many fits: searches, stacks and several processes."""

from skrebatch.model_selection._comparison import compare_candidates
from skrebatch.model_selection._distributed import fit_distributed
from skrebatch.model_selection._estimators_cv import (
    ReBatchCNNClassifierCV,
    ReBatchCNNRegressorCV,
)
from skrebatch.model_selection._fused import fit_fused
from skrebatch.model_selection._search import FusedGridSearchCV

__all__ = [
    "FusedGridSearchCV",
    "ReBatchCNNClassifierCV",
    "ReBatchCNNRegressorCV",
    "compare_candidates",
    "fit_distributed",
    "fit_fused",
]
