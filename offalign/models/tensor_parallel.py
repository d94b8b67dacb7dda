"""Tensor parallelism: how devices on the "tensor" axis share a transformer.

One table serves every family, since all name their projections alike.
Projections into heads or hidden units are split by columns, projections out
of them by rows, so that a block needs one sum over the devices after
attention and one after the MLP (arXiv:1909.08053, section 3).
"""

from offalign.distributed.sharding import Split


def transformer(
  *,
  heads: int,
  groups: int,
  head_size: int,
  inner: int,
  vocab_size: int,
  expert: int | None = None,
) -> dict[str, Split]:
  """Makes the table of a transformer: ends of paths -> how to split.

  Args:
    heads: heads of the queries.
    groups: heads of the keys and values.
    head_size: D.
    inner: width of the MLP.
    vocab_size: V.
    expert: width of an expert's MLP, where there are experts. Each is split
      inside, as an MLP is; dealt out whole, devices would wait for the one
      whose experts are popular.
  """
  queries = (heads * head_size, heads, "heads")
  keys = (groups * head_size, groups, "heads of keys and values")
  hidden = (inner, inner, "units of the MLP")
  tokens = (vocab_size, vocab_size, "tokens of the vocabulary")
  columns = {
    "query": queries,
    "key": keys,
    "value": keys,
    "gate": hidden,
    "up": hidden,
    "head": tokens,
  }
  table = {
    f"{name}/{leaf}": Split(-1, *what)
    for name, what in columns.items()
    for leaf in ("kernel", "bias")
  }
  if expert is not None:
    units = (expert, expert, "units of an expert")
    table |= {
      "experts/gate": Split(-1, *units),
      "experts/up": Split(-1, *units),
      "experts/down": Split(-2, *units),
    }
  return table | {
    "out/kernel": Split(-2, *queries),
    "down/kernel": Split(-2, *hidden),
    "embedding/table": Split(-2, *tokens),
    "bias/embedding/table": Split(-1, heads, heads, "heads"),
  }
