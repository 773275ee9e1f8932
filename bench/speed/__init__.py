"""How fast the program is: against published code, against the machine, against itself.

``python -m bench speed`` prints it. Every figure is a ratio of two times that were measured in
turns in one process, or of two amounts of memory that were measured in the same way.
"""
