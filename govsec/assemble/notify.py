"""Channels and the outbox of this site, from its configuration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, closing
from importlib.metadata import version
from pathlib import Path

from govsec.clock import Clock
from govsec.config import Config
from govsec.errors import ConfigurationError
from govsec.notice.api import Channel
from govsec.notice.attached import attachment_of
from govsec.notice.channels.chat import dingtalk, feishu, wecom
from govsec.notice.channels.command import Command
from govsec.notice.channels.file import FileChannel
from govsec.notice.channels.mail import address_of
from govsec.notice.channels.sms import Sms
from govsec.notice.channels.smsrequest import SmsRequest
from govsec.notice.channels.smtp import Mail
from govsec.notice.channels.syslog import Syslog
from govsec.notice.channels.webhook import Webhook
from govsec.notice.channels.wecomapp import Audience, WecomApp
from govsec.notice.outbox import Outbox
from govsec.notice.post import HttpPoster, checked_url
from govsec.notice.words import Wording, Words, clean
from govsec.notifyentry import (
    ChannelConfig,
    CommandConfig,
    FileChannelConfig,
    MailConfig,
    NotifyConfig,
    RobotConfig,
    SmsConfig,
    SyslogConfig,
    WebhookConfig,
    WecomAppConfig,
)
from govsec.records import Notice, Severity
from govsec.report.notice import notice_words
from govsec.secretfile import read_secret


def open_outbox(config: Config) -> AbstractContextManager[Outbox]:
    """The outbox's file below ``state_dir``, made when it is not there. Raises as ``govsec.database.Database``."""
    return closing(Outbox(config.state_dir / "incidents" / "outbox.db"))


def build_channels(config: Config, clock: Clock, *, names: Sequence[str] | None = None) -> dict[str, Channel]:
    """The channels by name; ``names`` says which, else all.

    Raises:
        ConfigurationError: a channel that is not there, or a secret or address that cannot be used.
    """
    wanted = list(config.notify.channels) if names is None else list(names)
    for name in wanted:
        if name not in config.notify.channels:
            there = ", ".join(sorted(config.notify.channels)) or "none; name them under notify.channels"
            raise ConfigurationError(f"notify: no channel {name}: there are {there}")
    wording = _wording(config)
    return {name: _build(name, config.notify.channels[name], wording, clock) for name in wanted}


def channels_of(notice: Notice, notify: NotifyConfig) -> tuple[str, ...]:
    """The channels that a notice goes to: those of every route that fits, each once.

    A notice of systems that no route names goes by every route that takes its severity: somebody is told. None are left
    when no route takes its severity, or there are no routes.
    """
    due = [route for route in notify.routes if notice.severity >= Severity[route.severity_min.upper()]]
    systems = _systems_of(notice)
    meant = [route for route in due if not route.systems or systems is None or not systems.isdisjoint(route.systems)]
    return tuple(dict.fromkeys(channel for route in meant or due for channel in route.channels))


def _systems_of(notice: Notice) -> frozenset[str] | None:
    """The systems that it is about; a digest names those of its groups. None when it does not name them all."""
    if notice.kind != "incident.digest":
        return frozenset({notice.system})
    listed = notice.facts.get("listed")
    if not isinstance(listed, list) or notice.facts.get("groups_count") != len(listed):
        return None
    return frozenset(str(entry.get("system")) for entry in listed if isinstance(entry, Mapping))


def trial_notice(channel: str, clock: Clock, files: Sequence[Path] = ()) -> Notice:
    """A notice that only says that a channel works; with files, that they go along. Raises as ``attachment_of``."""
    now = clock.now()
    return Notice(
        key=f"test#{channel}#{now.isoformat()}",
        kind="notify.test",
        severity=Severity.INFO,
        time=now,
        subject=channel,
        summary=f"test of channel {channel}",
        attachments=tuple(attachment_of(path) for path in files),
    )


def _wording(config: Config) -> Wording:
    def words(notice: Notice) -> Words:
        title, lines = notice_words(notice, config.lang)
        return clean(Words(title, lines))

    return words


def _build(name: str, entry: ChannelConfig, wording: Wording, clock: Clock) -> Channel:
    where = f"channel {name}"
    match entry:
        case RobotConfig():
            return _robot(name, entry, wording, clock)
        case WecomAppConfig():
            url = checked_url(entry.url, where)
            to = Audience("|".join(entry.users), "|".join(entry.parties), "|".join(entry.tags))
            poster = HttpPoster(clock, named=entry.addresses, ca_file=entry.ca_file)
            secret = _text(entry.secret_file)
            return WecomApp(name, url, entry.corp_id, secret, entry.agent_id, to, wording, poster, clock)
        case SmsConfig():
            url = checked_url(entry.url, where, is_plain_allowed=entry.plain)
            request = SmsRequest(where, entry, {key: _text(path) for key, path in entry.secrets.items()})
            poster = HttpPoster(clock, named=entry.addresses, ca_file=entry.ca_file)
            return Sms(name, url, entry, request, wording, poster, clock)
        case WebhookConfig():
            url = checked_url(entry.url, where, is_plain_allowed=entry.plain)
            poster = HttpPoster(clock, named=entry.addresses, ca_file=entry.ca_file)
            return Webhook(name, url, read_secret(entry.secret_file), poster, clock, digest=entry.digest)
        case MailConfig():
            return Mail(
                name,
                entry.host,
                entry.port,
                entry.tls,
                address_of(entry.sender, where),
                [address_of(text, where) for text in entry.recipients],
                wording,
                clock,
                user=entry.user,
                password=_text(entry.password_file),
                named=entry.addresses,
                ca_file=entry.ca_file,
            )
        case SyslogConfig():
            return Syslog(
                name,
                entry.host,
                entry.port,
                wording,
                clock,
                version=version("govsec"),
                named=entry.addresses,
                ca_file=entry.ca_file,
            )
        case FileChannelConfig():
            return FileChannel(name, entry.path, clock)
        case CommandConfig():
            return Command(name, entry.argv, clock, timeout_s=entry.timeout_s)


def _robot(name: str, entry: RobotConfig, wording: Wording, clock: Clock) -> Channel:
    url = checked_url(_text(entry.url_file), f"channel {name}: {entry.url_file}")
    secret = _text(entry.secret_file)
    poster = HttpPoster(clock, named=entry.addresses, ca_file=entry.ca_file)
    if entry.kind == "dingtalk":
        return dingtalk(name, url, secret, wording, poster, clock)
    if entry.kind == "feishu":
        return feishu(name, url, secret, wording, poster, clock)
    return wecom(name, url, wording, poster, clock)


def _text(path: Path | None) -> str:
    """What a secret file says; empty where there is none."""
    if path is None:
        return ""
    try:
        return read_secret(path).decode()
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"secret file {path}: not UTF-8") from error
