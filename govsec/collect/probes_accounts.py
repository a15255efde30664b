"""Probes about people on a host: accounts, groups, sudo, password rules, log-in, shells, scheduled work.

Password hashes never leave a host: the script states on the host what kind of hash there is.
"""

from __future__ import annotations

from typing import Literal

from govsec.collect.probe_base import Name, Privilege, ProbeModel


class UsersProbe(ProbeModel):
    """Accounts of the host's own files, as derived facts; never a hash.

    Fact::

        {users: [{name, uid: int, gid: int, home, shell,
                  login: bool      # the shell lets somebody in (not nologin, false, sync, shutdown, halt, empty home)
                  system: bool     # uid below UID_MIN of login.defs (1000 where unset), root included; also nobody
                  locked: bool     # the password field begins with ! or *, or holds no hash
                  empty: bool      # no password needed
                  has_password: bool,
                  algorithm: "yescrypt"|"gost_yescrypt"|"scrypt"|"bcrypt"|"sha512"|"sha256"|"sm3"|"sha1"|"md5"|"des"|
                             "other"|"none",
                  last_change: "YYYY-MM-DD"|null, password_age_days: int|null,
                  min_days, max_days, warn_days, inactive_days: int|null  (null: not set),
                  expires: "YYYY-MM-DD"|null, expired: bool, must_change: bool,
                  last_login: time|null, last_login_days: int|null,     # null: never, or not recorded on this host
                  authorized_keys: int|null}],          # lines of ~/.ssh/authorized_keys*; null: none, or unread
         uid_zero: [name], duplicate_uids: [int], duplicate_names: [name], logins_recorded: bool,
         without_shadow: [name], truncated: bool (over 2000 users)}

    ``des`` also stands for the 13-character hash without a marker. Directories (LDAP, SSSD) are not listed.
    """

    kind: Literal["users"] = "users"
    privilege: Privilege = "sudo"


class GroupsProbe(ProbeModel):
    """Groups of the host's own file.

    Fact: ``{groups: [{name, gid: int, members: [str], primary_of: [str]}], members: {<group>: [str]},
    duplicate_gids: [int], duplicate_names: [str]}``; ``members`` has listed and primary members, sorted.
    """

    kind: Literal["groups"] = "groups"


class SudoersProbe(ProbeModel):
    """What sudo allows: ``/etc/sudoers`` and what it includes.

    Fact::

        {rules: [{file, line: int, users: [str], hosts: [str], run_as: str|null, no_password: bool, commands: [str],
                  all_commands: bool}],
         defaults: {<name>: true|false|str|int},                      # the last unrestricted setting of each name
         use_pty: bool, log_file: str|null, timestamp_timeout: number|null,
         no_password_count: int, all_rules_count: int  (all commands as anybody, users other than root),
         files: [{path, mode: "0440", permissions: int, owner, group}], unreadable: [str], aliases: {<NAME>: [str]}}

    Aliases in ``users`` and ``commands`` are written out. sudo not installed: ``absent``.
    """

    kind: Literal["sudoers"] = "sudoers"
    privilege: Privilege = "sudo"


class PamProbe(ProbeModel):
    """The stack of one PAM service, with ``include``, ``substack`` and ``@include`` resolved.

    Status ``absent`` when ``/etc/pam.d`` has no such service. Fact::

        {service, stack: [{type: "auth"|"account"|"password"|"session", control: str, module: "pam_unix.so",
                           args: [str], options: {<name>: int|str|true}, file, optional: bool}],
         modules: {auth: [str], account: [str], password: [str], session: [str]},    # in order
         unresolved: [str]}     # included names that are not there

    ``control`` is ``required`` or the bracket text with single spaces; ``optional``: the line began with ``-``.
    Values of secret arguments (``passwd=``, ``bindpw=`` …) are cut out.
    """

    kind: Literal["pam"] = "pam"
    service: Name


class LoginDefsProbe(ProbeModel):
    """Settings of ``/etc/login.defs``.

    Fact: ``{values: {<PASS_MAX_DAYS, UMASK, ENCRYPT_METHOD …>: int|str}}``: whole numbers without a
    leading zero as numbers, others as text. No such file: ``absent``.
    """

    kind: Literal["login_defs"] = "login_defs"


class PwqualityProbe(ProbeModel):
    """Rules for new passwords: pam_pwquality or pam_cracklib, its files and its arguments put together.

    Fact::

        {active: bool                 # in the password stack of system-auth, password-auth or common-password
         module: "pam_pwquality.so"|"pam_cracklib.so"|"pam_passwdqc.so"|null,
         services: [str]              # which of those stacks have it
         effective: {minlen, dcredit, ucredit, lcredit, ocredit, minclass, difok, maxrepeat, maxsequence,
                     maxclassrepeat, retry, dictcheck, usercheck, enforcing: int, enforce_for_root: bool},
         required_classes: int        # classes that a password must hold: minclass, or the count of negative credits
         file: {<name>: int|str|true}, arguments: {<name>: int|str|true},
         history_remember: int|null   # pam_pwhistory (with pwhistory.conf) or pam_unix remember=
         hash: str|null}              # algorithm argument of pam_unix in the password stack (yescrypt, sha512, sm3 …)

    Arguments win over files, later files over earlier ones; what is not set has the module's own default
    (Source: pwquality.conf(5): difok 1, minlen 8, credits 0, minclass 0, retry 1, dictcheck, usercheck, enforcing 1).
    """

    kind: Literal["pwquality"] = "pwquality"


class FaillockProbe(ProbeModel):
    """Locking after failed log-ins: pam_faillock, pam_tally2 or pam_tally.

    Fact::

        {active: bool                 # in the auth stack of system-auth, password-auth, common-auth, login or sshd
         module: "pam_faillock.so"|"pam_tally2.so"|"pam_tally.so"|null, services: [str],
         effective: {deny: int, unlock_time: int, fail_interval: int, even_deny_root: bool, root_unlock_time: int|null},
         file: {<name>: int|str|true}, arguments: {<name>: int|str|true}}

    Defaults of faillock.conf(5): deny 3, unlock_time 600, fail_interval 900. pam_tally has no limit by default: deny 0.
    ``unlock_time`` in seconds; 0 or ``never`` is 0 (until an administrator unlocks).
    """

    kind: Literal["faillock"] = "faillock"


class ShellDefaultsProbe(ProbeModel):
    """Idle limit, umask and history of login shells, from ``/etc/profile``, ``profile.d``, ``bashrc`` and the like.

    Fact::

        {tmout_s: int|null, tmout_readonly: bool, umask: "027"|null (the laxest that is set), histsize: int|null,
         histtimeformat: bool, sources: [{file, name: "TMOUT"|"umask"|"HISTSIZE"|"HISTTIMEFORMAT", value: str}],
         files_read: [str]}

    Lines are read, not run: a value that is computed counts as not set. The largest TMOUT that is set is given; 0 is
    no limit and wins over all.
    """

    kind: Literal["shell_defaults"] = "shell_defaults"


class CronProbe(ProbeModel):
    """Scheduled work: cron, at, systemd timers.

    Fact::

        {files: [as FileProbe without fields: /etc/crontab, /etc/cron.*, /etc/cron.d/*, spool, allow and deny lists],
         jobs: [{file, user: str|null, schedule, command (secrets cut out, 300 characters)}],
         allow: [str]|null, deny: [str]|null, at_allow: [str]|null, at_deny: [str]|null   (null: no such list),
         timers: [{unit, active: bool}], daemon_active: bool|null, truncated: bool}
    """

    kind: Literal["cron"] = "cron"
    privilege: Privilege = "sudo"
