"""Speed benchmarks: comparisons with published code and with the machine's GEMM rate.

``python -m bench speed`` prints them. Every figure is a ratio of two times measured alternately in
one process, or of two amounts of memory measured in the same way.
"""
