"""The printed results of the reference study, recomputed from its released tables."""
