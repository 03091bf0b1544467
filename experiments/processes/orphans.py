"""Imported by the fork server before all else: a process that is an orphan from its first moment
ends without a word.

Its runner was killed after it had asked for the process and before it had said what for.
"""

import sys
from types import TracebackType


def tell(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if not issubclass(kind, EOFError | ConnectionError):
        sys.__excepthook__(kind, error, trace)


sys.excepthook = tell
