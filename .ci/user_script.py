"""What a user may write; the gate checks its types against the wheel."""

from typing import assert_type

import offalign.losses
from offalign.data import Table, load

loss = offalign.losses.get("kto(beta=0.2)")
assert_type(loss, offalign.losses.Loss)
assert_type(load("thumbs.jsonl"), Table)
print(loss.bta)  # type: ignore[attr-defined]  # of Any it would be unused
