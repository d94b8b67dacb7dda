"""A sample log of feedback, made from a seed: questions to a shop.

`shop` makes the rows, `folder` writes them in the forms in which logs are
exported, and `score.py` is the judge that is written beside them.
"""
