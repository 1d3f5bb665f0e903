"""The figure of a training: how the loss went."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from zarrbench.figures.style import NEUTRAL, RIGHT, labelled, legend


def training_curve(history: pd.DataFrame, ax: Axes) -> pd.DataFrame:
    """Draw the loss of every epoch, of training and of validation genes, and mark the best.

    Parameters
    ----------
    history : pd.DataFrame
        One row an epoch: `epoch`, `training_loss`, `validation_loss`.
    ax : Axes
    """
    labelled(ax, "epoch", "mean squared error")
    ax.plot(history["epoch"], history["training_loss"], color=NEUTRAL, label="training genes")
    ax.plot(history["epoch"], history["validation_loss"], color=RIGHT, label="validation genes")
    kept = history.nsmallest(1, "validation_loss")  # the first of equals
    ax.plot(
        kept["epoch"], kept["validation_loss"], "o", color=RIGHT, label="weights that were kept"
    )
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    legend(ax)
    return history
