"""Check that a checkpoint has the tensors that its config.json implies."""

import re

from offalign.errors import UserError
from offalign.models.hf.folder import CONFIG, Folder
from offalign.models.hf.read_leaves import axis_of_rows, flatten, windows
from offalign.models.hf.tensor_files import DTYPES, Tensor
from offalign.models.hf.weight_layout import Source
from offalign.types import Params


def expected_shapes(
  sources: dict[str, Source], shapes: Params
) -> dict[str, tuple[int, ...]]:
  """Derives the shape of every tensor of a checkpoint.

  Args:
    sources: path of a leaf -> its `Source`.
    shapes: the params' shapes.

  Returns:
    Name of a tensor -> its shape.
  """
  found: dict[str, tuple[int, ...]] = {}
  leaves = flatten(shapes)
  for path, source in sources.items():
    leaf = leaves[path]
    shape = list(leaf.shape[source.axes :])
    if source.transpose:
      shape.reverse()
    if source.rows is not None:
      shape[axis_of_rows(source)] = source.rows[1]
    for name in source.names:
      # Of leaves that share a tensor, the last has its last rows.
      found[name] = max(found.get(name, ()), tuple(shape))
  return found


def check_tensors(
  opened: Folder,
  expected: dict[str, tuple[int, ...]],
  duplicates: dict[str, str],
  ignored: tuple[str, ...],
) -> None:
  """Checks a checkpoint's tensors against those of the model.

  Args:
    opened: the checkpoint.
    expected: from `expected_shapes`.
    duplicates: copy -> the tensor that it must equal.
    ignored: patterns of tensors that hold no weights.

  Raises:
    UserError: names the first tensor that is missing, unexpected, of another
      shape or dtype, or a copy that differs from its original.
  """
  missing = [name for name in expected if name not in opened.tensors]
  if missing:
    raise UserError(
      f"{opened.path} lacks the tensor {missing[0]!r}{_more(missing)} of the "
      f"model that its {CONFIG} describes"
    )
  unexpected = [
    name
    for name in opened.tensors
    if name not in expected
    and name not in duplicates
    and not any(re.fullmatch(pattern, name) for pattern in ignored)
  ]
  if unexpected:
    raise UserError(
      f"{opened.tensors[unexpected[0]].file} has the tensor "
      f"{unexpected[0]!r}{_more(unexpected)}, which the model that {CONFIG} "
      "describes has no place for"
    )
  for name, shape in expected.items():
    tensor = opened.tensors[name]
    if tensor.shape != shape:
      raise UserError(
        f"{tensor.file}: tensor {name!r} is of shape {tensor.shape}; by "
        f"{CONFIG} it is {shape}"
      )
    if tensor.dtype not in DTYPES:
      raise UserError(
        f"{tensor.file}: tensor {name!r} is {tensor.dtype}; weights are read "
        f"from {', '.join(DTYPES)}"
      )
  for name, original in duplicates.items():
    if name in opened.tensors and not tensors_equal(
      opened.tensors[name], opened.tensors[original]
    ):
      head = ""
      if name.startswith("lm_head") or original.startswith("lm_head"):
        head = (
          f'; if both are meant, set "tie_word_embeddings" to false in its '
          f"{CONFIG}"
        )
      raise UserError(
        f"{opened.tensors[name].file}: tensor {name!r} differs from "
        f"{original!r}, which it is to equal{head}"
      )


def _more(names: list[str]) -> str:
  return f" (and {len(names) - 1} more)" if len(names) > 1 else ""


def tensors_equal(a: Tensor, b: Tensor) -> bool:
  """Tells whether two tensors are equal bit by bit."""
  if (a.shape, a.dtype) != (b.shape, b.dtype):
    return False
  return all(
    a.part(index).tobytes() == b.part(index).tobytes()
    for index in windows(a.shape, 0, a.nbytes)
  )
