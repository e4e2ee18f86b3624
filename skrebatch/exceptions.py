"""Exceptions and warnings of the package."""

from __future__ import annotations

__all__ = [
    "CheckpointError",
    "DivergedError",
    "ModelFileError",
    "ScaleWarning",
    "SkrebatchError",
]


class SkrebatchError(Exception):
    """Base class of the package's own exceptions.

    Invalid parameters and data raise ValueError or TypeError, as in scikit-learn.

    See Also
    --------
    DivergedError : The loss became NaN or infinite.
    CheckpointError : A fit can't be resumed from a checkpoint.
    ModelFileError : A model file can't be loaded.

    Examples
    --------
    >>> from skrebatch import ModelFileError, SkrebatchError
    >>> issubclass(ModelFileError, SkrebatchError)
    True
    """


class DivergedError(SkrebatchError, ArithmeticError):
    """The loss of a network became NaN or infinite.

    The message gives the epoch and, if known, the mini-batch. Common causes are
    unscaled features and a learning rate that is too high. The estimator remains as it
    was before the fit.

    See Also
    --------
    ReBatchCNNClassifier : Raises this error.
    ReBatchCNNRegressor : Raises this error.
    ReBatch : Raises this error, too.

    Examples
    --------
    >>> from skrebatch import DivergedError
    >>> issubclass(DivergedError, ArithmeticError)
    True
    """

    @classmethod
    def at(cls, epoch: int, where: str) -> DivergedError:
        """Return an error that gives the location and suggests a remedy."""
        return cls(
            f"The loss became NaN or infinite in epoch {epoch}, {where}. Scale the "
            "inputs (StandardScaler), lower lr, or, for a regressor, keep "
            "standardize_target=True."
        )


class CheckpointError(SkrebatchError, ValueError):
    """A fit can't be resumed from a checkpoint.

    The checkpoint is damaged or belongs to a different fit. The message gives the file,
    the reason and a remedy.

    See Also
    --------
    FusedGridSearchCV : Writes and reads checkpoints if `checkpoint_dir` is set.
    ModelFileError : The corresponding error for model files.

    Examples
    --------
    >>> from skrebatch import CheckpointError
    >>> issubclass(CheckpointError, ValueError)
    True
    """


class ModelFileError(SkrebatchError, ValueError):
    """A model file can't be loaded.

    The file is damaged, is not a model file, or has a newer format. The message gives
    the file, the reason and a remedy.

    See Also
    --------
    load_model : Raises this error.

    Examples
    --------
    >>> from skrebatch import ModelFileError
    >>> issubclass(ModelFileError, ValueError)
    True
    """


class ScaleWarning(UserWarning):
    """The scale of some columns of X hinders training.

    A fit issues this warning, once, and names the columns. Their values are far from 0
    compared with their spread, or very large, so that the network can hardly tell them
    apart; or they are far larger than those of other columns, which then hardly count.
    At most 1000 rows, evenly spaced, are examined.

    See Also
    --------
    ReBatchCNNClassifier : Issues this warning.
    ReBatchCNNRegressor : Issues this warning.

    Examples
    --------
    The remedy is a scaler. To ignore the warning:

    >>> import warnings
    >>> from skrebatch import ScaleWarning
    >>> warnings.simplefilter("ignore", ScaleWarning)
    """
