"""What the sample assessment's checks ask, how they ended on each object, and what the probes printed there."""

from __future__ import annotations

from typing import Any

EVIDENCE_CHECKS = ("continuity.local-backup", "continuity.remote-backup", "continuity.yearly-drill")
_SSHD = "sshd -T -C user=root,host=localhost,addr=127.0.0.1"

CHECKS: dict[str, dict[str, Any]] = {
    "linux.accounts.empty-password": {
        "title": ("没有空口令账户", "No account has an empty password"),
        "guards": ("任何人不经口令就能登录。", "Anyone could log in without a password."),
        "maps": {"GEN-CES-1-a": "decides"},
        "command": "getent shadow  # 只取派生事实：锁定、空、算法、更换日期",
        "expect": [
            ("no_empty", "有账户的口令为空", "An account has an empty password"),
            ("unique_uid", "有两个账户的 UID 相同", "Two accounts share one UID"),
        ],
        "advice": (
            "锁定空口令账户，由使用人重新设置口令。",
            "Lock accounts with an empty password; let their users set a new one.",
        ),
        "commands": ["passwd -l appview", "chage -d 0 appview"],
        "risk": ("以该账户运行的程序会登录失败。", "Programs that log in as this account will fail."),
        "rollback": ("passwd -u appview", "passwd -u appview"),
    },
    "linux.accounts.password-age": {
        "title": ("口令定期更换", "Passwords are changed at intervals"),
        "guards": ("泄露的口令长期有效。", "A leaked password stays valid."),
        "maps": {"GEN-CES-1-a": "decides"},
        "command": "getent shadow; cat /etc/login.defs",
        "expect": [
            ("max_days", "PASS_MAX_DAYS 大于 60 天", "PASS_MAX_DAYS is above 60 days"),
            ("min_len", "口令最小长度小于 8", "Minimum length is below 8"),
        ],
        "advice": ("把口令最长有效期设为不超过 60 天。", "Set the maximum password age to 60 days at most."),
        "commands": ["sed -i 's/^PASS_MAX_DAYS.*/PASS_MAX_DAYS 60/' /etc/login.defs", "chage -M 60 <user>"],
        "risk": ("服务账户的口令会到期。", "Passwords of service accounts will expire."),
        "rollback": ("恢复原来的 PASS_MAX_DAYS。", "Restore the former PASS_MAX_DAYS."),
    },
    "sshd.idle-timeout": {
        "title": ("远程会话无操作时断开", "Idle remote sessions end"),
        "guards": ("无人看管的会话被接手。", "An unattended session is taken over."),
        "maps": {"GEN-CES-1-b": "decides"},
        "command": _SSHD,
        "expect": [
            ("interval", "ClientAliveInterval 为 0", "ClientAliveInterval is 0"),
            ("tries", "MaxAuthTries 大于 5", "MaxAuthTries is above 5"),
        ],
        "advice": (
            "设置 ClientAliveInterval 300 与 ClientAliveCountMax 2。",
            "Set ClientAliveInterval 300 and ClientAliveCountMax 2.",
        ),
        "commands": [
            "printf 'ClientAliveInterval 300\\nClientAliveCountMax 2\\n' > /etc/ssh/sshd_config.d/60-idle.conf",
            "sshd -t && systemctl reload sshd",
        ],
        "risk": ("长时间运行的会话会断开。", "Long sessions are cut."),
        "rollback": ("删除 60-idle.conf 后重新加载 sshd。", "Remove 60-idle.conf and reload sshd."),
    },
    "linux.services.telnet": {
        "title": ("没有明文远程管理服务", "No service for remote management in clear"),
        "guards": ("鉴别信息在网络上被窃听。", "Credentials are read on the wire."),
        "maps": {"GEN-CES-1-c": "decides", "GEN-CES-4-b": "supports"},
        "command": "ss -H -ltnp",
        "expect": [("no_telnet", "telnet 在监听", "telnet is listening"), ("no_ftp", "ftp 在监听", "ftp is listening")],
        "advice": ("停用 telnet，改用 SSH。", "Stop telnet; use SSH."),
        "commands": ["systemctl disable --now telnet.socket"],
        "risk": ("依赖 telnet 的旧脚本会失败。", "Old scripts that use telnet will fail."),
        "rollback": ("systemctl enable --now telnet.socket", "systemctl enable --now telnet.socket"),
    },
    "sshd.second-factor": {
        "title": ("管理员登录使用两种鉴别", "Administrators log in with two factors"),
        "guards": ("只凭口令就能管理。", "A password alone is enough to administer."),
        "maps": {"GEN-CES-1-d": "supports"},
        "command": _SSHD,
        "expect": [("methods", "AuthenticationMethods 只要求一种", "AuthenticationMethods asks for one only")],
        "advice": (
            "设置 AuthenticationMethods publickey,keyboard-interactive。",
            "Set AuthenticationMethods publickey,keyboard-interactive.",
        ),
        "commands": [],
        "risk": ("未登记第二因素的管理员无法登录。", "Administrators without a second factor are locked out."),
        "rollback": ("删除该设置。", "Remove the setting."),
    },
    "sshd.root-login": {
        "title": ("不允许 root 直接登录", "Root may not log in directly"),
        "guards": ("操作无法追溯到人。", "Actions cannot be traced to a person."),
        "maps": {"GEN-CES-2-b": "decides"},
        "command": _SSHD,
        "expect": [("permit", "PermitRootLogin 不是 no", "PermitRootLogin is not no")],
        "advice": (
            "设置 PermitRootLogin no，先确认有可用的 sudo 账户。",
            "Set PermitRootLogin no after making sure that a sudo account works.",
        ),
        "commands": [
            "printf 'PermitRootLogin no\\n' > /etc/ssh/sshd_config.d/60-root.conf",
            "sshd -t && systemctl reload sshd",
        ],
        "risk": ("没有 sudo 账户时会失去管理入口。", "Without a sudo account the host cannot be administered."),
        "rollback": (
            "经控制台删除 60-root.conf 并重新加载 sshd。",
            "Remove 60-root.conf on the console and reload sshd.",
        ),
    },
    "linux.accounts.stale": {
        "title": ("没有过期账户", "No stale accounts"),
        "guards": ("离职人员的账户被利用。", "The account of someone who left is used."),
        "maps": {"GEN-CES-2-c": "decides"},
        "command": "lastlog; getent passwd",
        "expect": [("seen", "有账户超过 90 天未登录", "An account has not logged in for 90 days")],
        "advice": ("与责任人核对后锁定。", "Lock after asking the owner."),
        "commands": ["usermod -L -e 1 <user>"],
        "risk": ("季度性使用的账户可能受影响。", "Accounts used once a quarter may be affected."),
        "rollback": ("usermod -U -e '' <user>", "usermod -U -e '' <user>"),
    },
    "linux.audit.rules": {
        "title": ("审计覆盖特权命令与账户变更", "Audit covers privileged commands and account changes"),
        "guards": ("入侵后无迹可查。", "An intrusion leaves no trace."),
        "maps": {"GEN-CES-3-a": "decides", "GEN-CES-3-b": "supports"},
        "command": "auditctl -l",
        "expect": [
            ("identity", "没有 /etc/passwd 的审计规则", "No audit rule for /etc/passwd"),
            ("priv", "没有 execve 规则", "No execve rule"),
        ],
        "advice": ("加载 30-stig.rules 或等效规则。", "Load 30-stig.rules or the like."),
        "commands": ["augenrules --load"],
        "risk": ("日志量增加，先确认磁盘空间。", "More log volume; check disk space first."),
        "rollback": (
            "移走规则文件后再次 augenrules --load。",
            "Move the rule file away and run augenrules --load again.",
        ),
        "reboot": True,
    },
    "linux.logs.retention": {
        "title": ("日志留存不少于六个月", "Logs are kept six months at least"),
        "guards": ("需要时日志已被覆盖。", "Logs are overwritten before they are needed."),
        "maps": {"GEN-CES-3-c": "supports", "GEN-SMC-4-d": "decides"},
        "command": "find /var/log -name '*.gz' -printf '%T@ %p\\n' | sort | head -1",
        "expect": [("oldest", "最早的日志不足 180 天", "The oldest log is younger than 180 days")],
        "advice": (
            "把 rotate 调整为 26 周以上，并转发到日志服务器。",
            "Rotate for at least 26 weeks and forward to the log server.",
        ),
        "commands": ["sed -i 's/^\\s*rotate .*/rotate 30/' /etc/logrotate.d/rsyslog"],
        "risk": ("占用更多磁盘。", "Needs more disk."),
        "rollback": ("恢复原来的 rotate。", "Restore the former rotate."),
    },
    "linux.audit.immutable": {
        "title": ("审计配置锁定", "The audit configuration is locked"),
        "guards": ("攻击者先关掉审计。", "An attacker switches audit off first."),
        "maps": {"GEN-CES-3-d": "decides"},
        "command": "auditctl -s",
        "expect": [("enabled", "enabled 不是 2", "enabled is not 2")],
        "advice": ("在规则末尾加 -e 2。", "Add -e 2 at the end of the rules."),
        "commands": ["printf -- '-e 2\\n' > /etc/audit/rules.d/99-finalize.rules", "augenrules --load"],
        "risk": ("改规则须重启。", "Changing rules then needs a reboot."),
        "rollback": ("删除 99-finalize.rules 并重启。", "Remove 99-finalize.rules and reboot."),
        "reboot": True,
    },
    "linux.services.listening": {
        "title": ("没有多余的监听端口", "No needless listening ports"),
        "guards": ("不用的服务成为入口。", "An unused service becomes the way in."),
        "maps": {"GEN-CES-4-b": "decides"},
        "command": "ss -H -ltunp",
        "expect": [("ports", "有不在清单中的监听端口", "A listening port is not on the list")],
        "advice": ("停用 rpcbind。", "Stop rpcbind."),
        "commands": ["systemctl disable --now rpcbind.socket rpcbind.service"],
        "risk": ("使用 NFSv3 的挂载会失败。", "NFSv3 mounts will fail."),
        "rollback": ("systemctl enable --now rpcbind.socket", "systemctl enable --now rpcbind.socket"),
    },
    "linux.firewall.default-deny": {
        "title": ("防火墙缺省拒绝", "The firewall denies by default"),
        "guards": ("新开的端口立即对外可达。", "A new port is reachable at once."),
        "maps": {"GEN-ABS-2-a": "decides", "GEN-CES-4-c": "supports"},
        "command": "nft -j list ruleset",
        "expect": [("policy", "input 链缺省策略不是 drop", "The input chain's policy is not drop")],
        "advice": ("把 input 链的策略设为 drop。", "Set the input chain's policy to drop."),
        "commands": ["nft add chain inet filter input '{ policy drop; }'"],
        "risk": ("先放行 SSH，否则会断开。", "Allow SSH first, or you lock yourself out."),
        "rollback": (
            "nft add chain inet filter input '{ policy accept; }'",
            "nft add chain inet filter input '{ policy accept; }'",
        ),
    },
    "linux.packages.security": {
        "title": ("没有未安装的安全更新", "No pending security updates"),
        "guards": ("已公开的漏洞可被利用。", "A published flaw can be used."),
        "maps": {"GEN-CES-4-e": "decides"},
        "command": "apt-get -s upgrade | grep -i security ; dnf -q updateinfo list security",
        "expect": [
            ("pending", "有超过 30 天的安全更新", "A security update is older than 30 days"),
            ("kernel", "内核需要重启", "The kernel waits for a reboot"),
        ],
        "advice": ("在测试环境验证后安装安全更新。", "Install security updates after a test."),
        "commands": ["dnf upgrade --security", "apt-get install --only-upgrade <package>"],
        "risk": ("服务会重启。", "Services restart."),
        "rollback": ("dnf history undo last", "dnf history undo last"),
        "reboot": True,
    },
    "linux.malware.scanner": {
        "title": ("防恶意代码程序在运行且特征库不旧", "A malware scanner runs with fresh signatures"),
        "guards": ("木马长期潜伏。", "A trojan stays for long."),
        "maps": {"GEN-CES-5": "decides"},
        "command": "systemctl is-active clamav-daemon; stat -c %Y /var/lib/clamav/daily.cld",
        "expect": [
            ("active", "没有防恶意代码程序在运行", "No scanner is running"),
            ("age", "特征库超过一个月", "Signatures are older than a month"),
        ],
        "advice": ("安装单位统一的防恶意代码软件。", "Install the organisation's scanner."),
    },
    "linux.mounts.disk-encryption": {
        "title": ("数据盘加密", "Data disks are encrypted"),
        "guards": ("报废硬盘泄露数据。", "A discarded disk leaks data."),
        "maps": {"GEN-CES-8-b": "supports", "GEN-CES-10-a": "supports"},
        "command": "lsblk -J -o NAME,TYPE,FSTYPE,MOUNTPOINT",
        "expect": [("luks", "数据盘没有加密", "The data disk is not encrypted")],
        "advice": ("扩容时改用加密卷。", "Use encrypted volumes at the next extension."),
    },
    "tls.suites": {
        "title": ("对外服务使用安全的 TLS", "Public services use safe TLS"),
        "guards": ("通信被窃听或篡改。", "Traffic is read or altered."),
        "maps": {
            "GEN-CNS-2-a": "supports",
            "GEN-CNS-2-b": "supports",
            "GEN-CES-7-a": "supports",
            "GEN-CES-8-a": "supports",
        },
        "command": "openssl s_client -connect 127.0.0.1:443 -tls1_2 </dev/null",
        "expect": [("version", "仍接受 TLS 1.0", "TLS 1.0 is still accepted")],
        "advice": ("nginx: ssl_protocols TLSv1.2 TLSv1.3;", "nginx: ssl_protocols TLSv1.2 TLSv1.3;"),
    },
    "linux.time.synchronised": {
        "title": ("时间同步", "Time is synchronised"),
        "guards": ("各主机日志无法对照。", "Logs of hosts cannot be compared."),
        "maps": {"GEN-SMC-4-d": "supports"},
        "command": "chronyc -c tracking",
        "expect": [("offset", "偏差大于 1 秒", "The offset is above one second")],
    },
    "continuity.local-backup": {
        "title": ("按策略备份，且近期恢复验证通过", "Backups run as planned and a recent restore was verified"),
        "guards": ("需要时备份恢复不出来。", "The backup does not restore when it is needed."),
        "maps": {"GEN-CES-9-a": "decides", "GEN-MMS-11-c": "supports"},
        "command": "",
        "expect": [
            ("jobs", "备份次数少于策略", "Fewer backups than planned"),
            ("drill", "没有通过的演练", "No drill has passed"),
        ],
    },
    "continuity.remote-backup": {
        "title": ("重要数据实时备份到异地", "Important data is backed up to a remote site in real time"),
        "guards": ("本地灾难后数据全部丢失。", "A local disaster takes all data."),
        "maps": {"GEN-CES-9-b": "decides"},
        "command": "",
        "expect": [
            ("lag", "异地复制不是持续进行", "Copies to the remote site are not continuous"),
            ("age", "异地恢复点超过目标", "The remote recovery point is beyond the objective"),
        ],
        "advice": ("为该系统启用持续保护。", "Switch continuous protection on for this system."),
        "commands": ["govsec backup watch oa"],
    },
    "continuity.yearly-drill": {
        "title": ("一年内做过应急演练", "An emergency drill within a year"),
        "guards": ("灾难时无人会恢复。", "Nobody can restore in a disaster."),
        "maps": {"GEN-MMS-13-c": "decides"},
        "command": "",
        "expect": [("drill", "一年内没有演练", "No drill within a year")],
    },
}

