"""Sweeps: runs that differ in the values in braces, and in their seeds.

`{a,b,c}` in the value of an option stands for three values (`braces`); a grid
is the product of them all, times the seeds (`grid`); the folder of a sweep says
in sweep.json what became of each cell (`record`). `offalign.training.sweep`
trains the cells, and `offalign.compare.sweep` writes the page.
"""
