"""Views: records -> the rows that a loss of a given kind and needs takes."""
