"""Names of the MITRE ATT&CK techniques that detectors refer to (Enterprise matrix, version 17).

A sub-technique is named ``parent: child``, as the matrix shows it.
"""

from __future__ import annotations

from collections.abc import Mapping

#: By id. A test holds that every id in a detector is here.
TECHNIQUES: Mapping[str, str] = {
    "T1018": "Remote System Discovery",
    "T1021": "Remote Services",
    "T1021.002": "Remote Services: SMB/Windows Admin Shares",
    "T1029": "Scheduled Transfer",
    "T1030": "Data Transfer Size Limits",
    "T1041": "Exfiltration Over C2 Channel",
    "T1046": "Network Service Discovery",
    "T1048": "Exfiltration Over Alternative Protocol",
    "T1059": "Command and Scripting Interpreter",
    "T1071": "Application Layer Protocol",
    "T1071.001": "Application Layer Protocol: Web Protocols",
    "T1071.004": "Application Layer Protocol: DNS",
    "T1083": "File and Directory Discovery",
    "T1095": "Non-Application Layer Protocol",
    "T1110": "Brute Force",
    "T1110.001": "Brute Force: Password Guessing",
    "T1110.003": "Brute Force: Password Spraying",
    "T1189": "Drive-by Compromise",
    "T1190": "Exploit Public-Facing Application",
    "T1210": "Exploitation of Remote Services",
    "T1491.002": "Defacement: External Defacement",
    "T1498": "Network Denial of Service",
    "T1498.001": "Network Denial of Service: Direct Network Flood",
    "T1498.002": "Network Denial of Service: Reflection Amplification",
    "T1499": "Endpoint Denial of Service",
    "T1499.001": "Endpoint Denial of Service: OS Exhaustion Flood",
    "T1499.002": "Endpoint Denial of Service: Service Exhaustion Flood",
    "T1543.003": "Create or Modify System Process: Windows Service",
    "T1557": "Adversary-in-the-Middle",
    "T1557.002": "Adversary-in-the-Middle: ARP Cache Poisoning",
    "T1557.003": "Adversary-in-the-Middle: DHCP Spoofing",
    "T1567": "Exfiltration Over Web Service",
    "T1568": "Dynamic Resolution",
    "T1568.002": "Dynamic Resolution: Domain Generation Algorithms",
    "T1569.002": "System Services: Service Execution",
    "T1570": "Lateral Tool Transfer",
    "T1572": "Protocol Tunneling",
    "T1573": "Encrypted Channel",
    "T1587.003": "Develop Capabilities: Digital Certificates",
    "T1595": "Active Scanning",
    "T1595.001": "Active Scanning: Scanning IP Blocks",
    "T1595.002": "Active Scanning: Vulnerability Scanning",
    "T1608.006": "Stage Capabilities: SEO Poisoning",
}
