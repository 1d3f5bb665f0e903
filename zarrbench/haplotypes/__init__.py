"""Personal sequences: phased alleles substituted into the reference, each distinct one once."""
