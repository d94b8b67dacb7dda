"""Reading feedback: paths -> rows -> cells -> records, every row checked."""
