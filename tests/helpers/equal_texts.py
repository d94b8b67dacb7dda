"""Rows whose texts a limit of tokens makes equal."""

SHARED = "the first words are the same: "


def pairs(n, equal, tag=""):
  """Pairs, of which the first `equal` begin alike."""
  return [
    {
      "prompt": f"question {i}{tag}",
      "chosen": SHARED + f"yes {i}" if i < equal else f"{i}, yes",
      "rejected": SHARED + f"no {i}" if i < equal else f"{i}, no",
    }
    for i in range(n)
  ]
