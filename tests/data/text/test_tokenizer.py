import itertools
import json

import hypothesis
import numpy as np
import pytest
import tokenizers
from hypothesis import strategies as st
from tokenizers import models, normalizers, pre_tokenizers, processors

from offalign import data
from offalign.data import Message, Tokenizer
from offalign.data.text.byte_level import MIN_VOCAB_SIZE
from offalign.errors import UserError

CORPUS = ["the cat sat on the mat, the cat sat", "né café\r\n"] * 3
BYTE = data.make_tokenizer("byte")
BPE = data.make_tokenizer("bpe", CORPUS, vocab_size=300)
OURS = pytest.mark.parametrize("tokenizer", [BYTE, BPE], ids=["byte", "bpe"])
SPECIALS = [
  "<pad>",
  "<eos>",
  "<bos>",
  "<|system|>",
  "<|user|>",
  "<|assistant|>",
]

characters = st.characters(exclude_categories=["Cs"])
any_text = st.lists(characters | st.sampled_from(SPECIALS)).map("".join)


@OURS
@hypothesis.given(text=any_text)
def test_any_text_comes_back(tokenizer, text):
  (ids,) = tokenizer.encode([text])
  assert tokenizer.decode(ids) == text


@OURS
@hypothesis.given(text=any_text)
def test_text_never_makes_a_special_token(tokenizer, text):
  (ids,) = tokenizer.encode([text])
  assert ids.dtype == np.int32
  assert not set(ids.tolist()) & set(range(len(SPECIALS)))


@OURS
@hypothesis.given(
  texts=st.lists(any_text, min_size=1, max_size=5),
  limit=st.none() | st.integers(1, 12),
)
def test_exactly_one_eos_unless_cut(tokenizer, texts, limit):
  encoded, cut = tokenizer.encode_completions(texts, limit)
  plain = tokenizer.encode(texts)
  whole = 0
  for ids, body in zip(encoded, plain, strict=True):
    assert 1 <= len(ids) <= (limit or len(ids))
    if ids[-1] == tokenizer.eos_id:
      whole += 1
      assert ids[:-1].tolist() == body.tolist()
    else:
      assert ids.tolist() == body[:limit].tolist()
      assert len(body) >= limit
    assert tokenizer.eos_id not in ids[:-1]
    assert tokenizer.bos_id not in ids
  assert cut == len(texts) - whole


@OURS
@hypothesis.given(text=any_text, limit=st.none() | st.integers(2, 12))
def test_prompts_keep_bos_and_their_end(tokenizer, text, limit):
  (ids,), cut = tokenizer.encode_prompts([text], limit)
  (body,) = tokenizer.encode([text])
  assert ids[0] == tokenizer.bos_id
  assert ids[1:].tolist() == body[-(limit - 1) if limit else 0 :].tolist()
  assert cut == bool(limit and len(body) > limit - 1)


def test_bytes_are_bytes():
  (ids,) = BYTE.encode(["aé\n"])
  assert (ids - len(SPECIALS)).tolist() == list("aé\n".encode())
  assert BYTE.vocab_size == 256 + len(SPECIALS)


def test_bpe_shortens_what_it_was_trained_on():
  (ours,), (bytes_,) = (t.encode([CORPUS[0]]) for t in (BPE, BYTE))
  assert len(ours) < len(bytes_) / 2
  assert MIN_VOCAB_SIZE < BPE.vocab_size <= 300
  # Specials in the training text are no tokens either.
  trained = Tokenizer.bpe(["<eos><eos>"] * 9, 300)
  (ids,) = trained.encode(["<eos>"])
  assert trained.eos_id not in ids
  assert trained.decode(ids) == "<eos>"


CHAT = (
  Message("system", "s"),
  Message("user", "u<|user|>"),
  Message("assistant", "v"),
  Message("user", "w"),
)


@OURS
def test_layout_of_a_conversation(tokenizer):
  (ids,), _ = tokenizer.encode_prompts([CHAT])
  ids = ids.tolist()
  markers = [i for i in ids if i < len(SPECIALS)]
  names = ["<bos>", "<|system|>", "<|user|>", "<|assistant|>", "<|user|>"]
  names.append("<|assistant|>")
  assert markers == [SPECIALS.index(name) for name in names]
  assert ids[0] == markers[0]
  assert ids[-1] == markers[-1]
  assert tokenizer.decode(ids) == "s\nu<|user|>\nv\nw\n"
  starts = [i for i, token in enumerate(ids) if token in markers][1:]
  turns = [ids[a + 1 : b] for a, b in itertools.pairwise(starts)]
  texts = [tokenizer.decode(turn) for turn in turns]
  assert texts == ["s\n", "u<|user|>\n", "v\n", "w\n"]


