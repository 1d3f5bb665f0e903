"""Results in the forms of other tools: tidy tables, AnnData, VCF."""
