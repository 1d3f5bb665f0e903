"""The stages of a pipeline: each reads stores and writes one; between them stores are the state."""
