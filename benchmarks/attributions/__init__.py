"""In-silico mutagenesis with Enformer: a gene's task, beside a call of the model for each SNV."""
