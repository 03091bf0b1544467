"""Lets a process end without a message where its driver was killed before it gave it any work.

The fork server imports this module before all else.
"""

import sys
from types import TracebackType


def tell(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if not issubclass(kind, EOFError | ConnectionError):
        sys.__excepthook__(kind, error, trace)


sys.excepthook = tell