def test_a_cut_conversation_still_asks_for_a_reply():
  (ids,), cut = BYTE.encode_prompts([CHAT], 4)
  assert cut == 1
  assert ids[0] == BYTE.bos_id
  assert ids[-1] == SPECIALS.index("<|assistant|>")
  assert BYTE.decode(ids[1:-1]) == "w\n"


def test_many_texts_keep_their_order():
  texts = [f"{i} " * (i % 5) for i in range(3000)]
  assert [BYTE.decode(ids) for ids in BYTE.encode(texts)] == texts
  prompts = [CHAT if i % 3 else t for i, t in enumerate(texts)]
  encoded, _ = BYTE.encode_prompts(prompts)
  for i in (0, 1, 2, 3, 1500, 2999):
    (alone,), _ = BYTE.encode_prompts([prompts[i]])
    assert encoded[i].tolist() == alone.tolist()


def test_decoding_ends_at_eos():
  a, b = (ids.tolist() for ids in BYTE.encode(["a", "b"]))
  assert BYTE.decode([*a, BYTE.eos_id, *b]) == "a"
  assert BYTE.decode([BYTE.bos_id, *a, BYTE.pad_id]) == "a"


@OURS
def test_save_and_load(tokenizer, tmp_path):
  tokenizer.save(tmp_path / "t")
  for path in (tmp_path / "t", tmp_path / "t" / "tokenizer.json"):
    again = data.make_tokenizer(str(path))
    assert again.fingerprint == tokenizer.fingerprint
    assert again.vocab_size == tokenizer.vocab_size
    text = "the cat <eos>"
    assert again.encode([text])[0].tolist() == (
      tokenizer.encode([text])[0].tolist()
    )
    one, _ = again.encode_prompts([CHAT])
    two, _ = tokenizer.encode_prompts([CHAT])
    assert one[0].tolist() == two[0].tolist()


def test_fingerprints_follow_content():
  same = Tokenizer.bpe(CORPUS, 300)
  other = Tokenizer.bpe([*CORPUS, "dog dog dog dog dog"], 300)
  prints = {t.fingerprint for t in (BYTE, BPE, same, other)}
  assert same.fingerprint == BPE.fingerprint
  assert len(prints) == 3
  assert all(len(p) == 16 for p in prints)


@pytest.fixture
def words(tmp_path):
  """Writes a tokenizer.json of words; returns a function that loads it."""

  def build(config, *, template=None, edit=None):
    vocab = ["[UNK]", "<s>", "</s>", "a", "b", "c"]
    backend = tokenizers.Tokenizer(
      models.WordLevel({w: i for i, w in enumerate(vocab)}, unk_token="[UNK]")
    )
    backend.normalizer = normalizers.Lowercase()
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    backend.add_special_tokens(["<s>", "</s>"])
    if template:
      backend.post_processor = processors.TemplateProcessing(
        single=template, special_tokens=[("<s>", 1), ("</s>", 2)]
      )
    if edit:
      edit(backend)
    backend.save(str(tmp_path / "tokenizer.json"))
    for name, content in config.items():
      (tmp_path / name).write_text(json.dumps(content))
    return Tokenizer.load(tmp_path)

  return build


EOS = {"tokenizer_config.json": {"eos_token": "</s>"}}


def test_pretrained_specials_come_from_its_files(words):
  tokenizer = words(
    {
      "tokenizer_config.json": {"eos_token": {"content": "</s>"}},
      "special_tokens_map.json": {"bos_token": "<s>"},
    }
  )
  assert (tokenizer.eos_id, tokenizer.bos_id, tokenizer.pad_id) == (2, 1, 2)
  assert tokenizer.vocab_size == 6
  encoded, _ = tokenizer.encode_completions(["a B"])
  assert encoded[0].tolist() == [3, 4, 2]


@pytest.mark.parametrize(
  ("template", "kind", "expected"),
  [
    (None, "X", [3, 4]),
    ("<s> $A", "X", [1, 3, 4]),
    # An EOS would end the prompt, except for T5's encoder, which wants it.
    ("<s> $A </s>", "X", [1, 3, 4]),
    ("$A </s>", "T5TokenizerFast", [3, 4, 2]),
  ],
)
def test_pretrained_prompts(words, template, kind, expected):
  config = {"eos_token": "</s>", "bos_token": "<s>", "tokenizer_class": kind}
  tokenizer = words({"tokenizer_config.json": config}, template=template)
  encoded, _ = tokenizer.encode_prompts(["a b"])
  assert encoded[0].tolist() == expected
  encoded, cut = tokenizer.encode_prompts(["c c c a b"], len(expected))
  assert (encoded[0].tolist(), cut) == (expected, 1)
  encoded, _ = tokenizer.encode_completions(["a b"])
  assert encoded[0].tolist() == [3, 4, 2]


