"""What the stages that ask why a model errs can be told: their mappings in a pipeline file."""

from dataclasses import dataclass, field
from typing import Literal

from zarrbench.predictions.ensemble import Ensemble
from zarrbench.predictions.readouts import Readout
from zarrbench.statistics.drivers import DriverRule


@dataclass(frozen=True)
class Attributions:
    """In-silico mutagenesis of every SNV, and gradients (METHODS sections 11 and 12).

    Parameters
    ----------
    readout : Readout, optional
        What is mutated is compared by: that of the predict stage by default. The study's is
        ``attribution``: the plain sum.
    tracks : list of str, optional
        Identifiers or descriptions; by default that of the statistics stage.
    gradients : bool
        Differentiate the model, too.
    profiles : bool
        Keep the gradient of every base of the window, 0.8 MB a gene and track for Enformer.
    alignment : {'consistent', 'released'}
        The window of the predictions, or as in the study's attributions one that begins a base
        later, so that the index of the TSS is one less.
    """

    readout: Readout | None = None
    tracks: tuple[str, ...] | None = None
    gradients: bool = True
    profiles: bool = False
    alignment: Literal["consistent", "released"] = "consistent"

    def __post_init__(self) -> None:
        if self.tracks == ():
            raise ValueError("tracks must name at least one track; leave it out for one")
        if self.profiles and not self.gradients:
            raise ValueError("profiles are those of gradients: set gradients to true")

    @property
    def optional_variables(self) -> tuple[str, ...]:
        """What the store holds beside in-silico mutagenesis."""
        asked = {"gradient": self.gradients, "gradient_profile": self.profiles}
        return tuple(name for name, kept in asked.items() if kept)


@dataclass(frozen=True)
class Drivers:
    """The SNVs that make a gene's prediction, and whether expression supports their sign (METHODS
    sections 13 to 16).

    Parameters
    ----------
    rule : DriverRule
        What makes a driver.
    examined : {'significant', 'all'}
        Which genes are compared: those that the statistics call significant, or every gene.
    min_r : float
        Of those, genes with an |r| above this.
    min_r_linear : float
        Of those, genes whose linear sum correlates by more than this with the prediction.
    weighting : {'none', 'increment'}
        Whether the drivers of a gene count alike in its shares, or by their increments.
    """

    rule: DriverRule = field(default_factory=DriverRule)
    examined: Literal["significant", "all"] = "significant"
    min_r: float = 0.2
    min_r_linear: float = 0.2
    weighting: Literal["none", "increment"] = "none"

    def __post_init__(self) -> None:
        if not 0 <= self.min_r < 1 or not 0 <= self.min_r_linear < 1:
            raise ValueError("min_r and min_r_linear must be from 0 to below 1")


@dataclass(frozen=True)
class Motifs:
    """What the main drivers of genes change: motifs around them, and clusters of their sequences
    (METHODS sections 11, 18 and 19).

    Parameters
    ----------
    genes : {'examined', 'all'}
        Those that the drivers stage examined, or every gene with a main driver.
    tss_flank : int
        Bases to either side of the TSS that are scanned for the largest effect of any base.
    norm : {'max', 'std'}
        Attributions are divided by that, or as in one of the study's tables by the scan's standard
        deviation.
    """

    genes: Literal["examined", "all"] = "examined"
    tss_flank: int = 1000
    norm: Literal["max", "std"] = "max"

    def __post_init__(self) -> None:
        if self.tss_flank < 1:
            raise ValueError("tss_flank must be a positive number of bases")


@dataclass(frozen=True)
class Sensitivity:
    """How far r depends on choices: readouts, weighted tracks, several inputs (METHODS section 17).

    Readouts are those of `more_readouts` in the predict stage; weighted tracks those of the
    track_weights stage.

    Parameters
    ----------
    ensemble : Ensemble, optional
        Predict some genes again as the mean over these inputs.
    n_genes : int
        How many, drawn at random among those that have statistics: the study took 30.
    seed : int
        Of the draw.
    """

    ensemble: Ensemble | None = None
    n_genes: int = 30
    seed: int = 1

    def __post_init__(self) -> None:
        if self.n_genes < 1:
            raise ValueError("n_genes must be at least 1")
        if self.seed < 0:
            raise ValueError("seed must not be negative")
