"""In-silico mutagenesis: what each SNV of a gene, alone in the reference, does to the prediction.

METHODS sections 11 and 12; with Enformer an SNV costs what follows the trunk, and the tiles that it
touches.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from zarrbench.attributions.worker import Arrays, AttributionJob, Mutants, gradients, readouts
from zarrbench.genome.bases import OTHER, Codes
from zarrbench.genome.coordinates import Window, to_one_based
from zarrbench.haplotypes.mutants import one_by_one
from zarrbench.haplotypes.sequences import window_edits
from zarrbench.haplotypes.snvs import snvs
from zarrbench.models.protocol import Model
from zarrbench.predictions.worker import Input
from zarrbench.statistics.gradient_profiles import position_attribution
from zarrbench.statistics.variants import variant_frequency


@dataclass(frozen=True)
class GeneTask:
    """All SNVs of one gene.

    Attributes
    ----------
    gene : str
    window : Window
    gradients, profiles : bool
        Whether gradients are computed, and kept for every base of the window.
    """

    gene: str
    window: Window
    gradients: bool
    profiles: bool

    @property
    def key(self) -> tuple[str, int]:
        return self.gene, 0

    def mutants(self, job: AttributionJob) -> Mutants:
        """As `zarrbench.attributions.worker.PartTask.mutants`."""
        genotypes, reference = job.opened()
        codes = reference.codes(self.window)
        chosen = snvs(window_edits(genotypes, reference, self.window, job.policies), codes)
        frequency = variant_frequency(chosen.dosage)
        known = chosen.known
        put_in = one_by_one(self.window, codes, chosen.positions[known], chosen.alternative[known])
        return Mutants(
            (Input(put_in, None),),
            {
                "position": to_one_based(chosen.positions + self.window.start),
                "reference": chosen.reference,
                "alternative": chosen.alternative,
                "effect_allele_frequency": frequency.allele,
                "carrier_frequency": frequency.carrier,
                "n_called": frequency.n_called,
            },
        )

    def arrays(self, model: Model, job: AttributionJob, found: Mutants) -> Arrays:
        """As `zarrbench.attributions.worker.PartTask.arrays`."""
        [window] = found.inputs
        values, output = readouts(model, window, self.gene, job)
        known = found.known["alternative"] != OTHER
        changes = np.full((known.size, values.shape[1]), np.nan)
        changes[known] = values[1:] - values[0]
        arrays = {**found.known, "reference_prediction": values[0], "ism": changes}
        if self.gradients:
            gradient = gradients(model, window.personal, output, self.gene, job)
            place = found.known["position"] - to_one_based(self.window.start)
            alleles = found.known["reference"], found.known["alternative"]
            arrays["gradient"] = of_snvs(gradient, place, *alleles)
            if self.profiles:
                arrays["gradient_profile"] = self._profile(gradient, window)
        return arrays

    def _profile(self, gradient: NDArray[np.float32], window: Input) -> NDArray[np.float32]:
        """Return the attribution of every base, (track, base), in the direction of reading."""
        if self.window.reverse:
            gradient = gradient[:, ::-1, ::-1]
        codes = np.broadcast_to(window.personal.codes([0]), gradient.shape[:2])
        return position_attribution(gradient, codes).astype(np.float32)


def of_snvs(
    gradient: NDArray[np.float32],
    positions: NDArray[np.int64],
    reference: Codes,
    alternative: Codes,
) -> NDArray[np.float64]:
    """Return gradient times (alternative - reference), (variant, track); NaN without alternative.

    Parameters
    ----------
    gradient : float32 (track, base, 4)
        Of the window, along the forward strand.
    positions : int64 (variant,)
        0-based, relative to the start of the window.
    reference, alternative : uint8 (variant,)
    """
    # a vector of no letter is zero, so that it takes no part
    letters = np.zeros((*gradient.shape[:2], OTHER + 1))
    letters[..., :OTHER] = gradient
    change = letters[:, positions, alternative] - letters[:, positions, reference]
    change[:, alternative == OTHER] = np.nan
    return change.T
