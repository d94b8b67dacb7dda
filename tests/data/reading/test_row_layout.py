from offalign import data


def test_both_names_of_pair_rewards_read_one_and_say_so(write):
  row = {"prompt": "x", "chosen": "a", "rejected": "b"}
  row |= {"chosen_reward": 1, "rejected_reward": 0}
  row |= {"score_chosen": 9, "score_rejected": 8}
  table = data.load(write([row]))
  assert table.records[0].rewards == (1.0, 0.0)
  assert "columns not read: score_chosen, score_rejected" in str(table.summary)
