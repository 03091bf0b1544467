"""Joins a Ray cluster, or starts one on this machine."""

import logging
import os
import signal

from experiments.launch.failures import first_line
from experiments.processes.signals import STOPS
from experiments.records.parsing import ConfigError
from experiments.train.environment import ROOT

# Where it is 0, a cluster of one machine listens on 127.0.0.1 alone: Ray's default on others.
LOOPBACK = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
SENT = ("experiments", "senet")  # packages that a node runs


def connect() -> None:
    """Joins the cluster of RAY_ADDRESS, else starts one here; its nodes get this code.

    Raises ConfigError where there is none at that address. Signals stay as they are.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    address = os.environ.get("RAY_ADDRESS")
    if not address:  # Ray reads it when it is imported; else it listens on every interface
        os.environ.setdefault(LOOPBACK, "0")
    import ray

    before = {number: signal.getsignal(number) for number in STOPS}
    code = {"py_modules": [str(ROOT / name) for name in SENT]}
    try:
        ray.init(
            address or "local",
            runtime_env=code | {"excludes": ["__pycache__"]},
            include_dashboard=None if address else False,
            logging_level=logging.ERROR,
            log_to_driver=False,
        )
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise ConfigError(f"RAY_ADDRESS {address or ''!r}: {first_line(error)}") from None
    finally:
        for number, action in before.items():
            signal.signal(number, action)  # Ray takes SIGTERM for itself
