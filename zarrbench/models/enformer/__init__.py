"""Enformer written once in `keras.ops`: pure functions of weights and arrays, on any backend.

Network of Avsec et al., Nature Methods 2021, as released (inference only, human head).
"""
