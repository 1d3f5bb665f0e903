"""Figures of the study: each draws on one Axes and returns the table that it draws."""
