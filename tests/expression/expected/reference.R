# Rscript reference.R FOLDER: edgeR's and limma's answers for FOLDER/counts.tsv (and covariates.tsv).
# Without counts.tsv it simulates one: 60 genes, 12 samples, three of the genes silent.
suppressMessages(library(edgeR))
folder <- commandArgs(trailingOnly = TRUE)[1]
at <- function(name) file.path(folder, name)

table_of <- function(name) as.matrix(read.delim(at(name), row.names = 1, check.names = FALSE))

put <- function(values, name) {
  values <- as.matrix(values)
  text <- matrix(sprintf("%.17g", values), nrow(values))
  dimnames(text) <- list(
    if (is.null(rownames(values))) seq_len(nrow(values)) else rownames(values), colnames(values)
  )
  write.table(text, at(name), sep = "\t", quote = FALSE, col.names = NA)
}

if (!file.exists(at("counts.tsv"))) {
  set.seed(20231)
  level <- c(rep(0, 3), 2^seq(-1, 13, length.out = 57))
  depth <- exp(rnorm(12, sd = 0.5))
  counts <- matrix(rnbinom(60 * 12, mu = outer(level, depth), size = 5), 60)
  # a few genes that one half of the samples has in excess, and two samples in proportion
  counts[50:56, 1:6] <- counts[50:56, 1:6] * 8
  counts[, 12] <- 2 * counts[, 11]
  dimnames(counts) <- list(sprintf("G%02d", 1:60), sprintf("S%02d", 1:12))
  put(counts, "counts.tsv")
  covariates <- rbind(batch = rep(0:1, 6), age = round(rnorm(12, 80, 6), 1), rin = round(runif(12, 4, 9), 2))
  colnames(covariates) <- colnames(counts)
  put(covariates, "covariates.tsv")
}

counts <- table_of("counts.tsv")
samples <- calcNormFactors(DGEList(counts), method = "TMM")
put(samples$samples[, c("lib.size", "norm.factors")], "samples.tsv")
fit <- voom(samples)
put(fit$E, "log_cpm.tsv")
weights <- fit$weights
dimnames(weights) <- dimnames(counts)
put(weights, "weights.tsv")
smooth <- lowess(log2(rowSums(counts) + 1), sqrt(counts[, 1]), f = 0.5)
put(cbind(x = smooth$x, y = smooth$y), "lowess.tsv")
if (file.exists(at("covariates.tsv"))) {
  covariates <- scale(t(table_of("covariates.tsv")), scale = FALSE)
  put(removeBatchEffect(fit$E, covariates = covariates), "adjusted.tsv")
  put(removeBatchEffect(fit$E, covariates = covariates, weights = weights), "adjusted_weighted.tsv")
  designed <- voom(samples, design = cbind(1, covariates))$weights
  dimnames(designed) <- dimnames(counts)
  put(designed, "weights_designed.tsv")
}
