"""Safetensors files: what is accepted, what is refused, and by which words."""

import json
import struct

import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from offalign.errors import UserError
from offalign.models.hf.tensor_files import MAX_HEADER, Writer, read_header

GOOD = {
  "a": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]},
  "b": {"dtype": "BF16", "shape": [4], "data_offsets": [24, 32]},
}


def write(path, header, data=bytes(range(32)), length=None):
  text = header if isinstance(header, bytes) else json.dumps(header).encode()
  n = len(text) if length is None else length
  path.write_bytes(struct.pack("<Q", n) + text + data)
  return path


@pytest.fixture
def file(tmp_path):
  return tmp_path / "model.safetensors"


def test_good_file(file):
  tensors = read_header(write(file, GOOD | {"__metadata__": {"format": "pt"}}))
  assert list(tensors) == ["a", "b"]
  data = bytes(range(32))
  whole = (slice(None),) * 2
  a = np.frombuffer(data[:24], np.float32).reshape(2, 3)
  np.testing.assert_array_equal(tensors["a"].part(whole), a)
  np.testing.assert_array_equal(
    tensors["a"].part((slice(1, 2), slice(0, 2))), a[1:, :2]
  )
  b = np.frombuffer(data[24:], jnp.bfloat16)
  np.testing.assert_array_equal(tensors["b"].part((slice(1, 3),)), b[1:3])


def changed(**entry):
  return {"a": GOOD["a"], "b": GOOD["b"] | entry}


def without(key):
  return {"a": GOOD["a"], "b": {k: GOOD["b"][k] for k in GOOD["b"] if k != key}}


BAD = {
  "a list": ([], "no JSON object"),
  "not JSON": (b"{'a'", "header is not JSON"),
  "not text": (b"\xff\xfe{}", "header is not JSON"),
  "deep": (b"[" * 100_000, "header is not JSON"),
  "long number": (b'{"a":' + b"9" * 5000 + b"}", "header is not JSON"),
  "twice": (
    json.dumps(GOOD).replace('"b"', '"a"').encode(),
    "has 'a' twice",
  ),
  "no dtype": (without("dtype"), "tensor 'b' has not exactly"),
  "no shape": (without("shape"), "tensor 'b' has not exactly"),
  "more": (changed(extra=1), "tensor 'b' has not exactly"),
  "no dict": ({"b": 3}, "tensor 'b' has not exactly"),
  "dtype": (changed(dtype="F31"), "tensor 'b' has the unknown dtype 'F31'"),
  "no str": (changed(dtype=["F32"]), "tensor 'b' has the unknown dtype"),
  "negative": (changed(shape=[-4]), "tensor 'b' has no shape"),
  "fraction": (changed(shape=[4.0]), "tensor 'b' has no shape"),
  "bool": (changed(shape=[True, 4]), "tensor 'b' has no shape"),
  "rank": (changed(shape=[1] * 17), "tensor 'b' has no shape"),
  "huge": (changed(shape=[10**4000]), "tensor 'b' has no shape"),
  "large": (changed(shape=[2**62, 2**62]), "tensor 'b' of shape"),
  "wrong shape": (changed(shape=[5]), "has 10 bytes by its shape, and 8 by"),
  "offsets": (changed(data_offsets=[24]), "no pair of data_offsets"),
  "reversed": (changed(data_offsets=[32, 24]), "and -8 by its data_offsets"),
  "gap": (changed(data_offsets=[26, 34]), "'b' begins at byte"),
  "overlap": (changed(data_offsets=[20, 28]), "'b' begins at byte"),
  "same place": (
    {"a": GOOD["a"], "b": GOOD["a"]},
    "begins at byte",
  ),
  "bytes left over": ({"a": GOOD["a"]}, "its tensors end at byte"),
}


@pytest.mark.parametrize("case", list(BAD))
def test_bad_headers_are_refused_by_name(file, case):
  header, message = BAD[case]
  with pytest.raises(UserError, match="model.safetensors.*" + message):
    read_header(write(file, header))