#: How each check ended on each object.
LOOKS: dict[str, dict[str, str]] = {
    "linux.accounts.empty-password": {"oa-app-01": "pass", "oa-db-01": "fail", "oa-web-01": "pass"},
    "linux.accounts.password-age": {"oa-app-01": "partial", "oa-db-01": "pass", "oa-web-01": "partial"},
    "sshd.idle-timeout": {"oa-app-01": "fail", "oa-db-01": "pass", "oa-web-01": "pass"},
    "linux.services.telnet": {"oa-app-01": "pass", "oa-db-01": "pass", "oa-web-01": "partial"},
    "sshd.second-factor": {"oa-app-01": "pass", "oa-db-01": "fail", "oa-web-01": "pass"},
    "sshd.root-login": {"oa-app-01": "fail", "oa-db-01": "fail", "oa-web-01": "pass"},
    "linux.accounts.stale": {"oa-app-01": "pass", "oa-db-01": "pass", "oa-web-01": "pass"},
    "linux.audit.rules": {"oa-app-01": "partial", "oa-db-01": "pass", "oa-web-01": "fail"},
    "linux.logs.retention": {"oa-app-01": "pass", "oa-db-01": "unknown", "oa-web-01": "pass"},
    "linux.audit.immutable": {"oa-app-01": "pass", "oa-db-01": "pass", "oa-web-01": "error"},
    "linux.services.listening": {"oa-app-01": "pass", "oa-db-01": "fail", "oa-web-01": "pass"},
    "linux.firewall.default-deny": {"oa-app-01": "pass", "oa-db-01": "pass", "oa-web-01": "pass"},
    "linux.packages.security": {"oa-app-01": "partial", "oa-db-01": "fail", "oa-web-01": "partial"},
    "linux.malware.scanner": {"oa-app-01": "pass", "oa-db-01": "pass", "oa-web-01": "fail"},
    "linux.mounts.disk-encryption": {"oa-app-01": "fail", "oa-db-01": "fail", "oa-web-01": "fail"},
    "tls.suites": {"oa-app-01": "notapplicable", "oa-db-01": "notapplicable", "oa-web-01": "pass"},
    "linux.time.synchronised": {"oa-app-01": "pass", "oa-db-01": "pass", "oa-web-01": "pass"},
    "continuity.local-backup": {"oa": "pass"},
    "continuity.remote-backup": {"oa": "partial"},
    "continuity.yearly-drill": {"oa": "pass"},
}

