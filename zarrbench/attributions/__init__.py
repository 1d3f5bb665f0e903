"""Which bases make a prediction: in-silico mutagenesis, gradients, and their stores."""
