"""The sizes of the `ops` track: models, data, budget, evaluation."""

MODELS = {
  "decoder": (
    "decoder(width=48,layers=2,heads=4,positions=learned,max_positions={positions},"
    "prefix_lm=True)"
  ),
  "t5": "t5(width=32,head_dim=10)",
}
"""The specification's decoder, 58,800 params on ops, and a T5 of 57,536."""

LEVEL = 0.37  # of the prompt's offset: the between-prompt share is .55
PROMPTS, K = 2048, 4
COMPLETIONS = 32  # a step
STEPS = 300
CURVE_EVERY = 75
SFT_PROMPTS, SFT_STEPS, SFT_BATCH = 20_000, 1500, 64
TEST, VALIDATION = 1000, 500
ORACLE_SAMPLES = 64  # of each test prompt, and as many to win against
MEASUREMENT = 2
"""Rises where a number of the same name comes to be measured otherwise.

Of 1, the gain's base and the frontier came of 400 prompts of their own, and a
seventh of the test prompts was in the log, a third in the demonstrations. Of
2, both are of the test prompts, and no prompt is of two streams.
"""
ORACLE_TAUS = (5.0, 2.0, 1.0, 0.7, 0.5, 0.4, 0.3, 0.2, 0.15, 0.1, 0.05)
CHUNK = 2048  # prompts sampled at a time
