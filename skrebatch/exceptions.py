"""Errors of the package."""

from __future__ import annotations


class DivergedError(ArithmeticError):
    """The loss of a network became NaN or infinite.

    The message names the epoch, and the mini-batch where there is one. Mostly the
    features are not scaled, or the learning rate is too high. The estimator is left as
    it was before the fit.

    See Also
    --------
    ReBatchCNNClassifier : Raises it.
    ReBatchCNNRegressor : Raises it.

    Examples
    --------
    >>> from skrebatch import DivergedError
    >>> issubclass(DivergedError, ArithmeticError)
    True
    """

    @classmethod
    def at(cls, epoch: int, where: str) -> DivergedError:
        """Make the error that names the place and suggests a remedy."""
        return cls(
            f"The loss became NaN or infinite in epoch {epoch}, {where}. Scale the "
            "inputs (StandardScaler), lower lr, or, for a regressor, keep "
            "standardize_target=True."
        )


class CheckpointError(ValueError):
    """A checkpoint can't be gone on from: damaged, or of another fit.

    The message names the file, what differs, and what to do.

    See Also
    --------
    FusedGridSearchCV : A search with a `checkpoint_dir`.
    ModelFileError : The same for model files.

    Examples
    --------
    >>> from skrebatch import CheckpointError
    >>> issubclass(CheckpointError, ValueError)
    True
    """


class ModelFileError(ValueError):
    """A model file can't be loaded: damaged, of another kind, or too new.

    The message says which file, what is wrong with it, and what to do.

    See Also
    --------
    load_model : Raises it.

    Examples
    --------
    >>> from skrebatch import ModelFileError
    >>> issubclass(ModelFileError, ValueError)
    True
    """
