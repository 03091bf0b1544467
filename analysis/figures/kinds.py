"""Which figures there are, in their order on the page. No matplotlib: it is for those who draw."""

# `figures.FIGURES`
STUDIES = ("budget", "errors", "ratio", "curves", "figure4", "cost", "factorial", "tuning")
TITLES = {  # of the figures of gates, `cells.draw`
    "figure6": "Mean gate of each channel (Figure 6)",
    "figure7": "Gates within a class (Figure 7)",
    "specificity": "What the gates say, by depth",
    "walk": "One image through one block",
    "interventions": "Error with other gates",
}
KINDS = (*STUDIES, *TITLES)
# Under the secondary outcomes.
BEHIND = (
    "How good the probabilities are: each variant minus its reference, with 95 % intervals; left "
    "is better. No verdict rests on them."
)
# Of the forest plot.
CAPTION = (
    "Filled is ours, with 95 % intervals, the same as in every table; hollow is the paper's, on "
    "its own data; in the band two networks count as alike. A verdict stands where the "
    "comparison was declared beforehand."
)
