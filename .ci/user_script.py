"""What a user may write; the gate checks its types against the wheel."""

from typing import assert_type

import offalign as oa

loss = oa.losses.get("kto(beta=0.2)")
assert_type(loss, oa.Loss)
assert_type(oa.load_data("thumbs.jsonl"), oa.data.Table)
assert_type(oa.Run(loss="kto", data="thumbs.jsonl").train(), oa.Policy)
print(loss.bta)  # type: ignore[attr-defined]  # of Any it would be unused
