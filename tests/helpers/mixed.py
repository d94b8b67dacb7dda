"""Sources of three forms, to be mixed."""

from runs import write


def rated(name, prompts, each=4, scale=1.0):
  return [
    {
      "prompt": f"{name} {i}?",
      "completion": f"{name} {k}",
      "reward": scale * (k + (i + k) % 2),
    }
    for i in range(prompts)
    for k in range(each)
  ]


def preferred(name, prompts):
  return [
    {"prompt": f"{name} {i}?", "chosen": "yes", "rejected": "no"}
    for i in range(prompts)
  ]


def write_sources():
  """a.jsonl and b.jsonl have scores, p.jsonl pairs, t.jsonl labels."""
  write("a.jsonl", rated("a", 12))
  write("b.jsonl", rated("b", 8, each=2, scale=100.0))
  write("p.jsonl", preferred("p", 20))
  thumbs = [
    {"prompt": f"t {i}?", "completion": "t", "label": i % 2 == 0}
    for i in range(20)
  ]
  write("t.jsonl", thumbs)
