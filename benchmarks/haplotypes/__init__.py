"""Personal sequences of Enformer's length: zarrbench beside its peers and beside the copy limit."""

#: What libraries read once, when they are imported
THREADS = ("BLOSC_NTHREADS", "GVL_NUM_THREADS", "NUMBA_NUM_THREADS", "OMP_NUM_THREADS",
           "OPENBLAS_NUM_THREADS", "POLARS_MAX_THREADS", "RAYON_NUM_THREADS")  # fmt: skip
