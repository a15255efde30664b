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

CUT='function quoted(s,  done, m) {
  done = ""
  while (match(s, /([Pp][Aa][Ss][Ss]|[Pp][Aa][Ss][Ss][Ww][Dd]|[Pp][Aa][Ss][Ss][Ww][Oo][Rr][Dd]|[Pp][Ww][Dd]|[Ss][Ee][Cc][Rr][Ee][Tt]|[Tt][Oo][Kk][Ee][Nn])"?[ \t]*[=:(][ \t]*"[^"]+"/)) {
    m = substr(s, RSTART, RLENGTH); sub(/"[^"]+"$/, "\"[cut]\"", m)
    done = done substr(s, 1, RSTART - 1) m; s = substr(s, RSTART + RLENGTH)
  }
  return done s
}
function cut(s) {
  if (tolower(s) !~ /pass|pw|secret|token|key|auth|sig=|identified|mysql|mariadb|curl|wget|grub|eyj|akia|asia|ltai|akid|[${]|:\/\/|密码|口令|密钥|令牌/) return s
  s = quoted(s)
  gsub(/\$(1|2[abxy]?|5|6|7|y|gy|md5|sha1|sm3|apr1|scrypt|argon2[a-z]*|pbkdf2[a-z0-9-]*)\$[.\/A-Za-z0-9$=,+-]+/, "[cut]", s)
  gsub(/\{(SSHA|SHA|SMD5|MD5|CRYPT)[0-9]*\}[A-Za-z0-9+\/=$.]+/, "[cut]", s)
  gsub(/:\/\/[^\/@ \t:]*:[^\/@ \t]*@/, "://[cut]@", s)
  if (match(s, /([Pp][Aa][Ss][Ss][Ww][Dd]|[Pp][Aa][Ss][Ss][Ww][Oo][Rr][Dd]|[Pp][Ww][Dd]|PWD|[Bb][Ii][Nn][Dd][Pp][Ww]|[Ss][Ee][Cc][Rr][Ee][Tt][Ss]?|[Tt][Oo][Kk][Ee][Nn])=[^ \t]/))
    s = substr(s, 1, RSTART + RLENGTH - 2) "[cut]"
  if (match(s, /(^|[^A-Za-z])([Pp]assword|[Pp]assphrase|[Ss]ecret|[Tt]oken|[Aa]pi[-_]?[Kk]ey|[a-z]*[-_](password|secret|token|api[-_]?key))"?:[ \t]+"?[^ \t"]/))
    s = substr(s, 1, RSTART + RLENGTH - 2) "[cut]"
  if (match(s, /(_PASS|_pass|(ACCESS|SECRET|API|PRIVATE|access|secret|api|private)_(KEY|key)(_BASE|_base)?)=[^ \t]/))
    s = substr(s, 1, RSTART + RLENGTH - 2) "[cut]"
  if (match(s, /[?&](access_token|token|key|sig|secret|password)=[^& \t]/)) s = substr(s, 1, RSTART + RLENGTH - 2) "[cut]"
  if (match(s, /(curl|wget)[ \t].*(-u|--user)[ =]*[^ ]/)) s = substr(s, 1, RSTART + 4) " [cut]"
  if (match(s, /[Ii][Dd][Ee][Nn][Tt][Ii][Ff][Ii][Ee][Dd] +[Bb][Yy] /)) s = substr(s, 1, RSTART + RLENGTH - 1) "[cut]"
  if (match(s, /(密码|口令|密钥|令牌)(:|：|=)[ \t]*[!-~]/)) s = substr(s, 1, RSTART + RLENGTH - 2) "[cut]"
  gsub(/grub\.pbkdf2\.[a-z0-9]+\.[0-9]+\.[0-9A-F.]+/, "[cut]", s)
  gsub(/eyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*/, "[cut]", s)
  gsub(/(AKIA|ASIA|LTAI|AKID)[0-9A-Za-z][0-9A-Za-z][0-9A-Za-z][0-9A-Za-z][0-9A-Za-z][0-9A-Za-z][0-9A-Za-z][0-9A-Za-z]+/, "[cut]", s)
  if (match(s, /--(passw[a-z]*|pass|token|secret|auth)[ =]+[^ ]/)) s = substr(s, 1, RSTART + RLENGTH - 2) "[cut]"
  if (match(s, /(requirepass|masterauth|auth-pass|REDISCLI_AUTH=|(mysql|mariadb)[a-z-]* .*-p)[^ ]*[ \t]*[^ ]/)) s = substr(s, 1, RSTART + 5) " [cut]"
  if (match(s, /[Aa]uthorization:?[ \t"]*([Bb]asic|[Bb]earer)/)) s = substr(s, 1, RSTART + RLENGTH - 1) " [cut]"
  return s
}'
SHOW=$CUT'
FNR == 1 { n = FILENAME; gsub(/\n/, "?", n); printf "@%s %s\n", T, n; key = 0 }
/-----BEGIN [A-Z0-9 ]*PRIVATE KEY/ { key = 1; print " [cut]" }
!key { print " " cut(substr($0, 1, 4096)) }
/-----END [A-Z0-9 ]*PRIVATE KEY/ { key = 0 }'

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
clean() { x=$(lim "$@"); r=$?; printf '%s\n' "$x" | awk "$CUT"'{ print cut($0) }'; return $r; }
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
