import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from zarrbench.haplotypes import ragged


@given(st.lists(st.lists(st.integers(-9, 9), max_size=4), max_size=8), st.data())
def test_rows_of_different_length_are_taken(lists, data):
    rows = data.draw(st.lists(st.sampled_from(range(len(lists))), max_size=9)) if lists else []
    starts = ragged.offsets(np.array([len(row) for row in lists], dtype=np.int64))
    values = np.array([value for row in lists for value in row], dtype=np.int8)
    assert starts.dtype == np.int64
    taken, found = ragged.take(starts, values, np.array(rows, dtype=np.int64))
    assert taken.tolist() == [0, *np.cumsum([len(lists[row]) for row in rows], dtype=int)]
    assert found.tolist() == [value for row in rows for value in lists[row]]
    assert found.dtype == np.int8