def test_a_tensor_that_is_described_twice_in_the_same_words(file):
  entry = b'"a":' + json.dumps(GOOD["a"]).encode()
  with pytest.raises(UserError, match="its header has 'a' twice"):
    read_header(write(file, b"{" + entry + b"," + entry + b"}", bytes(24)))


@pytest.mark.parametrize("size", [0, 7])
def test_too_short_for_a_length(file, size):
  file.write_bytes(bytes(size))
  with pytest.raises(UserError, match=f"no safetensors file: it has {size}"):
    read_header(file)


@pytest.mark.parametrize("length", [1000, MAX_HEADER + 1, 2**64 - 1])
def test_a_header_that_claims_too_much_allocates_nothing(file, length):
  with pytest.raises(UserError, match="corrupt or truncated: it claims"):
    read_header(write(file, GOOD, length=length))


def test_a_header_above_the_limit_is_refused_though_the_file_has_it(
  file, monkeypatch
):
  monkeypatch.setattr("offalign.models.hf.tensor_files.MAX_HEADER", 100)
  with pytest.raises(UserError, match="claims a header of"):
    read_header(write(file, GOOD))


@pytest.mark.parametrize("cut", range(1, 33))
def test_truncation_names_the_tensor(file, cut):
  name = "b" if cut <= 8 else "a"
  with pytest.raises(UserError, match=f"is truncated: tensor '{name}' ends"):
    read_header(write(file, GOOD, data=bytes(32 - cut)))


def test_integers_are_no_weights(file):
  header = {"a": {"dtype": "I64", "shape": [4], "data_offsets": [0, 32]}}
  tensor = read_header(write(file, header))["a"]
  with pytest.raises(UserError, match="tensor 'a' is I64; weights are read"):
    tensor.part((slice(None),))


def test_a_file_that_changes_after_its_header_was_read(file):
  tensor = read_header(write(file, GOOD))["b"]
  file.write_bytes(file.read_bytes()[:-1])
  with pytest.raises(UserError, match="tensor 'b' cannot be read"):
    tensor.part((slice(None),))


def test_writing_in_any_order_and_by_rows(file):
  rng = np.random.default_rng(0)
  a = rng.normal(size=(6, 3)).astype(np.float32)
  b = rng.normal(size=(4, 6)).astype(np.float32)
  writer = Writer(file, {"a": (6, 3), "b": (4, 6), "c": (5,)}, "F32")
  writer.write("c", np.arange(5.0), None, -1)
  writer.write("b", b[:, 2:], (2, 6), -1)
  writer.write("a", a[4:], (4, 6), 0)
  writer.write("b", b[:, :2], (0, 2), -1)
  writer.write("a", a[:4], (0, 4), 0)
  writer.close()
  tensors = read_header(file)
  for name, values in {"a": a, "b": b, "c": np.arange(5.0)}.items():
    index = (slice(None),) * values.ndim
    np.testing.assert_array_equal(tensors[name].part(index), values)


def test_the_library_reads_what_we_write(file):
  values = np.random.default_rng(0).normal(size=(3, 5)).astype(jnp.bfloat16)
  writer = Writer(file, {"some.weight": (3, 5)}, "BF16")
  writer.write("some.weight", values, None, 0)
  writer.close()
  found = load_file(file)
  assert list(found) == ["some.weight"]
  np.testing.assert_array_equal(found["some.weight"], values)


def test_we_read_what_the_library_writes(file):
  rng = np.random.default_rng(0)
  values = {
    name: rng.normal(size=shape).astype(dtype)
    for name, shape, dtype in [
      ("a", (3, 5), np.float32),
      ("b", (7,), np.float16),
      ("c", (2, 2, 2), jnp.bfloat16),
      ("d", (0, 4), np.float32),
    ]
  }
  save_file(values, file, metadata={"format": "pt"})
  for name, tensor in read_header(file).items():
    index = (slice(None),) * len(tensor.shape)
    part = tensor.part(index)
    assert part.dtype == values[name].dtype
    np.testing.assert_array_equal(part, values[name])
