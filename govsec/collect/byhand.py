"""For each probe, a line that a person can run to see the same with their own eyes. It is printed, never run."""

from __future__ import annotations

from govsec.collect.facts import REASON_LENGTH_MAX
from govsec.collect.probes import AnyProbe
from govsec.collect.probes_accounts import PamProbe
from govsec.collect.probes_host import (
    COMMANDS,
    CommandProbe,
    FileProbe,
    FilesProbe,
    ModulesProbe,
    SysctlProbe,
    WalkProbe,
)
from govsec.collect.probes_servers import NginxProbe
from govsec.collect.probes_services import (
    CertificatesProbe,
    FileAgeProbe,
    PackagesProbe,
    ProcessesProbe,
    ServicesProbe,
    TlsProbe,
)
from govsec.collect.quote import quote, quote_glob

_LINES: dict[str, str] = {
    "mounts": "cat /proc/self/mounts /etc/fstab /proc/swaps",
    "trust": "mokutil --sb-state; ls /sys/class/tpm; cat /sys/kernel/security/ima/violations /proc/cmdline",
    "encryption": "lsblk -o NAME,TYPE,FSTYPE,MOUNTPOINT; cut -d' ' -f1,2 /etc/crypttab",
    "access_control": "sestatus; aa-status",
    "firewall": "nft list ruleset; iptables -S; firewall-cmd --state; ufw status",
    "border": "nft list ruleset; iptables -S; sysctl net.ipv4.ip_forward; journalctl -k | grep SRC= | tail -n 1",
    "time": "chronyc -n tracking; timedatectl; ntpq -pn",
    "network": "ip addr; ip route; cat /etc/resolv.conf",
    "users": "cut -d: -f1,3,4,6,7 /etc/passwd; passwd -Sa; lastlog",
    "groups": "cut -d: -f1,3,4 /etc/group",
    "sudoers": "cat /etc/sudoers /etc/sudoers.d/*",
    "login_defs": "cat /etc/login.defs",
    "pwquality": "cat /etc/security/pwquality.conf; grep password /etc/pam.d/system-auth /etc/pam.d/common-password",
    "faillock": "cat /etc/security/faillock.conf; grep -r 'faillock\\|tally' /etc/pam.d",
    "shell_defaults": "grep -n 'TMOUT\\|umask\\|HIST' /etc/profile /etc/profile.d/*.sh /etc/bashrc /etc/bash.bashrc",
    "cron": "ls -l /etc/cron* /var/spool/cron; systemctl list-timers",
    "sshd": "sshd -T; sshd -T -C user=root,host=localhost,addr=127.0.0.1",
    "updates": "apt list --upgradable; dnf updateinfo list security",
    "listeners": "ss -lntup",
    "audit": "auditctl -s; auditctl -l; cat /etc/audit/auditd.conf",
    "logging": "cat /etc/systemd/journald.conf /etc/rsyslog.conf /etc/logrotate.conf; ls -l /var/log",
    "antimalware": "ps -A -o user,comm; ls -l /var/lib/clamav",
    "postgresql": "cat postgresql.conf pg_hba.conf; psql -c 'SELECT name, setting FROM pg_settings'",
    "mysql": "cat /etc/my.cnf /etc/mysql/*.cnf; mysql -e 'SHOW GLOBAL VARIABLES'",
    "redis": "grep -v '^#' /etc/redis/redis.conf",
    "docker": "cat /etc/docker/daemon.json; docker ps -q | xargs docker inspect",
}


def line_of(probe: AnyProbe) -> str:
    """The line for ``probe``, at most ``REASON_LENGTH_MAX`` characters."""
    return _line(probe)[:REASON_LENGTH_MAX]


def _line(probe: AnyProbe) -> str:
    if isinstance(probe, FileProbe):
        path = quote(probe.path)
        looks = "".join(f"; grep -E {quote(expression)} {path}" for _, expression in sorted(probe.fields.items()))
        return f"stat {path}{looks}"
    if isinstance(probe, FilesProbe | FileAgeProbe):
        return f"ls -l {' '.join(map(quote_glob, probe.patterns))}"
    if isinstance(probe, CertificatesProbe):
        return f"openssl x509 -noout -text -in {' '.join(map(quote_glob, probe.patterns))}"
    if isinstance(probe, WalkProbe):
        return f"find {' '.join(map(quote, probe.roots))} -xdev -perm /6002 -ls; find / -xdev -nouser -ls"
    if isinstance(probe, SysctlProbe):
        return f"sysctl {' '.join(probe.keys)}"
    if isinstance(probe, ModulesProbe):
        return f"lsmod; modprobe -n -v {' '.join(probe.names)}"
    if isinstance(probe, CommandProbe):
        return " ".join(COMMANDS[probe.name])
    if isinstance(probe, PamProbe):
        return f"cat /etc/pam.d/{probe.service}"
    if isinstance(probe, PackagesProbe):
        return f"dpkg -l {' '.join(probe.names)} || rpm -q {' '.join(probe.names)}"
    if isinstance(probe, ServicesProbe):
        return f"systemctl status {' '.join(probe.names)}"
    if isinstance(probe, ProcessesProbe):
        return "ps -A -o user,comm"
    if isinstance(probe, TlsProbe):
        return "; ".join(f"openssl s_client -connect {one.address}:{one.port}" for one in probe.endpoints)
    if isinstance(probe, NginxProbe):
        return f"nginx -T -c {quote(probe.configuration)}"
    return _LINES[probe.kind]
