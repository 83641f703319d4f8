"""Slow twins written for clarity: loops, exact fractions, float64 lists."""
