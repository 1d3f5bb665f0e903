"""The prediction cube: its plan, what runs on a worker, the run, and reading it back."""
