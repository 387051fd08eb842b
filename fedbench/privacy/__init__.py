"""Differential privacy: what is released is nearly the same without any one unit.

A unit is a site, or one example of a site. Neighbours differ by one unit that is there or not
(add or remove); where a cohort has a fixed size, by one site's update that is replaced by zeros,
because then nothing is claimed for the draw of the cohort.
"""
