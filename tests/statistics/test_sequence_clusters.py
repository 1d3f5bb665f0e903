"""Scores and motifs against plain loops, clusters against scikit-learn, tests against scipy."""

import io
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from Bio import motifs as readers
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats
from sklearn.cluster import AgglomerativeClustering

from zarrbench.genome.bases import encode
from zarrbench.statistics import sequence_clusters
from zarrbench.statistics.multiple_testing import benjamini_hochberg
from zarrbench.statistics.sequence_clusters import (
    as_meme,
    best_stretch,
    clusters,
    distances,
    enrichment,
    motif,
    pair_scores,
)

# of few letters, so that stretches are long
SEQUENCES = hnp.arrays(np.uint8, st.tuples(st.integers(0, 7), st.just(13)),
                       elements=st.sampled_from([0, 0, 0, 1, 1, 4, 3]))  # fmt: skip


def related(rng, n=60, founders=5, length=13):
    """Sequences that are copies of few, shifted and with changes; some copies are exact."""
    long = rng.integers(0, 4, (founders, length + 4), dtype=np.uint8)
    of, start = rng.integers(0, founders, n), rng.integers(0, 5, n)
    codes = np.array([long[f, s : s + length] for f, s in zip(of, start, strict=True)])
    changed = rng.random(codes.shape) < 0.1
    return np.where(changed, rng.integers(0, 4, codes.shape), codes).astype(np.uint8)


def plain_stretches(one, other):
    """Every stretch of two sequences as METHODS section 19 words it: matches, place in each."""
    found = []
    for h in range(9):
        for a, b, swapped in ((one, other, False), (other, one, True)):
            v = [int(a[i + h] == b[i] and a[i + h] != 4) for i in range(13 - h)]
            latest = 0
            for start in range(len(v)):
                if not v[start] or not start < len(v) - 5:
                    continue
                last, gap = start, 0
                for i in range(start + 1, len(v)):
                    gap = 0 if v[i] else gap + 1
                    if gap > 1:
                        break
                    if v[i]:
                        last = i
                stretch = v[start : last + 1]
                if len(stretch) < 5 or sum(stretch) / len(stretch) < 0.8 or last <= latest:
                    continue
                latest = last
                if all(start <= centre <= last for centre in (6, 6 - h)):
                    in_a, in_b = start + h, start
                    places = (in_b, in_a) if swapped else (in_a, in_b)
                    found.append((sum(stretch), *places, len(stretch)))
    return found


@settings(max_examples=150)
@given(codes=SEQUENCES)
def test_scores_are_those_of_a_loop(codes):
    expected = [
        [max((found[0] for found in plain_stretches(a, b)), default=0) for b in codes]
        for a in codes
    ]
    expected = np.reshape(np.array(expected, np.int64), (len(codes), len(codes)))
    scores = pair_scores(codes)
    np.testing.assert_array_equal(scores, expected)
    assert set(np.unique(scores)) <= {0, *range(4, 14)}
    for i, a in enumerate(codes):
        for j, b in enumerate(codes):
            best = best_stretch(a, b)
            assert (best.matches if best else 0) == expected[i, j]
            if best:
                place = (best.matches, best.start, best.start + best.offset, best.end - best.start)
                assert place in plain_stretches(a, b)


def test_scores_of_random_sequences():
    rng = np.random.default_rng(19)
    codes = related(rng, 40)
    scores = pair_scores(codes)
    np.testing.assert_array_equal(scores, scores.T)
    pairs = [(i, j) for i in range(40) for j in range(40)]
    for i, j in pairs:
        found = plain_stretches(codes[i], codes[j])
        assert scores[i, j] == max((one[0] for one in found), default=0)
    assert len(Counter(scores.ravel().tolist())) > 7


def test_scores_do_not_depend_on_what_is_compared_at_once(monkeypatch):
    codes = related(np.random.default_rng(3), 50)
    expected = pair_scores(codes)
    for pairs in (1, 60, 1000):
        monkeypatch.setattr(sequence_clusters, "_PAIRS", pairs)
        np.testing.assert_array_equal(pair_scores(codes), expected)


def score(one, other):
    return pair_scores([encode(one), encode(other)])[0, 1]


def test_scores_by_hand():
    assert score("ACGTACGTACGTA", "ACGTACGTACGTA") == 13
    assert score("TTTTACGTACTTT", "GGGGACGTACGGG") == 6
    assert score("TTTTACGTACTTT", "GGGACGTACGGGG") == 6  # one to the right
    assert score("TTTTACGTTTTTT", "GGGGACGTGGGGG") == 0  # four in a row
    assert score("TTTTACGTATTTT", "GGGGACCTAGGGG") == 4  # four of five
    assert score("TTTTACGTATTTT", "GGGGACCCAGGGG") == 0  # two mismatches in a row
    assert score("ACGTATTTTTTTT", "ACGTAGGGGGGGG") == 0  # without the centre
    assert score("TTTTTTTTACGTA", "GGGGGGGGACGTA") == 0
    assert score("NNNNNNNNNNNNN", "NNNNNNNNNNNNN") == 0
    # nothing starts within the last five of the overlap, though the centres lie there
    assert score("CCCCCCACGTACC", "ACGTACGGGGGGG") == 0
    np.testing.assert_allclose(distances([[13, 4, 0], [4, 13, 5], [0, 5, 0]]),
                               [[0, 0.2, 1], [0.2, 0, 0], [1, 0, 0]])  # fmt: skip


