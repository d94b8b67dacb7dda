"""Evaluation of policies; nothing here knows which loss trained them."""
