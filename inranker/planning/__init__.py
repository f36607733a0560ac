"""What a whole recipe will take, before any of it has run: `distill.py RECIPE --plan`."""
