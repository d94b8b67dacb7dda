import pytest
from folders import rewrite, tensors

from offalign.errors import UserError
from offalign.models.hf.check_tensors import check_tensors
from offalign.models.hf.folder import open_folder


def test_a_tied_head_that_differs_says_how_to_untie_it(t5_folder):
  values = tensors(t5_folder)
  values["lm_head.weight"] = values["shared.weight"] + 1
  rewrite(t5_folder, values)
  expected = {k: v.shape for k, v in values.items() if k != "lm_head.weight"}
  with pytest.raises(UserError, match='"tie_word_embeddings" to false in its'):
    check_tensors(
      open_folder(t5_folder), expected, {"lm_head.weight": "shared.weight"}, ()
    )
  with pytest.raises(UserError, match=r"which it is to equal$"):
    check_tensors(
      open_folder(t5_folder),
      {k: v.shape for k, v in values.items()},
      {"shared.weight": "encoder.final_layer_norm.weight"},
      (),
    )
