"""Files of pairs of conversations, made up, in the form of real ones."""

import itertools

_NAMES = ("tea", "rain", "bread", "a song", "the sea", "a map", "salt", "ink")
_ASKED = ("Tell me about", "What of", "Why is there", "Who needs", "I like")


def rows(count):
  """Rows of pairs, of which every third has an earlier turn."""
  asked = itertools.product(range(count), _NAMES, _ASKED)
  out = []
  for i, name, words in itertools.islice(asked, count):
    prompt = [{"role": "user", "content": f"{words} {name}, please? {i}"}]
    if len(out) % 3 == 0:
      prompt += [
        {"role": "assistant", "content": f"You said {name}."},
        {"role": "user", "content": f"And then, of {name}? {words} {i}"},
      ]
    sides = {
      "chosen": f"Gladly: {name} is good.",
      "rejected": f"No. I do not want to speak about {name} at all, not ever.",
    }
    out.append(
      {"prompt": prompt}
      | {
        side: [{"role": "assistant", "content": text}]
        for side, text in sides.items()
      }
    )
  return out


def save(folder, count=80):
  """Writes `folder`/hh_harmless/pairs_train.parquet; returns `folder`."""
  import pyarrow
  import pyarrow.parquet as parquet

  path = folder / "hh_harmless"
  path.mkdir(parents=True)
  table = pyarrow.Table.from_pylist(rows(count))
  parquet.write_table(table, path / "pairs_train.parquet")
  return folder
