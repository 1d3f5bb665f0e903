"""The stages of a pipeline, each reading stores and writing one; between them the stores are the state."""
