"""What a fit shows of its epochs: a progress bar or a table."""

from __future__ import annotations

from typing import Any

from skorch import NeuralNet
from skorch.callbacks import Callback, PrintLog
from tqdm.auto import tqdm


class EpochProgress(Callback):
    """A progress bar over the epochs that shows the losses."""

    def __getstate__(self) -> dict[str, Any]:
        """Exclude a bar that was left open by an error: it can't be pickled."""
        return {name: it for name, it in vars(self).items() if name != "bar_"}

    def on_train_begin(self, net: NeuralNet, **kwargs: Any) -> None:
        """Open the bar."""
        self.bar_ = tqdm(total=net.max_epochs, unit="epoch", leave=True)

    def on_epoch_end(self, net: NeuralNet, **kwargs: Any) -> None:
        """Show the losses of the epoch."""
        row = net.history[-1]
        names = [name for name in ("train_loss", "valid_loss") if name in row]
        self.bar_.set_postfix({name: f"{row[name]:.4g}" for name in names})
        self.bar_.update()

    def on_train_end(self, net: NeuralNet, **kwargs: Any) -> None:
        """Close the bar."""
        self.bar_.close()


class EpochTable(PrintLog):
    """A table with the losses, the stopping score and the seconds of each epoch.

    skorch's table, which a net prints only if the net itself is verbose.
    """

    def __init__(self) -> None:
        super().__init__(sink=_show)


def _show(text: str) -> None:
    print(text, flush=True)


def epoch_reports(verbose: int) -> list[Callback]:
    """Return the callbacks that show the epochs: none, a progress bar or a table."""
    return [EpochTable() if verbose > 1 else EpochProgress()] if verbose else []
