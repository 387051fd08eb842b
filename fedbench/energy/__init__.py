"""Energy of training and scoring: measured in a suite of its own that has the machine to itself.

Accuracy grids run side by side, so a meter would bill one run for its neighbours. Every figure says
for each component how it was obtained: measured by a counter, or estimated.
"""
