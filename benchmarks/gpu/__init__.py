"""One GPU, in parts of at most nine minutes: right first, then fast.

`run.sh --part=NAME` is the command, and docs/gpu.md its page. Nothing here
imports `datasets` or a peer, but for the peer's own process (`worker_trl`).
"""
