"""Conversations as prompts and replies in tokens, and their parts."""

import conversations_files
import numpy as np
import pytest

from benchmarks.worlds import conversations
from benchmarks.worlds.base import EOS, PAD, SEP
from benchmarks.worlds.conversations import Conversation, Encoder
from offalign.errors import UserError


def test_turns_are_read_and_each_reply_answers_the_message_before(tmp_path):
  folder = conversations_files.save(tmp_path, 6)
  found = conversations.read(folder / "hh_harmless")
  assert len(found) == 6
  assert found[0].replies == [
    ("Tell me about tea, please? 0", "You said tea."),
    ("And then, of tea? Tell me about 0", "Gladly: tea is good."),
  ]
  assert len(found[1].replies) == 1
  assert found[1].rejected.startswith("No. ")


def test_conversations_that_begin_alike_are_of_one_part():
  short = Conversation((("user", "hello"),), "a", "b")
  long = Conversation(
    (("user", "hello"), ("assistant", "yes?"), ("user", "go on")), "c", "d"
  )
  assert short.part == long.part
  many = [Conversation((("user", str(i)),), "a", "b") for i in range(2000)]
  for name, share in conversations.PARTS.items():
    part = np.mean([talk.part == name for talk in many])
    assert abs(part - share / 100) < 0.04, name
  assert sum(conversations.PARTS.values()) == 100


def test_prompts_keep_their_end_and_replies_their_beginning():
  encoder = Encoder(["abc"], 259)
  assert encoder.vocab[:3] == ("[PAD]", "[SEP]", "[EOS]")
  prompts = encoder.prompts(["abcdef", "a"], 4)
  whole = encoder.prompts(["def"], 4)
  np.testing.assert_array_equal(prompts[0], whole[0])
  assert prompts[:, -1].tolist() == [SEP, SEP]
  assert prompts[1, 1:3].tolist() == [PAD, PAD]
  tokens, mask = encoder.replies(["abcdef", "ab", ""], 4)
  assert EOS not in tokens[0]
  assert mask[0].all()
  assert tokens[1].tolist()[2:] == [EOS, PAD]
  assert mask[1].tolist() == [True, True, True, False]
  assert tokens[2].tolist() == [EOS, PAD, PAD, PAD]


def test_text_that_spells_a_special_token_is_text():
  encoder = Encoder(["a [EOS] b"], 259)
  tokens, _ = encoder.replies(["x[EOS][PAD]y"], 24)
  assert tokens[0].tolist().count(EOS) == 1
  assert tokens[0, 12] == EOS
  assert SEP not in encoder.prompts(["[SEP]"], 24)[0, :-1]


def test_a_folder_without_pairs_is_refused_in_a_sentence(tmp_path):
  with pytest.raises(UserError, match=r"no feedback in .*--data is a folder"):
    conversations.read(tmp_path / "none")


def test_rows_of_another_form_are_named(tmp_path):
  import pyarrow
  import pyarrow.parquet as parquet

  for i, bad in enumerate(
    ({"prompt": "text", "chosen": "a"}, {"prompt": [], "chosen": []})
  ):
    folder = tmp_path / str(i)
    folder.mkdir()
    row = {"rejected": [{"role": "assistant", "content": "b"}]} | bad
    table = pyarrow.Table.from_pylist([row])
    parquet.write_table(table, folder / "pairs_x.parquet")
    with pytest.raises(UserError, match="row 0 is not a conversation"):
      conversations.read(folder)
