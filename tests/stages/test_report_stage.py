"""What the report reads of genotypes, against the table of the hand-made cohort."""

import numpy as np
import pytest

from zarrbench.stages.report import _dosage


@pytest.fixture
def workspace(workspace_in, tmp_path):
    return workspace_in(tmp_path / "toy")


def test_dosage_counts_every_alternative_base(workspace, cohort):
    assert workspace.stores.genotypes.samples == cohort.people
    shown = 0
    for gene, record in cohort.genes.iterrows():
        found = _dosage(workspace, gene)
        expected = cohort.dosage(record.contig, record.tss - 20, record.tss + 43)
        # a row of the cohort is a record, of which several may be at one position
        carried = (found.values > 0).sum(axis=0)
        assert carried.tolist() == np.count_nonzero(expected > 0, axis=0).tolist()
        assert found.sizes["variant"] == len(expected)
        shown += len(expected)
    assert shown > 10
