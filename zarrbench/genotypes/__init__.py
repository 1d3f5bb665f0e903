"""Phased genotypes: from VCF to a VCF Zarr store, its checks, and the variants of a window."""