@pytest.mark.parametrize("shape", [(13,), (3, 12), (3, 17), (2, 3, 13)])
def test_what_is_no_sequence_around_a_driver_is_refused(shape):
    with pytest.raises(ValueError, match=r"shape \(n, length\)"):
        clusters(np.zeros(shape, np.uint8))


def as_sets(codes, labels):
    """Clusters as multisets of sequences, by label."""
    texts = [bytes(row) for row in codes]
    return {k: Counter(np.array(texts, object)[labels == k].tolist()) for k in set(labels.tolist())}


@settings(max_examples=60)
@given(codes=st.one_of(SEQUENCES, st.integers(0, 99).map(
    lambda seed: related(np.random.default_rng(seed), 25))), data=st.data())  # fmt: skip
def test_clusters_do_not_depend_on_the_order(codes, data):
    labels = clusters(codes)
    order = np.array(data.draw(st.permutations(range(len(codes)))), int)
    assert as_sets(codes[order], clusters(codes[order])) == as_sets(codes, labels)
    sizes = np.bincount(labels)
    assert (np.diff(sizes) <= 0).all()
    assert (sizes > 0).all()


@settings(max_examples=40)
@given(seed=st.integers(0, 999), cutoff=st.sampled_from([0.1, 0.2, 0.25, 1.0, 1.1]))
def test_clusters_are_complete_and_cannot_be_merged(seed, cutoff):
    codes = related(np.random.default_rng(seed), 40)
    distance, labels = distances(pair_scores(codes)), clusters(codes, cutoff)
    for k in range(labels.max() + 1):
        for j in range(k + 1):
            furthest = distance[np.ix_(labels == k, labels == j)].max()
            assert (furthest < cutoff) == (k == j)


def test_without_ties_clusters_are_those_of_scikit_learn(monkeypatch):
    rng = np.random.default_rng(4)
    codes = np.unique(rng.integers(0, 4, (50, 13), dtype=np.uint8), axis=0)
    points = rng.random((len(codes), 2))
    distance = np.linalg.norm(points[:, np.newaxis] - points, axis=-1)
    monkeypatch.setattr(sequence_clusters, "distances", lambda scores: distance)
    model = AgglomerativeClustering(
        None, metric="precomputed", linkage="complete", distance_threshold=0.25
    )
    expected, found = model.fit_predict(distance), clusters(codes)
    assert len(set(zip(expected, found, strict=True))) == len(set(expected)) == len(set(found)) > 9


@pytest.mark.parametrize(("n", "expected"), [(0, []), (1, [0])])
def test_few_sequences(n, expected):
    codes = np.zeros((n, 13), np.uint8)
    assert clusters(codes).tolist() == expected
    assert motif(codes, np.arange(n)) is None


def test_copies_share_a_cluster():
    assert clusters([encode("N" * 13)] * 3).tolist() == [0, 0, 0]
    assert motif([encode("N" * 13)] * 3, [0, 1, 2]) is None


def naive_motif(codes, members):
    """The weights, bases one by one, from the seed's best stretches."""
    total = {
        i: sum(max((f[0] for f in plain_stretches(codes[i], codes[j])), default=0)
               for j in members if j != i)
        for i in members
    }  # fmt: skip
    seed = min(members, key=lambda i: (-total[i], codes[i].tolist()))
    counts = [Counter() for _ in range(13)]
    for j in members:
        stretch = best_stretch(codes[seed], codes[j])
        if j == seed or stretch is None:
            continue
        for column in range(stretch.start, stretch.end):
            counts[column][int(codes[j][column + stretch.offset])] += 1
    used = [column for column in range(13) if counts[column]]
    for column in used:
        counts[column][int(codes[seed][column])] += 1
    most = max(sum(counts[column].values()) for column in used)
    weights = [[counts[c][base] / most for base in range(4)] for c in used]
    return codes[seed].tolist(), weights, 6 - used[0]


@pytest.mark.parametrize("seed", range(4))
def test_motifs_are_those_of_a_loop(seed):
    codes = related(np.random.default_rng(seed), 60, founders=3)
    labels = clusters(codes)
    for k in range(3):
        members = np.flatnonzero(labels == k).tolist()
        found = motif(codes, members)
        sequence, weights, snv = naive_motif(codes, members)
        assert codes[found.seed].tolist() == sequence
        np.testing.assert_allclose(found.weights, weights)
        assert found.snv == snv
        # every stretch holds the seed's centre
        assert found.weights[found.snv].sum() == pytest.approx(1)
        assert found.n == len(members)
        again = motif(codes, members[::-1])
        np.testing.assert_array_equal(again.weights, found.weights)


