"""Figures, tables and the one HTML page that shows a run."""
