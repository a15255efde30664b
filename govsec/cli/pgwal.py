"""``govsec pg wal-push`` and ``wal-fetch``: what PostgreSQL itself calls.

A server understands two answers of a ``restore_command``: 0 is the file, 1 to 125 means that there is none, and then
recovery is over. So only what is known not to be there ends with 1; an error that says nothing about it ends with 200
and the code of the table, and the server stops instead of ending its recovery too early.
"""

from __future__ import annotations

import argparse

from govsec.cli import frame
from govsec.cli.where import site_of
from govsec.errors import GovsecError

EXIT_ABSENT = 1
EXIT_UNKNOWN = 200


def run_push(args: argparse.Namespace, io: frame.IO) -> int:
    """Take in one file of the log."""
    from govsec.assemble.postgresjobs import postgres_job
    from govsec.assemble.postgreswal import push_file

    site, system = site_of(args, io)
    job, source = postgres_job(system, args.job)
    pushed = push_file(site, system, job, source, args.path)
    io.result({"pushed": pushed}, f"{pushed.name}: {'held' if pushed.is_new else 'was held already'}")
    return 0


def run_fetch(args: argparse.Namespace, io: frame.IO) -> int:
    """Give one file of the log."""
    from govsec.assemble.postgresjobs import postgres_job
    from govsec.assemble.postgreswal import AbsentError, fetch_file

    try:
        site, system = site_of(args, io)
        job, _ = postgres_job(system, args.job)
        fetch_file(site, system, job, args.name, args.path, center=args.center)
    except AbsentError as error:
        return io.fail("absent", str(error), EXIT_ABSENT)
    except GovsecError as error:
        return io.fail("unknown", str(error), EXIT_UNKNOWN + min(error.exit_code, 55))
    return 0
