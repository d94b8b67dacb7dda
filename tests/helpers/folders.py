"""Tensors of model folders, read and replaced."""

import numpy as np

from offalign.models.hf.folder import SINGLE, open_folder
from offalign.models.hf.read_leaves import flatten
from offalign.models.hf.tensor_files import Writer


def tensors(folder):
  """name -> values, whole."""
  return {
    name: np.array(tensor.part((slice(None),) * len(tensor.shape)))
    for name, tensor in open_folder(folder).tensors.items()
  }


def rewrite(folder, values, dtype="F32"):
  """Replaces the weights of a folder."""
  (folder / SINGLE).unlink()
  shapes = {name: array.shape for name, array in values.items()}
  writer = Writer(folder / SINGLE, shapes, dtype)
  for name, array in values.items():
    writer.write(name, array, None, 0)
  writer.close()


def same(a, b):
  a, b = flatten(a), flatten(b)
  assert a.keys() == b.keys()
  for path in a:
    assert np.asarray(a[path]).tobytes() == np.asarray(b[path]).tobytes(), path
