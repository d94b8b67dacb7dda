"""Small files of feedback under the names that pages use for them."""

import json
import pathlib

_SUMS = [(a, b) for a in range(12) for b in range(8)]


def _rows(name: str) -> list[dict[str, object]]:
  rows: list[dict[str, object]] = []
  for a, b in _SUMS:
    prompt, good, bad = f"{a} + {b} =", f" {a + b}", f" {a + b + 1}"
    both: dict[str, list[dict[str, object]]] = {
      "demos": [{"prompt": prompt, "completion": good}],
      "thumbs": [
        {"prompt": prompt, "completion": good, "label": True},
        {"prompt": prompt, "completion": bad, "label": False},
      ],
      "scores": [
        {"prompt": prompt, "completion": good, "reward": 1.0 + 0.1 * b},
        {"prompt": prompt, "completion": bad, "reward": 0.1 * b},
      ],
      "pairs": [{"prompt": prompt, "chosen": good, "rejected": bad}],
      "groups": [
        {
          "prompt": prompt,
          "completions": [good, bad, " 99"],
          "rewards": [1.0, 0.2, 0.0],
        }
      ],
    }
    rows += both[name]
  return rows


def write(folder: pathlib.Path, name: str) -> None:
  """Writes NAME.jsonl, one of demos, thumbs, scores, pairs and groups."""
  rows = _rows(name.removesuffix(".jsonl"))
  text = "".join(json.dumps(row) + "\n" for row in rows)
  (folder / name).write_text(text, encoding="utf-8")
