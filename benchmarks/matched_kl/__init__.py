"""Win rate and gain at equal KL: each method's curve over its own strength."""
