"""Array kernels, each with a labelled wrapper. Nothing here imports models or predictions."""