_SSHD_OUTPUT = """port 22
permitrootlogin {root}
maxauthtries 6
clientaliveinterval {interval}
clientalivecountmax 3
passwordauthentication yes
authenticationmethods any
ciphers chacha20-poly1305@openssh.com,aes256-gcm@openssh.com,aes128-gcm@openssh.com
"""
_SHADOW_OUTPUT = """root locked=no empty=no algorithm=yescrypt age_days=34 max_days={days}
oracle locked=no empty=no algorithm=sha512 age_days=211 max_days={days}
appview locked=no empty={empty} algorithm=none age_days=0 max_days=99999
"""
_LISTEN_OUTPUT = """tcp LISTEN 0 128 0.0.0.0:22 0.0.0.0:* users:(("sshd",pid=812,fd=3))
tcp LISTEN 0 511 0.0.0.0:443 0.0.0.0:* users:(("nginx",pid=1204,fd=6))
{more}"""
_AUDIT_OUTPUT = "".join(
    f"-a always,exit -F path=/usr/bin/tool{n:02} -F perm=x -F auid>=1000 -F auid!=-1 -k privileged\n" for n in range(30)
)

#: What the probe of a check printed on an object, as far as the sample tells.
OUTPUTS: dict[tuple[str, str], str] = {}
for _host, _root, _interval in (
    ("oa-app-01", "yes", "0"),
    ("oa-db-01", "without-password", "300"),
    ("oa-web-01", "no", "300"),
):
    for _name in ("sshd.idle-timeout", "sshd.second-factor", "sshd.root-login"):
        OUTPUTS[_name, _host] = _SSHD_OUTPUT.format(root=_root, interval=_interval)
    OUTPUTS["linux.accounts.empty-password", _host] = _SHADOW_OUTPUT.format(
        days="90", empty="yes" if _host == "oa-db-01" else "no"
    )
    OUTPUTS["linux.accounts.password-age", _host] = _SHADOW_OUTPUT.format(days="90", empty="no")
    for _name in ("linux.services.telnet", "linux.services.listening"):
        OUTPUTS[_name, _host] = _LISTEN_OUTPUT.format(
            more='tcp LISTEN 0 4096 0.0.0.0:111 0.0.0.0:* users:(("rpcbind",pid=601,fd=4))\n'
            if _host == "oa-db-01"
            else ""
        )
    OUTPUTS["linux.accounts.stale", _host] = (
        "Username Port From Latest\nroot pts/0 10.20.3.5 Fri Nov 20 09:12:44 +0800 2026\n"
    )
    OUTPUTS["linux.audit.rules", _host] = _AUDIT_OUTPUT if _host != "oa-web-01" else "No rules\n"
    OUTPUTS["linux.logs.retention", _host] = "1763596800.0 /var/log/messages-20260101.gz\n"
    OUTPUTS["linux.firewall.default-deny", _host] = (
        '{"nftables":[{"chain":{"family":"inet","table":"filter","name":"input","policy":"drop"}}]}\n'
    )
    OUTPUTS["linux.packages.security", _host] = (
        "openEuler-SA-2026-1873 Important/Sec. openssl-libs-1:1.1.1wa-8.oe2203sp4.aarch64\n"
        "openEuler-SA-2026-1902 Critical/Sec. kernel-5.10.0-190.0.0.103.oe2203sp4.aarch64\n"
    )
    OUTPUTS["linux.malware.scanner", _host] = (
        "inactive\nstat: cannot statx '/var/lib/clamav/daily.cld'\n" if _host == "oa-web-01" else "active\n1763700000\n"
    )
    OUTPUTS["linux.mounts.disk-encryption", _host] = (
        '{"blockdevices":[{"name":"vdb","type":"disk","fstype":"xfs","mountpoint":"/data"}]}\n'
    )
    OUTPUTS["linux.time.synchronised", _host] = "0A140305,10.20.3.5,3,1763773201.1,0.000012,0.000009\n"
    OUTPUTS["linux.audit.immutable", _host] = "enabled 2\nfailure 1\npid 633\n"
OUTPUTS["tls.suites", "oa-web-01"] = "Protocol  : TLSv1.2\nCipher    : ECC-SM4-GCM-SM3\nServer public key is 256 bit\n"
