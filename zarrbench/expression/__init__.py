"""Expression tables into a store, and the join of its samples with the genotypes."""