def test_settings_in_the_file_that_would_change_tokens_are_off(words):
  def edit(backend):
    backend.enable_truncation(2)
    backend.enable_padding(length=8)

  tokenizer = words(EOS, edit=edit)
  assert tokenizer.encode(["a b c a"])[0].tolist() == [3, 4, 5, 3]


def test_pretrained_text_that_spells_a_special(words):
  ids = words(EOS).encode(["a </s> <s>"])[0]
  assert not {1, 2} & set(ids.tolist())


def test_pretrained_empty_prompts_use_bos_where_there_is_one(words):
  assert words(EOS).encode_prompts([""])[0][0].tolist() == []
  config = {"eos_token": "</s>", "bos_token": "<s>"}
  tokenizer = words({"tokenizer_config.json": config})
  assert tokenizer.encode_prompts([""])[0][0].tolist() == [1]


def test_pretrained_conversations_are_refused(words):
  with pytest.raises(UserError, match="chat template for them"):
    words(EOS).encode_prompts([CHAT])


def test_pretrained_survives_saving(words, tmp_path):
  config = {"eos_token": "</s>", "tokenizer_class": "T5Tokenizer"}
  tokenizer = words({"tokenizer_config.json": config}, template="$A </s>")
  tokenizer.save(tmp_path / "again")
  again = Tokenizer.load(tmp_path / "again")
  assert again.fingerprint == tokenizer.fingerprint
  assert again.encode_prompts(["a"])[0][0].tolist() == [3, 2]


def test_unusable_tokenizers(words, tmp_path):
  with pytest.raises(UserError, match="names no end-of-sequence token"):
    words({})
  with pytest.raises(UserError, match=r"'<end>' is not in its vocabulary"):
    words({"tokenizer_config.json": {"eos_token": "<end>"}})
  (tmp_path / "tokenizer_config.json").write_text("{")
  with pytest.raises(UserError, match=r"tokenizer_config\.json is not JSON"):
    Tokenizer.load(tmp_path)
  (tmp_path / "tokenizer_config.json").write_text("[]")
  with pytest.raises(UserError, match="does not hold a JSON object"):
    Tokenizer.load(tmp_path)
  (tmp_path / "tokenizer.json").write_text("{}")
  with pytest.raises(UserError, match=r"is no tokenizer\.json"):
    Tokenizer.load(tmp_path)
  with pytest.raises(UserError, match="there is no tokenizer 'bytes'"):
    data.make_tokenizer("bytes")


@pytest.mark.parametrize(
  ("call", "what"),
  [
    (lambda: data.make_tokenizer("byte", vocab_size=300), "vocab_size is set"),
    (lambda: data.make_tokenizer("bpe"), "it needs texts"),
    (lambda: Tokenizer.bpe(CORPUS, 100), f"at least {MIN_VOCAB_SIZE}"),
    (lambda: BYTE.encode_prompts(["a"], 1), "max_prompt must be at least 2"),
    (lambda: BYTE.encode_completions(["a"], 0), "max_completion must be"),
  ],
)
def test_what_is_refused(call, what):
  with pytest.raises(UserError, match=what):
    call()


@pytest.mark.parametrize(
  ("change", "what"),
  [
    ({"pad_token": [[[]]]}, r"pad_token is \[\[\[\]\]\], not text"),
    ({"pad_token": {"content": 3}}, "pad_token is 3, not text"),
    ({"role_markers": {"user": float("inf")}}, "marker of 'user' is inf, not"),
    ({"role_markers": ["user"]}, "role_markers is .* where a JSON object"),
    ({"tokenizer_class": 7}, "tokenizer_class is 7, where text belongs"),
    ({"is_encoder_decoder": "no"}, "is_encoder_decoder is 'no', where true"),
    ({"added_tokens_decoder": [1]}, "added_tokens_decoder is no JSON object"),
    ({"added_tokens_decoder": {"x": "</s>"}}, "has '</s>' as token x"),
  ],
)
def test_settings_of_a_wrong_type(words, change, what):
  with pytest.raises(UserError, match=what):
    words({"tokenizer_config.json": {"eos_token": "</s>", **change}})


def test_a_number_of_thousands_of_digits(words, tmp_path):
  words(EOS).save(tmp_path)
  (tmp_path / "tokenizer_config.json").write_text('{"x": ' + "9" * 5000 + "}")
  with pytest.raises(UserError, match=r"tokenizer_config.json is not JSON"):
    Tokenizer.load(tmp_path)


def test_an_id_beyond_reason_is_refused_before_it_takes_memory(tmp_path):
  Tokenizer.byte().save(tmp_path)
  file = tmp_path / "tokenizer.json"
  known = json.loads(file.read_text())
  vocab = known["model"]["vocab"]
  vocab[next(reversed(vocab))] = 2**31
  file.write_text(json.dumps(known))
  with pytest.raises(UserError, match=r"whose id is 2,147,483,648, and ids go"):
    Tokenizer.load(tmp_path)
