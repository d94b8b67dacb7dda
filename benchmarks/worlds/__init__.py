"""Small worlds with a programmatic judge, none of which shares its tasks."""
