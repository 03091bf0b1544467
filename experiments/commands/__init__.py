"""Lists the commands of `python -m experiments`, and what `--help` says of each.

A command is imported when it is called. Those of `python -m analysis` are in analysis/__main__.py.
"""

COMMANDS = {
    "run": """Train what is missing of the grids, then draw their tables and figures.

    What is there is never trained again, and what was interrupted goes on where it was: call it
    as often as you like, also twice at once.
    """,
    "retry": """Forget the failures of the grids, then `run`. Checkpoints and finished runs are
    kept.""",
    "plan": """Show what `run` would train, what is there, and what it costs. Nothing is written.

    The time comes from finished runs, or else from a few steps, and from simulated schedules: also
    with workers that are not here, that fail, and that have a price.
    """,
    "status": """Show the state of every run that was asked for: what the files say, and Slurm of
    its jobs.""",
    "delete": """Delete runs, finished or not, by their full names. Nothing else deletes a finished
    run.""",
    "data": "Fetch and prepare a data set, and check it.",
    "complexity": "Count parameters and multiply-adds for the cost columns of the paper's tables.",
    "repeat": """Train finished runs again, picked at random, and compare. Nothing is written into
    RESULTS.""",
    "export": """Write the weights of one seed a row, as safetensors in float16, each with a model
    card.""",
    "wandb-sync": """Send W&B what it lacks: what was kept without a network, and what the records
    hold.""",
    "sweep": """Write the file of a W&B sweep, whose agents train the runs of the grids.""",
    "dashboard": """Create or update the dashboard on W&B: a view of each study, and a report of
    all.""",
}
MODULES = {"retry": "run", "wandb-sync": "wandb", "dashboard": "wandb"}  # else that of its name
