"""The parameters of the paper's experiments."""

from __future__ import annotations

from typing import Any

from skrebatch._utils.validation import check_option

_PAPER = {
    "architecture": "cnn",
    "padding": 1,
    "batch_size": "ratio",
    "lr": 1e-3,
    "n_networks": 1,
    "early_stopping": False,
}
_SMALL_POOLS = {"conv_channels": (8, 16), "pool_size": (1, 3), "pool_stride": (1, 2)}
_WIDE = {"conv_channels": (64, 128)}
_NUMBERS = {"standardize_target": False}
# The rows of table 3.
_TABLE_3: dict[str, dict[str, Any]] = {
    "pid": {**_SMALL_POOLS, "max_epochs": 300},
    "ccfd": {**_SMALL_POOLS, "max_epochs": 50},
    "pdc": {"conv_channels": (8, 16), "kernel_size": 8, "max_epochs": 30},
    "diabetes": {**_WIDE, **_NUMBERS, "max_epochs": 200},
    "insurance": {**_WIDE, **_NUMBERS, "max_epochs": 100},
    "chp": {"conv_channels": (32, 64), **_NUMBERS, "max_epochs": 200},
}


def paper_parameters(dataset: str) -> dict[str, Any]:
    """Return the parameters of the paper's experiment on a data set.

    The network and the number of epochs are those of table 3 of the paper [1]_: one
    network, trained with Adam at a learning rate of 0.001 and with mini-batches of B
    rows (eq. 2), without early stopping. The ratio and the strategy are varied in the
    experiments, and are not among the parameters. The paper does not give the padding.
    It is 1 here, because without padding some of its networks would have no output.
    The targets of regressors are not scaled.

    Parameters
    ----------
    dataset : {"pid", "ccfd", "pdc", "diabetes", "insurance", "chp"}
        Pima Indians Diabetes, Credit Card Fraud Detection and Parkinson's Disease
        Classification (for a classifier); Diabetes, Medical Insurance Cost and
        California Housing Prices (for a regressor).

    Returns
    -------
    parameters : dict
        Of :class:`ReBatchCNNClassifier` or :class:`ReBatchCNNRegressor`.

    Raises
    ------
    ValueError
        If `dataset` is not one of these names.

    See Also
    --------
    ReBatchCNNClassifier : Takes the parameters of the first three data sets.
    ReBatchCNNRegressor : Takes those of the others.

    Notes
    -----
    With ``ratio=0``, B is 0 and the mini-batches have 32 rows. To compare a ratio with
    training without re-Batch at the same batch size, as the paper does, set the
    `batch_size` of the latter to the B of the ratio: ``redistribution_size(n, ratio)``,
    where n is the number of training rows.

    References
    ----------
    .. [1] S. Lee and T. Kang, "Dynamic re-Batch for Neural Network Training", 2025.

    Examples
    --------
    >>> from skrebatch import ReBatchCNNClassifier, paper_parameters
    >>> model = ReBatchCNNClassifier(ratio=0.15, **paper_parameters("pid"))
    >>> model.max_epochs, model.conv_channels, model.batch_size
    (300, (8, 16), 'ratio')
    """
    check_option(dataset, "dataset", tuple(_TABLE_3))
    return {**_PAPER, **_TABLE_3[dataset]}
