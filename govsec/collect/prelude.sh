# govsec facts script. It reads; it writes nothing but its standard output. It ends by itself.
LC_ALL=C; LANG=C; PATH=/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/sbin:/usr/local/bin
export LC_ALL LANG PATH
unset ENV BASH_ENV CDPATH POSIXLY_CORRECT
IFS=' 	
'
umask 077
exec 2>/dev/null

have() { command -v "$1" >/dev/null; }
need() { for c do have "$c" || exit 92; done; }

# lim COMMAND...: at most $L seconds. Without timeout(1), a watchdog of our own.
if have timeout && timeout 5 true; then
  lim() { timeout "$L" "$@"; }
else
  lim() {
    "$@" & p=$!
    ( sleep "$L" & s=$!; trap 'kill $s; exit 0' TERM; wait $s; kill -9 $p ) >/dev/null &
    w=$!; wait $p; r=$?; kill $w; return $r
  }
fi
GNU=; case $(ls --version) in *coreutils*) GNU=1;; esac

# secret PATH: whether its contents must stay here, also where a link ends.
secret() {
  q=$1; [ -h "$1" ] && q=$(readlink -f "$1")
  case $q in
  @SECRETS@) return 0;;
  esac
  return 1
}

# Secrets are cut here before anything is sent, by the same forms as once more where it arrives (govsec/redact.py). Any
# awk will do: small letters are looked at in place of flags, sets are written out in place of counts.
#   after: cut what stands behind a place, unless it is a plain switch; tool: behind an option of a program, up to the next
#   program; whole: cut the form itself; cleaned: a line, with DROP set where none of it may be sent.
CUT='BEGIN {
  B = "(^|[^a-z0-9_])"
  N = "(passwd|password|passphrase|passwort|passcode|pwd|secrets?|token|credentials?|bindpw|rootpw|psk|(api|access|secret|private|auth|signing|encryption|master|account|shared|preshared|storage)[_-]?key|secret[_-]?key[_-]?base"
  M = N "|(^|[^a-z])(pass|pw))"; N = N ")"
  Q = "\"([^\"\\\\]|\\\\.)*\"|\047([^\047\\\\]|\\\\.)*\047"; V = "^(" Q "|[^ \t]+)"
  H = rep("[0-9a-f]", 32); A = rep("[0-9a-z]", 16); G = rep("[a-z0-9_-]", 16)
}
function rep(x, n,  o) { o = ""; while (n-- > 0) o = o x; return o }
function low(s,  l, c, o) {
  l = tolower(s); c = s; o = 0
  while (match(c, /[a-z]Pass/)) {
    l = substr(l, 1, o + RSTART - 1) "_" substr(l, o + RSTART + 1)
    o += RSTART + RLENGTH - 1; c = substr(c, RSTART + RLENGTH)
  }
  return l
}
function plain(l) {
  return l ~ /^["\047]?(yes|no|true|false|on|off|0|1|null|none|nil|enabled|disabled|locked|required|requisite|sufficient|optional|files|compat|nis|sss|db|scram|md5|plain|other|unknown|set|empty|\[cut\])?["\047]?[ \t]*([ \t;,)}]|\]|$)/
}
function after(s, re, val, how,  l, o, n, t) {
  o = ""; l = how == "any" ? tolower(s) : low(s)
  while (match(l, re)) {
    n = RSTART + RLENGTH; t = substr(s, RSTART, RLENGTH)
    o = o substr(s, 1, n - 1); s = substr(s, n); l = substr(l, n)
    if (how == "query" && l ~ /^\[cut\]/ || how !~ /any|query|zh|xml/ && plain(l)) continue
    if (how == "tag" && t ~ /PASSWD[ \t]*:[ \t]+$/) continue
    if (how == "arg" && l ~ /^-/) continue
    if (how == "zh" && l ~ /^[0-9][0-9]?[0-9]?([^!-~]|$)/) continue
    if (match(s, val) && RSTART == 1) { o = o "[cut]"; s = substr(s, RLENGTH + 1); l = substr(l, RLENGTH + 1) }
  }
  return o s
}
function tool(s, re, arg, val,  l, o, n, e) {
  o = ""; l = tolower(s)
  while (match(l, re)) {
    n = RSTART + RLENGTH - 1
    o = o substr(s, 1, n); s = substr(s, n + 1); l = substr(l, n + 1)
    e = match(s, /[|;]/) ? RSTART - 1 : length(s)
    o = o after(substr(s, 1, e), arg, val, "any"); s = substr(s, e + 1); l = substr(l, e + 1)
  }
  return o s
}
function whole(s, re,  l, o, n) {
  o = ""; l = tolower(s)
  while (match(l, re)) {
    n = RSTART + RLENGTH
    o = o substr(s, 1, RSTART - 1) "[cut]"; s = substr(s, n); l = substr(l, n)
  }
  return o s
}
function forms(s, l) {
  if (index(l, "$")) gsub(/\$(1|2[abxy]?|5|6|7|[yY]|gy|md5|sha1|sm3|apr1|scrypt|argon2[a-z]*|pbkdf2[a-z0-9-]*|A)\$[.\/A-Za-z0-9$=,+-][.\/A-Za-z0-9$=,+-][.\/A-Za-z0-9$=,+-][.\/A-Za-z0-9$=,+-]+/, "[cut]", s)
  if (index(l, "grub")) s = whole(s, "grub\\.pbkdf2\\.[a-z0-9]+\\.[0-9]+\\.[0-9a-f.]+")
  if (index(l, "{")) s = whole(s, "[{](ssha|sha|smd5|md5|crypt|pbkdf2|plain|cleartext|sm3)[^} \t]*[}][^ \t,;\"\047][^ \t,;\"\047][^ \t,;\"\047]+")
  if (index(l, "scram-")) s = whole(s, "scram-sha-(1|256|512)[$][a-z0-9+/=:$]+")
  if (index(l, "md5")) s = whole(s, "md5" H)
  if (index(l, "*")) s = whole(s, "[*]" H rep("[0-9a-f]", 8))
  if (index(l, "eyj")) s = whole(s, "eyj[a-z0-9_-]+[.][a-z0-9_-]+([.][a-z0-9_-]*)?")
  if (l ~ /akia|asia|ltai|akid/) gsub(/(AKIA|ASIA|LTAI|AKID)[0-9A-Za-z][0-9A-Za-z][0-9A-Za-z][0-9A-Za-z][0-9A-Za-z][0-9A-Za-z][0-9A-Za-z][0-9A-Za-z]+/, "[cut]", s)
  if (index(l, "aiza")) s = whole(s, "aiza" G G "[a-z0-9_-]+")
  if (l ~ /gh[pousr]_|github_pat_|glpat-/) s = whole(s, "(gh[pousr]_|github_pat_|glpat-)" G "+")
  if (l ~ /xox[abprs]-|[sr]k_live_|npm_/) s = whole(s, "(xox[abprs]-" rep("[a-z0-9-]", 10) "|([sr]k_live_|npm_)" A ")[a-z0-9-]*")
  if (index(l, "sk-")) s = whole(s, "sk-([a-z][a-z][a-z][a-z]?[a-z]?-)?" A "[0-9a-z][0-9a-z][0-9a-z][0-9a-z]+")
  if (index(l, "age-secret-key-1")) s = whole(s, "age-secret-key-1" A "[0-9a-z]+")
  return s
}
function places(s, l) {
  if (index(l, "://")) {
    gsub(/:\/\/[^\/@ \t:"\047]*:[^\/@ \t"\047]*@/, "://[cut]@", s)
    gsub(/:\/\/[A-Za-z0-9_-][A-Za-z0-9_-][A-Za-z0-9_-][A-Za-z0-9_-][A-Za-z0-9_-][A-Za-z0-9_-][A-Za-z0-9_-][A-Za-z0-9_-][A-Za-z0-9_-][A-Za-z0-9_-][A-Za-z0-9_-][A-Za-z0-9_-][A-Za-z0-9_-][A-Za-z0-9_-][A-Za-z0-9_-][A-Za-z0-9_-]+@/, "://[cut]@", s)
  }
  if (l ~ /[?&;]([a-z]+[_-])?(token|key|sig|secret|pass|pwd|code|ticket|session|auth)[a-z]*=/) s = after(s, "[?&;]([a-z]+[_-])?(token|key|sig|signature|secret|password|passwd|pwd|code|ticket|session|sessionid|auth)=", "^[^& \t#\"\047<>]+", "query")
  if (l ~ /pass|pwd|secret|token|credential|pw|psk|key/) {
    s = after(s, M "[\"\047]?[ \t]*=[ \t]*", "^(" Q "|[^ \t;&,\"\047<>][^ \t;&,<>]*)")
    s = after(s, M "[\"\047]?[ \t]*[=:(][ \t]*", "^(" Q ")")
    s = after(s, M "[ \t]*:[ \t]+", "^[^|>&*! \t\"\047].*", "tag")
    if (index(l, "<")) s = after(s, "<([a-z0-9_.:-]*" N "|([a-z0-9_.:-]*[0-9_.:-])?(pass|pw))>", "^[^<]+", "xml")
  }
  if (l ~ /-(passw|pass|token|secret|requirepass|masterauth|api-key|auth)/) s = after(s, "(^|[ \t])--?([a-z]+-)?(passwd|password|pass|passphrase|passin|passout|token|secret|requirepass|masterauth|api-key|auth)([ \t]+|=)", V, "arg")
  if (l ~ /curl|wget|http/) s = tool(s, B "(curl|wget|http)([^a-z0-9_]|$)", "(^|[ \t])(-u|--(proxy-)?user)[ =]?", V)
  if (l ~ /mysql|mariadb/) s = tool(s, B "(mysql|mariadb)[a-z-]*", "(^|[ \t])-p", "^[^ \t]+")
  if (l ~ /redis-cli|sshpass/) s = tool(s, B "(redis-cli|sshpass)", "(^|[ \t])-[ap][ \t]?", "^[^ \t]+")
  if (l ~ /docker|podman|ldap/) s = tool(s, B "((docker|podman)[ \t]+login|ldap[a-z]+)", "(^|[ \t])-[pw][ \t]?", "^[^ \t-][^ \t]*")
  if (l ~ /smb|rpcclient|net /) s = tool(s, B "(smbclient|rpcclient|net)", "-u[ \t]?[^ \t%]+%", "^[^ \t]+")
  if (index(l, "pass:")) s = after(s, B "pass:", "^[^ \t]+", "any")
  if (l ~ /requirepass|masterauth|auth-pass|bindpw|rootpw|community/) s = after(s, "(^|[^a-z_-])(requirepass|masterauth|sentinel[ \t]+auth-pass[ \t]+[^ \t]+|bindpw|olcrootpw:?|rootpw|r[ow]community6?)[ \t]+", V)
  if (index(l, "login")) s = after(s, B "login[ \t]+[^ \t]+[ \t]+password[ \t]+", "^[^ \t]+", "any")
  if (index(l, "createuser")) s = after(s, B "createuser[ \t]+[^ \t]+[ \t]+[^ \t]+[ \t]+", "^[^ \t]+([ \t]+([Aa][Ee][Ss]|[Dd][Ee][Ss])[^ \t]*[ \t]+[^ \t]+)?", "any")
  if (l ~ /(^|[^a-z0-9_])user[ \t]+[^ \t]+[ \t].*[ \t](on|off|reset|[~+&@])/) gsub(/[ \t][><#!][^ \t"]+/, " [cut]", s)
  if (index(l, "identified")) s = after(s, B "identified[ \t]+((via|with)[ \t]+[^ \t]+[ \t]+)?(by|as|using)[ \t]+(password[ \t]*[(]?[ \t]*)?", "^(" Q ")", "any")
  if (index(l, "password")) s = after(s, B "password([ \t]+for[ \t]+[^ \t]+)?[ \t]*(=[ \t]*|[(][ \t]*|[ \t])(password[ \t]*[(][ \t]*)?", "^\047[^\047]*\047", "any")
  if (index(l, "authorization")) s = after(s, "authorization[\"\047]?([ \t]*[:=,]|[ \t])[ \t]*[\"\047]?(basic|bearer|token|digest|apikey)[ \t]+", "^[^ \t\"\047;]+", "any")
  if (index(l, "x-")) s = after(s, B "x-([a-z]+-)?(auth|api|access|token|key|secret)[a-z-]*[\"\047]?[ \t]*[:=][ \t]*[\"\047]?", "^[^ \t\"\047;]+", "any")
  if (index(l, "cookie")) s = after(s, B "(set-)?cookie[\"\047]?[ \t]*:[ \t]*[\"\047]?", "^[^\"\047]+", "any")
  if (l ~ /"auth"|identitytoken/) s = after(s, "\"(auth|identitytoken)\"[ \t]*:[ \t]*", "^\"[^\"]+\"", "any")
  if (l ~ /密码|口令|密钥|私钥|令牌|授权码/) s = after(s, "(密码|口令|密钥|私钥|令牌|授权码)[ \t]*(:|：|=|＝|为|是|改为|设为)([ \t]|　)*(“|\"|「|\047)?", "^[!-~][!-~]+", "zh")
  return s
}
function cut(s,  l) {
  l = tolower(s)
  if (l !~ /pass|pw|secret|token|credential|psk|key|auth|[?&;](sig|code|ticket|session)|[?&;][a-z]+[_-](sig|code|ticket|session)|identified|login[ \t]|user[ \t]|cookie|x-([a-z]+-)?(api|access)|curl|wget|http|mysql|mariadb|redis-cli|sshpass|docker|podman|ldap|smb|rpcclient|net |community|md5|scram-|grub|eyj|akia|asia|ltai|akid|aiza|gh[pousr]_|github_pat|glpat|xox|k_live|sk-|npm_|\$[125678ygmsap]|[{](s|md5|crypt|p|clear)|[*][0-9a-f][0-9a-f][0-9a-f]|:\/\/|密码|口令|密钥|私钥|令牌|授权码/) return s
  s = forms(s, l); return places(s, l)
}
function cleaned(s,  r) {
  if (s ~ /-----BEGIN [A-Z0-9 ]*PRIVATE KEY/) { KEY = 1; DROP = 0; return "[cut]" }
  DROP = KEY
  if (KEY) { if (s ~ /-----END [A-Z0-9 ]*PRIVATE KEY/) KEY = 0; return "" }
  if (LINES > 0 && s ~ /^ ?[A-Za-z0-9+\/=]+$/) { LINES--; DROP = 1; return "" }
  LINES = s ~ /^[Pp]rivate-[Ll]ines:[ \t]*[0-9]+/ ? 100000 : 0
  r = BLOCK && s !~ /^[ \t]*$/ ? "[cut]" : cut(s)
  BLOCK = !BLOCK && s ~ /[|>][-+0-9]*[ \t]*$/ && low(s) ~ (M "[ \t]*:[ \t]*[|>][-+0-9]*[ \t]*$")
  return r
}'
SHOW=$CUT'
FNR == 1 { n = FILENAME; gsub(/\n/, "?", n); printf "@%s %s\n", T, n; KEY = BLOCK = LINES = 0 }
{ r = cleaned(substr($0, 1, 4096)); if (!DROP) print " " r }'

# show FILE...: lines of the regular files among them, secrets cut, each file behind a mark that holds the token.
show() {
  need awk; n=0
  for f do
    [ "$n" = 0 ] && { set --; n=1; }
    [ -f "$f" ] || continue
    if [ -r "$f" ] && ! secret "$f"; then set -- "$@" "$f"; else printf '@%s ! %s\n' "$T" "$f"; fi
  done
  [ $# = 0 ] || lim awk -v T="$T" "${FILTER:-$SHOW}" "$@"
}
# clean COMMAND...: its output, secrets cut; its exit code.
clean() { x=$(lim "$@"); r=$?; printf '%s\n' "$x" | awk "$CUT"'{ r = cleaned($0); if (!DROP) print r }'; return $r; }
# stats FILE...: how each is kept. A name with a line break stays inside its record, for the mark cannot be guessed.
stats() {
  need stat; n=0
  for f do
    [ "$n" = 0 ] && { set --; n=1; }
    [ -e "$f" ] && [ $# -lt 2001 ] && set -- "$@" "$f"
  done
  [ $# = 0 ] || lim stat -L -c "@$T %a|%u|%g|%s|%Y|%U|%G|%F|%n" "$@"
}
mark() { printf '@%s %s\n' "$T" "$1"; }

# ask NUMBER SECONDS BYTES: run source s_NUMBER and frame its answer by length; the exit code stands at its end.
ask() {
  L=$2; read -r u0 rest </proc/uptime
  out=$( { trap 'printf "\n%s %s" "$T" "$?"' EXIT; "s_$1" </dev/null; exit; } | head -c "$3" )
  read -r u1 rest </proc/uptime
  printf '@%s %s %s %s %s\n%s\n' "$T" "$1" "$u0" "$u1" "${#out}" "$out"
}
# A run is one part (MODE all), or two where sudo is used: plain, then privileged. A source that needs root is asked by
# root, and else denied.
as_user() { [ "$MODE" = privileged ] || ask "$@"; }
as_root() {
  [ "$MODE" = plain ] && return
  if [ "$ME" = 0 ]; then ask "$@"; else printf '@%s %s 0 0 %s\n\n%s 91\n' "$T" "$1" "$((${#T} + 4))" "$T"; fi
}
