"""What the dialects promise to a program of anybody: see the README of the package."""
