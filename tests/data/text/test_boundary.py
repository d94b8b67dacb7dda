"""A prompt's tokens are a prefix, and it is told where a whole has others."""

import io

import chat_cases
import hypothesis
import numpy as np
import pytest
import tqdm
from hypothesis import strategies as st

from offalign import data, progress
from offalign.data.text import layout
from offalign.data.text.tokenizer import Tokenizer

BPE = data.make_tokenizer("bpe", ["the cat sat, don't\n\n  sit"] * 5, 300)
PIECES = Tokenizer(
  chat_cases.backend("pieces", bos=True),
  {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"},
)
pieces_of_text = st.text(alphabet="the cat sat,'\n s<>/", max_size=12)


@pytest.mark.parametrize("tokenizer", [BPE, PIECES], ids=["bpe", "pieces"])
@hypothesis.given(prompt=pieces_of_text, reply=pieces_of_text)
def test_counted_where_the_whole_has_other_tokens(tokenizer, prompt, reply):
  found = tokenizer.encode_rows([prompt], [(0, reply)])
  (x,), (y,) = found.prompts, found.completions
  (alone,) = tokenizer.encode([prompt])
  (whole,) = tokenizer.encode([prompt + reply])
  np.testing.assert_array_equal(x, [tokenizer.bos_id, *alone])
  joined = np.concatenate([x, y])[1:]
  same = np.array_equal(joined, [*whole, tokenizer.eos_id])
  assert same != any("lies across" in said for said in found.sentences)
  assert same == np.array_equal(whole[: len(alone)], alone)
  assert tokenizer.decode(joined) == tokenizer.decode(whole)


def test_an_encoder_reads_its_prompt_alone():
  encoder = Tokenizer(
    chat_cases.backend("pieces", bos=False),
    {"eos_token": "</s>", "tokenizer_class": "T5Tokenizer"},
  )
  encoder._backend.post_processor = chat_cases.processors.TemplateProcessing(
    single="$A </s>", special_tokens=[("</s>", 2)]
  )
  encoder = Tokenizer(encoder._backend, encoder._config)
  found = encoder.encode_rows(["the c"], [(0, "at")])
  assert found.sentences == ()
  for ids, text in ((found.prompts[0], "the c"), (found.completions[0], "at")):
    assert ids.tolist() == [*encoder.encode([text])[0], 2]


def test_the_bar_counts_every_text(monkeypatch):
  bars = []

  class Bar(tqdm.tqdm):
    def __init__(self, **options):
      super().__init__(**(options | {"disable": False, "file": io.StringIO()}))
      bars.append(self)

  monkeypatch.setattr(progress.tqdm, "tqdm", Bar)
  monkeypatch.setattr(layout, "_CHUNK", 2)
  BPE.encode_rows(["a", "b", "c"], [(i % 3, f"{i}") for i in range(5)])
  (bar,) = bars
  assert (bar.n, bar.total) == (8, 8)
