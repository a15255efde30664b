"""The error tree: every failure that govsec raises on purpose, with the exit code a program ends with.

One idea: a caller catches the narrowest class, a program prints the message and exits with ``exit_code``.
Foreign exceptions (``OSError``, botocore's, pydantic's …) are translated at the edge that meets them.

::

    GovsecError                      70  internal error, when nothing narrower fits
    ├── UsageError                    2  the command line is wrong
    ├── ConfigurationError            3  the configuration, a plan or a secret is wrong
    │   └── WrongPasswordError        3  no key file of the repository opens with this password
    ├── StoreError                    4  a store did not do what was asked
    │   ├── StoreUnavailableError     4  not reachable, timed out, answered 5xx: worth another try
    │   │   └── CutShortError         4  the connection ended in the middle; what came is kept in it
    │   ├── ObjectNotFoundError       4  there is no object of this name
    │   ├── ObjectExistsError         5  a conditional put found an object
    │   ├── StoreDeniedError          5  the credential may not do this, or a lock forbids it
    │   └── StoreFullError           75  no space or quota left
    ├── HostUnreachableError          4  a host that was to be looked at did not answer, or stopped in the middle
    ├── RefusedError                  5  govsec will not do this: fencing, approval, a lock, an unsafe target
    │   └── LockedError               5  another process holds a repository lock
    ├── IntegrityError                6  bytes are not what their name, seal or signature says
    │   ├── FormatError               6  well-formed in no version that govsec knows
    │   └── LimitError                6  larger, deeper or longer than any honest input
    ├── CoverageError                 7  too little could be looked at for a verdict
    ├── SourceError                   1  what was to be backed up could not be read as asked
    ├── WorkerError                  70  a worker process died or failed in a way that nobody foresaw
    └── TryAgainError                75  not now; the same call may work later
"""

from __future__ import annotations


class GovsecError(Exception):
    """Root of the tree. The message names the thing, what was expected and what was found; never a secret."""

    exit_code: int = 70
    #: True when the same call may succeed later without anybody changing anything.
    is_retryable: bool = False


class UsageError(GovsecError):
    """The command line cannot be understood."""

    exit_code = 2


class ConfigurationError(GovsecError):
    """The configuration, a recovery plan, a secret file or a pack is wrong."""

    exit_code = 3


class WrongPasswordError(ConfigurationError):
    """No key file of the repository opens with the password that was given."""


class StoreError(GovsecError):
    """A store did not do what was asked of it."""

    exit_code = 4


class StoreUnavailableError(StoreError):
    """The store cannot be reached, timed out, cut the connection or answered with a server error."""

    is_retryable = True


class CutShortError(StoreUnavailableError):
    """The connection ended in the middle of what was asked for; ``received`` is what came, of ``size_bytes``."""

    def __init__(self, message: str, received: bytes = b"", size_bytes: int = 0) -> None:
        super().__init__(message)
        self.received = received
        self.size_bytes = size_bytes


class ObjectNotFoundError(StoreError):
    """There is no object of this name."""


class ObjectExistsError(StoreError):
    """A put with ``if_absent`` found an object of this name."""

    exit_code = 5


class StoreDeniedError(StoreError):
    """The credential may not do this, or a retention or legal hold forbids it."""

    exit_code = 5


class StoreFullError(StoreError):
    """The store has no space or quota left."""

    exit_code = 75


class HostUnreachableError(GovsecError):
    """A host that was to be looked at cannot be reached, refused the log-in, or stopped answering in the middle."""

    exit_code = 4
    is_retryable = True


class RefusedError(GovsecError):
    """govsec will not do this: fencing, a missing approval, an unsafe target."""

    exit_code = 5


class LockedError(RefusedError):
    """Another process holds a lock of the repository that excludes this one."""


class IntegrityError(GovsecError):
    """Bytes are not what their name, seal, signature or chain says they are."""

    exit_code = 6


class FormatError(IntegrityError):
    """The bytes are authentic as far as one can tell, but not well-formed in any version that govsec knows."""


class LimitError(IntegrityError):
    """Something is larger, deeper or longer than any honest input; reading it was stopped."""


class CoverageError(GovsecError):
    """Too little could be looked at to give a verdict."""

    exit_code = 7


class SourceError(GovsecError):
    """What was to be backed up could not be read as asked (missing path, failed command)."""

    exit_code = 1


class WorkerError(GovsecError):
    """A worker process died, or failed in a way that nobody foresaw."""


class TryAgainError(GovsecError):
    """Not now; the same call may work later."""

    exit_code = 75
    is_retryable = True
