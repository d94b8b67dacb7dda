"""Entries of tokens: what a run trains on, after the cut."""

import numpy as np

from offalign import data
from offalign.audit.checks import token_entries
from offalign.audit.checks.token_entries import TokenEntries, Turn
from offalign.audit.scan.entries import Spill
from offalign.data.batches import equal_tokens

BYTE = data.make_tokenizer("byte")


def test_entries_have_the_hashes_of_what_a_run_makes(tmp_path):
  turns = [
    Turn("a long question", "yes, it is", "row 0", 0, 0, 1.0),
    Turn("one question", "yes, maybe", "row 1", 1, 0, 0.0),
  ]
  texts = [turn.prompt for turn in turns]
  whole = BYTE.encode_rows(texts, [(i, t.text) for i, t in enumerate(turns)])
  spill = Spill(tmp_path / "tokens")
  made = TokenEntries(spill, BYTE, (9, 5))
  for turn, x, y in zip(turns, whole.prompts, whole.completions, strict=True):
    made.add(turn, x, y)
  spill.close()
  (part,) = spill.parts()
  cut = BYTE.encode_rows(
    texts,
    [(i, t.text) for i, t in enumerate(turns)],
    max_prompt=9,
    max_completion=5,
  )
  for entry, x, y in zip(part, cut.prompts, cut.completions, strict=True):
    hashed, both = equal_tokens.digest_both(x, y)
    assert (entry["prompt"], entry["text"]) == (hashed, both)
    assert (entry["prompt_words"], entry["words"]) == (len(x), len(y))
    # Entries are parted by the first 8 bits of `loose`.
    assert int(entry["loose"]) >> 56 == hashed >> 56
  assert part["text"][0] == part["text"][1]
  assert part["record"][0] != part["record"][1]
  texts = token_entries.prompt_text(part)
  assert texts[0] != texts[1]
  sequences = token_entries.sequences(part)
  np.testing.assert_array_equal(sequences["tokens"], part["text"])
  np.testing.assert_array_equal(sequences["value"], [1.0, 0.0])
