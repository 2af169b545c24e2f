#!/usr/bin/env bash
# Starts three nodes on this machine with sample data, says what to try, and stops
# them at Ctrl-C. Used by make cluster. Environment: SPOOR (binary), DATA (directory; a
# temporary one is removed at the end), PORT (clients at PORT..PORT+2, nodes ten above), EVENTS.
set -euo pipefail
spoor=${SPOOR:-bin/spoor} port=${PORT:-7480} events=${EVENTS:-20000}
data=${DATA:-} made=
if [ -z "$data" ]; then data=$(mktemp -d) made=1; fi
pids=()
stop() {
  trap - EXIT INT TERM
  for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
  for pid in "${pids[@]}"; do wait "$pid" 2>/dev/null || true; done
  # Nodes that were brought back from another terminal have their pids there.
  for i in 1 2 3; do if [ -f "$data/n$i.pid" ]; then kill "$(cat "$data/n$i.pid")" 2>/dev/null || true; fi; done
  if [ -n "$made" ]; then rm -rf "$data"; fi
}
trap stop EXIT
trap 'echo; exit 0' INT TERM

args() { # of node $1
  printf '%s' "serve --data $data/n$1 --node-id n$1 --listen 127.0.0.1:$((port + $1 - 1)) --raft 127.0.0.1:$((port + $1 + 9))"
  if [ "$1" != 1 ]; then printf '%s' " --join http://127.0.0.1:$port"; fi
}
for i in 1 2 3; do
  # shellcheck disable=SC2046 # words are wanted
  "$spoor" $(args $i) >"$data/n$i.log" 2>&1 &
  pids+=($!)
  for _ in $(seq 100); do
    if grep -q 'Spoor serves' "$data/n$i.log"; then break; fi
    if ! kill -0 "${pids[-1]}" 2>/dev/null; then echo "n$i did not start:" >&2; tail -n 5 "$data/n$i.log" >&2; exit 1; fi
    sleep 0.2
  done
done
"$spoor" demo --server "http://127.0.0.1:$((port + 1))" --events "$events" --wait 20s >/dev/null
for _ in $(seq 100); do # until all have a vote
  if [ "$("$spoor" cluster status --json --server "http://127.0.0.1:$port" | grep -c '"voter": true')" = 3 ]; then break; fi
  sleep 0.2
done
"$spoor" cluster status --server "http://127.0.0.1:$port"
cat <<TEXT

Three nodes run; their logs are in $data/n*.log. In another terminal:

  $spoor cluster watch --server http://127.0.0.1:$((port + 1))      # live
  curl http://127.0.0.1:$((port + 2))/api/events -d '{"userId":"me","eventName":"hello"}'     # any node takes writes
  curl 'http://127.0.0.1:$((port + 1))/api/query?consistency=linearizable' -d 'events of hello'
  kill -9 ${pids[0]}                              # n1, which leads: writes go on within seconds
  $spoor $(args 1) & echo \$! >$data/n1.pid     # and it is back
  $spoor cluster transfer n1 --server http://127.0.0.1:$((port + 1))

Ctrl-C ends all of it.
TEXT
while true; do sleep 1; done
