#!/usr/bin/env bash
# DynamoDB Local, in memory, on a free port, for tests.
#
#   dynamodb-local.sh fetch        download it from Maven Central into the cache
#   dynamodb-local.sh start DIR    start a server, keep its files in DIR, print its endpoint
#   dynamodb-local.sh stop DIR     end the server that was started with DIR
#
# Needs Java 17 or newer, Maven and Python 3; Linux on amd64. Environment:
#   DYNAMODB_LOCAL_VERSION   version (3.3.1)
#   ZAE_CACHE                folder of the download ($XDG_CACHE_HOME or ~/.cache, zae-limiter)
#
# The program listens on all interfaces and has no option to change that. Its
# telemetry is switched off. All access keys and regions share one database.
# Keep to one table with a stream per server: each further one is slower by the
# records that the others wrote.
set -eu -o pipefail

version=${DYNAMODB_LOCAL_VERSION:-3.3.1}
cache=${ZAE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/zae-limiter}
jars=$cache/dynamodb-local-$version

die() { echo "dynamodb-local.sh: $*" >&2; exit 1; }

fetch() {
  [ ! -e "$jars/complete" ] || return 0
  mkdir -p "$cache"
  # Into a folder of its own and renamed, so that two first runs do not mix.
  local work
  work=$(mktemp -d "$cache/fetch.XXXXXX")
  cat >"$work/pom.xml" <<POM
<project>
  <modelVersion>4.0.0</modelVersion>
  <groupId>interop</groupId><artifactId>interop</artifactId><version>1</version>
  <dependencies><dependency>
    <groupId>software.amazon.dynamodb</groupId>
    <artifactId>DynamoDBLocal</artifactId>
    <version>$version</version>
  </dependency></dependencies>
</project>
POM
  # The runtime scope includes the native database library.
  if ! mvn --batch-mode --quiet --file "$work/pom.xml" dependency:copy-dependencies \
    -DincludeScope=runtime -DoutputDirectory="$work/jars" >&2; then
    rm -rf "$work"
    die "Maven could not fetch DynamoDB Local $version"
  fi
  touch "$work/jars/complete"
  mv -T "$work/jars" "$jars" 2>/dev/null || [ -e "$jars/complete" ]
  rm -rf "$work"
}

free_port() {
  python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

# An unsigned request is refused with an error of DynamoDB's once it is up.
answers() {
  python3 - "$1" 2>/dev/null <<'PY'
import sys, urllib.error, urllib.request
try:
    urllib.request.urlopen(sys.argv[1], timeout=2)
except urllib.error.HTTPError as e:
    sys.exit(b"MissingAuthenticationToken" not in e.read())
PY
}

# launch DIR PORT: start on that port; fails when the server does not come up,
# for instance because somebody else has taken the port meanwhile.
launch() {
  local dir=$1 port=$2 pid
  (
    cd "$dir"
    DDB_LOCAL_TELEMETRY=0 exec setsid "${JAVA_HOME:+$JAVA_HOME/bin/}java" -Xmx1g \
      -Djava.library.path="$jars" -cp "$jars/*" \
      software.amazon.dynamodb.services.local.main.ServerRunner \
      -inMemory -sharedDb -disableTelemetry -port "$port"
  ) </dev/null >"$dir/log" 2>&1 &
  pid=$!
  echo "$pid" >"$dir/pid"
  for _ in $(seq 300); do
    ! answers "http://127.0.0.1:$port/" || return 0
    kill -0 "$pid" 2>/dev/null || return 1
    sleep 0.2
  done
  kill "$pid" 2>/dev/null
  return 1
}

start() {
  local dir=$1 port
  fetch
  mkdir -p "$dir"
  for _ in 1 2 3; do
    port=$(free_port)
    if launch "$dir" "$port"; then
      echo "http://127.0.0.1:$port"
      return 0
    fi
  done
  tail -n 20 "$dir/log" >&2
  die "the server did not start"
}

stop() {
  local pid
  [ -f "$1/pid" ] || return 0
  pid=$(cat "$1/pid")
  rm -f "$1/pid"
  # A process number may have been given away since.
  tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null | grep -q ServerRunner || return 0
  kill "$pid"
  while kill -0 "$pid" 2>/dev/null; do sleep 0.1; done
}

case ${1:-}${2:+ dir} in
fetch) fetch ;;
"start dir") start "$2" ;;
"stop dir") stop "$2" ;;
*) sed -n '2,6s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac
