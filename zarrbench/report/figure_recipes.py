"""What a figure of a report needs and shows, and how figures stand together."""

from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd

from zarrbench.figures.files import SIZE
from zarrbench.report.inputs import ReportInputs

TALL = (4.6, 4.6)  # inches


@dataclass(frozen=True)
class FigureRecipe:
    """One figure of a report.

    Parameters
    ----------
    name : str
        Stem of its files.
    title : str
        What is drawn, for those who cannot see it.
    caption : str or callable
        For those who can; or made from the drawn table.
    draw : callable
        Takes the inputs, for a figure of one gene its id, and the Axes; returns the drawn table.
    needs : tuple of str
        Stages without which there is nothing to draw.
    study : str
        The figure of the study that it corresponds to.
    size : tuple of float
        Inches.
    """

    name: str
    title: str
    caption: str | Callable[[pd.DataFrame], str]
    draw: Callable[..., pd.DataFrame]
    needs: tuple[str, ...] = ()
    study: str = ""
    size: tuple[float, float] = SIZE

    def missing(self, inputs: ReportInputs) -> str:
        """Return why the figure cannot be drawn, empty if it can."""
        for stage in self.needs:
            if stage not in inputs.stages:
                return inputs.absent.get(stage, f"the pipeline has no stage {stage}")
        return ""


@dataclass(frozen=True)
class Section:
    """Figures under one heading, with a note on what they have in common."""

    id: str
    heading: str
    note: str
    figures: Callable[[ReportInputs], list[FigureRecipe]]
