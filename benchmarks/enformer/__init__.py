"""Enformer on one device: a window's people with the trunk shared, beside the released model."""