def test_a_motif_by_hand():
    codes = np.array([encode(one) for one in ("TTTTACGTACTTT", "GGGACGTACGGGG", "CCCCACGTCCCCC")])
    found = motif(codes, [0, 1, 2])
    assert found.seed == 1  # as much in common with the others as the first, and first by its bases
    assert found.snv == 3
    expected = np.zeros((6, 4))
    for column, base in enumerate(encode("ACGTAC")):
        expected[column, base] = 1
    expected[4] = [2 / 3, 1 / 3, 0, 0]
    np.testing.assert_allclose(found.weights, expected)


def test_meme_is_what_biopython_reads():
    codes = related(np.random.default_rng(1), 60, founders=3)
    labels = clusters(codes)
    named = [(f"cluster{k}", motif(codes, np.flatnonzero(labels == k))) for k in range(2)]
    text = as_meme(named)
    read = readers.parse(io.StringIO(text), "minimal")
    assert [one.name for one in read] == ["cluster0", "cluster1"]
    for one, (_, ours) in zip(read, named, strict=True):
        assert one.num_occurrences == ours.n
        expected = ours.weights + (1 - ours.weights.sum(axis=1, keepdims=True)) / 4
        counts = np.array([one.counts[base] for base in "ACGT"]).T  # it takes whole ones
        np.testing.assert_allclose(counts, expected * ours.n, rtol=0, atol=1)
        rows = text.split(f"MOTIF {one.name}\n")[1].splitlines()[1 : one.length + 1]
        rows = np.array([row.split() for row in rows], float)
        np.testing.assert_allclose(rows.sum(axis=1), 1, atol=1e-5)
        np.testing.assert_allclose(rows, expected, atol=1e-6)
    assert readers.parse(io.StringIO(as_meme([])), "minimal") == []


@settings(max_examples=60)
@given(data=st.lists(st.tuples(st.integers(0, 4), st.booleans()), min_size=1, max_size=60))
def test_enrichment_is_fishers(data):
    labels, wrong = map(np.array, zip(*data, strict=True))
    found = enrichment(labels, wrong)
    for k in range(len(found.size)):
        inside = labels == k
        table = [[(inside & wrong).sum(), (inside & ~wrong).sum()],
                 [(~inside & wrong).sum(), (~inside & ~wrong).sum()]]  # fmt: skip
        assert (found.size[k], found.unsupported[k]) == (sum(table[0]), table[0][0])
        for alternative, p in (("greater", found.p_more[k]), ("less", found.p_fewer[k])):
            np.testing.assert_allclose(p, stats.fisher_exact(table, alternative).pvalue, rtol=1e-9)
    np.testing.assert_array_equal(found.q_more, benjamini_hochberg(found.p_more))
    np.testing.assert_array_equal(found.q_fewer, benjamini_hochberg(found.p_fewer))


def test_signed_evidence_and_an_enriched_cluster():
    labels = np.repeat([0, 1, 2], [30, 30, 40])
    wrong = np.concatenate([np.ones(30, bool), np.zeros(30, bool), np.arange(40) % 2 == 0])
    found = enrichment(labels, wrong)
    few, many = np.log10(found.p_fewer), -np.log10(found.p_more)
    np.testing.assert_allclose(found.signed_log10_p[:2], [many[0], few[1]])
    assert found.signed_log10_p[0] > 5
    assert found.signed_log10_p[1] < -5
    assert abs(found.signed_log10_p[2]) < 1
    with pytest.raises(ValueError, match="labels for"):
        enrichment(labels, wrong[:-1])
    empty = enrichment(np.zeros(0, int), np.zeros(0, bool))
    assert empty.size.shape == empty.q_more.shape == (0,)


def test_the_studys_drivers_cluster_and_no_cluster_predicts_the_sign(published: Path):
    table = pd.read_csv(published / "SupplementaryTable2.tsv", sep="\t")
    known = dict(
        zip(
            zip(table["gene_id"], table["LociDriverhg38"].astype(str), strict=True),
            table["ISM"] * table["eQTL"] < 0,
            strict=True,
        )
    )
    for base in ("ref", "var"):
        name = f"ALLgenes_ism_attributions_driversfw_{base}seq_winsize13.npz"
        with np.load(published / name, allow_pickle=False) as arrays:
            codes = arrays["seqs"].argmax(axis=2).astype(np.uint8)
            keys = list(zip(arrays["genes"].tolist(), arrays["loci"].tolist(), strict=True))
        labels = clusters(codes)
        assert np.bincount(labels)[0] > 10
        among = np.array([key in known for key in keys])
        wrong = np.array([known.get(key, False) for key in keys])
        assert (among.sum(), wrong.sum()) == (1091, 393)
        _, tested = np.unique(labels[among], return_inverse=True)
        found = enrichment(tested, wrong[among])
        assert np.minimum(found.p_more, found.p_fewer).min() > 0.05 / len(found.size)
        assert np.minimum(found.q_more, found.q_fewer).min() > 0.5
