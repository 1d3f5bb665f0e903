"""The prediction cube beside HDF5 of the same chunks, plain Zarr and `.npy` files."""
