"""``govsec notify``: try a channel for real, look into the outbox, send what waits."""

from __future__ import annotations

import argparse
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from govsec.cli import frame, notifyrota, notifytrial, texts
from govsec.errors import UsageError

if TYPE_CHECKING:  # pydantic takes its time; `govsec notify --help` does without it
    from govsec.notice.outbox import Item

_FILES_MAX = 10
_EXIT_FINDINGS = 1
_EXIT_UNREACHABLE = 4
#: Turns of a channel that is so slow that it has one a step.
_STEPS_MAX = 1000


def register(parser: frame.Parser) -> None:
    """Add the verbs."""
    verbs = frame.verbs_of(parser)
    test = frame.add_verb(
        verbs,
        "test",
        run_test,
        "send a test notice over one channel now and look at the answer; 4 when it was not taken",
        examples=["govsec notify test duty", "govsec notify test mail --json"],
    )
    test.add_argument("channel", metavar="CHANNEL", help="as notify.channels names it")
    test.add_argument(
        "--attach", action="append", default=[], metavar="FILE", help="with this file (again for more, ten at most)"
    )
    queue = frame.add_verb(
        verbs,
        "queue",
        run_queue,
        "what waits, was delivered, or is a dead letter; 1 when there are dead letters",
        examples=["govsec notify queue", "govsec notify queue --state dead --json"],
    )
    queue.add_argument("--state", choices=("waiting", "done", "dead"), default="waiting")
    queue.add_argument("--limit", type=int, default=50, metavar="N", help="at most so many (default 50)")
    retry = frame.add_verb(
        verbs,
        "retry",
        run_retry,
        "send dead letters again",
        examples=["govsec notify retry 17", "govsec notify retry --all"],
    )
    retry.add_argument("id", type=int, nargs="?", metavar="ID", help="as `queue --state dead` shows it")
    retry.add_argument("--all", action="store_true", help="every dead letter")
    frame.add_verb(
        verbs, "send", run_send, "send what is due now; an agent does this by itself", examples=["govsec notify send"]
    )
    notifyrota.register(verbs)
    notifytrial.register(verbs)


def run_test(args: argparse.Namespace, io: frame.IO) -> int:
    """Send a test notice."""
    from govsec.assemble.notify import build_channels, trial_notice
    from govsec.notice.api import DeliveryError

    if len(args.attach) > _FILES_MAX:
        raise UsageError(f"--attach: {_FILES_MAX} files at most")
    channel = build_channels(io.config(), io.clock, names=[args.channel])[args.channel]
    begun = io.clock.monotonic()
    try:
        receipt = channel.send(trial_notice(args.channel, io.clock, [Path(name) for name in args.attach]))
    except DeliveryError as error:
        return io.fail("delivery", str(error), _EXIT_UNREACHABLE)
    seconds = io.clock.monotonic() - begun
    record = {
        "channel": args.channel,
        "state": receipt.state.value,
        "number": receipt.number,
        "seconds": round(seconds, 3),
    }
    io.result(record, f"{args.channel}: {receipt.state.value} {receipt.number} ({texts.duration(seconds)})")
    return 0


def run_queue(args: argparse.Namespace, io: frame.IO) -> int:
    """Show the outbox."""
    from govsec.assemble.notify import open_outbox
    from govsec.notice.outbox import ItemState

    if not 1 <= args.limit <= 10_000:
        raise UsageError("--limit: 1 to 10000")
    with open_outbox(io.config()) as outbox:
        counters = outbox.counters()
        items = outbox.items(ItemState(args.state), limit=args.limit)
    head = ("ID", "CHANNEL", "PART", "TO", "TRIES", "NEXT", "SUBJECT", "ERROR")
    rows = [
        (
            *(item.id, item.channel, f"{item.part.number}/{item.part.count}" if item.part else ""),
            *(item.part.to if item.part else "", item.tries),
            *(f"{item.next_at:%Y-%m-%dT%H:%M:%SZ}", item.notice.subject, item.error),
        )
        for item in items
    ]
    counts = "  ".join(f"{name}: {count}" for name, count in counters.items())
    io.result(
        {"counters": counters, "items": [_record(item) for item in items]},
        lambda: counts + ("\n" + texts.table(head, rows) if rows else ""),
    )
    return _EXIT_FINDINGS if counters["dead"] else 0


def run_retry(args: argparse.Namespace, io: frame.IO) -> int:
    """Send dead letters again."""
    from govsec.assemble.notify import open_outbox
    from govsec.notice.outbox import ItemState

    if args.all == (args.id is not None):
        raise UsageError("retry: an ID, or --all")
    with open_outbox(io.config()) as outbox:
        ids = [args.id] if args.id is not None else [item.id for item in outbox.items(ItemState.DEAD, limit=100_000)]
        for item_id in ids:
            outbox.retry(item_id, io.clock.now())
    io.result({"retried": ids}, f"{len(ids)} will be sent again")
    return 0


def run_send(_: argparse.Namespace, io: frame.IO) -> int:
    """Send what is due."""
    from govsec.assemble.notify import build_channels, open_outbox
    from govsec.notice.sender import Sender

    with open_outbox(io.config()) as outbox:
        channels, kept = build_channels(io.config(), io.clock), timedelta(days=io.config().notify.kept_days)
        sender = Sender(outbox, channels, io.clock, kept=kept)
        record = {"delivered": 0, "failed": 0, "dead": 0}
        for _turn in range(_STEPS_MAX):
            sent = sender.step(limit=1000)
            for name in record:
                record[name] += getattr(sent, name)
            if not sent.delivered and not sent.dead:
                break
    io.result(record, "  ".join(f"{name}: {count}" for name, count in record.items()))
    return _EXIT_UNREACHABLE if record["failed"] or record["dead"] else 0


def _record(item: Item) -> dict[str, Any]:
    return {
        "id": item.id,
        "channel": item.channel,
        "state": item.state.value,
        "tries": item.tries,
        "created_at": item.created_at,
        "next_at": item.next_at,
        "error": item.error,
        "part": item.part.model_dump(mode="json", exclude_none=True) if item.part else None,
        "receipt": item.receipt,
        "notice": item.notice.canonical(),
    }
