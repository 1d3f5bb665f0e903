"""The reference sequence, the gene table, and the windows around genes."""
