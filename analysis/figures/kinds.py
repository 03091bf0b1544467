"""Lists which figures there are, in their order on the page.

It does not import matplotlib: only modules that draw do.
"""

# Of a study: the rows of FIGURES in study.py.
STUDY_FIGURES = ("budget", "ratio", "errors", "curves", "figure4", "cost", "factorial", "tuning")
MAIN = STUDY_FIGURES[:3]  # the one figure of a study: the first of these that it has
TITLES = {  # of the figures of gates: what `draw` in gates.py gives
    "figure6": "Mean gate of each channel (Figure 6)",
    "figure7": "Gates within a class (Figure 7)",
    "specificity": "What the gates say, by depth",
    "walk": "One image through one block",
    "interventions": "Error with other gates",
}
KINDS = (*STUDY_FIGURES, *TITLES)
OF_A_GROUP = ("forest", "outcomes")
# Of the forest plot.
CAPTION = (
    "Filled marks are ours, with the 95 % intervals of the tables; hollow ones are the paper's, on "
    "its own data; inside the band two networks count as alike. A verdict stands where the "
    "comparison is declared."
)
