"""Small cohorts for the tutorials of the documentation."""
