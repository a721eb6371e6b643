#!/usr/bin/env bash
# Run the built images and ask them: an encoder, an api, and a Redis with docker/redis.conf. Needs
# root, buildah, redis-server and redis-cli. Whatever is not as it should be ends it with a status other
# than 0.
#
#   docker/smoke.sh
#
#   TAG                               tag of the images (default: local)
#   API_PORT ENCODER_PORT REDIS_PORT  ports of this host, which chroot isolation shares
#   BUILDAH                           the buildah command (default: buildah)
#   REDIS_SERVER                      (default: redis-server)
set -euo pipefail
cd "$(dirname "$0")/.."

tag=${TAG:-local}
api_port=${API_PORT:-18080} encoder_port=${ENCODER_PORT:-18081} redis_port=${REDIS_PORT:-16379}
read -ra buildah <<<"${BUILDAH:-buildah}"
work=$(mktemp -d)
groups=() containers=()

clean() {
  status=$?
  trap - EXIT
  # The api first: it is what still asks the others.
  for ((i = ${#groups[@]} - 1; i >= 0; i--)); do kill -- "-${groups[i]}" 2>/dev/null || true; done
  wait
  if [[ $status -ne 0 ]]; then
    tail -n 30 "$work"/*.log >&2 2>/dev/null || true
    echo "smoke: FAILED" >&2
  fi
  for container in "${containers[@]}"; do "${buildah[@]}" rm "$container" >/dev/null || true; done
  rm -rf "$work"
  exit "$status"
}
trap clean EXIT
trap 'exit 1' INT TERM

fail() {
  echo "smoke: $*" >&2
  exit 1
}

for port in "$api_port" "$encoder_port" "$redis_port"; do
  ! (: <>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || fail "port $port is in use"
done

# Every job its own process group: it is stopped with all that it started.
set -m

start_redis() {
  mkdir "$work/redis"
  "${REDIS_SERVER:-redis-server}" docker/redis.conf --bind 127.0.0.1 --port "$redis_port" \
    --dir "$work/redis" >"$work/redis.log" 2>&1 &
  groups+=($!)
  for _ in {1..100}; do
    [[ $(redis-cli -p "$redis_port" ping 2>&1) != PONG ]] || return 0
    kill -0 "${groups[0]}" 2>/dev/null || break
    sleep 0.1
  done
  fail "the Redis does not start"
}

# run IMAGE NAME=VALUE...: the image's own entrypoint and user, without a capability.
run() {
  local role=$1 container environment=() entrypoint
  shift
  container=$("${buildah[@]}" from --pull-never "polyhead-$role:$tag")
  containers+=("$container")
  mapfile -t entrypoint < <("${buildah[@]}" inspect \
    --format '{{range .OCIv1.Config.Entrypoint}}{{println .}}{{end}}' "$container" | sed '/^$/d')
  install -d -o 10001 -g 10001 "$work/$role-data"
  for assignment in "$@"; do environment+=(--env "$assignment"); done
  "${buildah[@]}" run --isolation chroot --cap-drop all --volume "$work/$role-data:/data" \
    "${environment[@]}" "$container" -- "${entrypoint[@]}" >"$work/$role.log" 2>&1 &
  groups+=($!)
}

# inside CONTAINER COMMAND...: the image's own Python is all the client there is.
inside() {
  local container=$1
  shift
  "${buildah[@]}" run --isolation chroot --env "API=http://127.0.0.1:$api_port" \
    --env "ENCODER=http://127.0.0.1:$encoder_port" "$container" -- "$@"
}

key=smoke-$RANDOM$RANDOM$RANDOM inner=smoke-$RANDOM$RANDOM$RANDOM
redis_url=redis://127.0.0.1:$redis_port/0

start_redis
run encoder REDIS_URL="$redis_url" POLYHEAD_PORT="$encoder_port" POLYHEAD_HOST=127.0.0.1 \
  POLYHEAD_API_KEYS="predict:$inner" POLYHEAD_DEVICE=cpu
run api REDIS_URL="$redis_url" POLYHEAD_PORT="$api_port" POLYHEAD_HOST=127.0.0.1 \
  POLYHEAD_API_KEYS="manage:$key" POLYHEAD_ENCODER_KEY="$inner" \
  POLYHEAD_ENCODER_URL="http://127.0.0.1:$encoder_port"
encoder=${containers[0]} api=${containers[1]}

inside "$api" python -c '
import json, os, sys, time
from urllib.error import HTTPError, URLError
from urllib.request import ProxyHandler, Request, build_opener

open_url = build_opener(ProxyHandler({})).open  # these are here, whatever proxy there is
API, ENCODER, KEY = os.environ["API"], os.environ["ENCODER"], sys.argv[1]

def ask(method, path, body=None, key=KEY):
    headers = {"authorization": f"Bearer {key}"} if key else {}
    data = None if body is None else json.dumps(body).encode()
    request = Request(API + path, data=data, headers=headers, method=method)
    try:
        with open_url(request, timeout=60) as response:
            return response.status, json.load(response)
    except HTTPError as error:
        return error.code, json.load(error)

def check(what, found, wanted):
    print(f"smoke: {what}: {found}")
    assert found == wanted, f"{what}: {found}, not {wanted}"

def wait_for(url, seconds=120):
    started = time.monotonic()
    while True:
        try:
            with open_url(url + "/ready", timeout=5) as response:
                return json.load(response), round(time.monotonic() - started, 1)
        except (URLError, OSError) as error:
            if time.monotonic() - started > seconds:
                sys.exit(f"{url} is not ready after {seconds} s: {error}")
            time.sleep(0.2)

for name, url in ("encoder", ENCODER), ("api", API):
    ready, took = wait_for(url)
    print(f"smoke: {name} ready after {took} s: {ready}")
    check(f"the cache of the {name}", ready["cache"], "up")

for path in "/", "/console/main.js", "/console/vendor/uPlot.iife.min.js":
    with open_url(API + path, timeout=60) as response:
        check(f"the console, {path}", response.status, 200)
check("no key", ask("POST", "/v1/predict", {"inputs": "x"}, key=None)[0], 401)
for wanted in {"cached": 0, "encoded": 1}, {"cached": 1, "encoded": 0}:
    status, answer = ask("POST", "/v1/predict", {"inputs": "I love this little engine."})
    assert status == 200, answer
    usage = answer["usage"]
    check("usage", {name: usage[name] for name in wanted}, wanted)
    predictions = answer["data"][0]["predictions"]
    assert predictions, "no task answered"
print("smoke: predictions:", {task: p.get("label") for task, p in predictions.items()})

check("a new task", ask("PUT", "/v1/tasks/smoke", {"kind": "single_label"})[0], 201)
examples = [
    {"text": f"{start} {end}.", "label": label}
    for label, ends in {
        "food": ("the soup", "a fresh salad", "rice with beans", "the bread", "an apple pie"),
        "travel": ("the train", "a late flight", "the airport bus", "a hotel room", "our ticket"),
    }.items()
    for start in ("I was thinking of", "Please tell me about")
    for end in ends
]
status, job = ask("POST", "/v1/tasks/smoke/versions", {"examples": examples, "head": "linear"})
check("training", status, 202)
until = time.monotonic() + 120
while job["status"] in ("queued", "running") and time.monotonic() < until:
    time.sleep(0.3)
    status, job = ask("GET", "/v1/jobs/" + job["id"])
    assert status == 200, job
check("the job", job["status"], "succeeded")
' "$key"

inside "$api" python -c '
import importlib.util, os
for name in ("torch", "transformers", "openvino", "tokenizers", "pip"):
    assert importlib.util.find_spec(name) is None, f"the api has {name}"
assert os.getuid() == os.getgid() == 10001, (os.getuid(), os.getgid())
print("smoke: no torch in the api; uid", os.getuid())
'
inside "$encoder" python -c '
import importlib.util
for name in ("torch", "transformers", "pip"):
    assert importlib.util.find_spec(name) is None, f"the encoder has {name}"
print("smoke: no torch in the encoder")
'
[[ $(redis-cli -p "$redis_port" config get maxmemory-policy | tail -n 1) == allkeys-lru ]] ||
  fail "the eviction policy is not set"
[[ $(redis-cli -p "$redis_port" dbsize) -gt 0 ]] || fail "no code is in the Redis"

for container in "$encoder" "$api"; do
  port=$api_port
  [[ $container == "$api" ]] || port=$encoder_port
  mapfile -t check < <("${buildah[@]}" inspect \
    --format '{{range .Docker.Config.Healthcheck.Test}}{{println .}}{{end}}' "$container" | sed '/^$/d')
  [[ ${check[0]:-} == CMD ]] || fail "$container has no HEALTHCHECK"
  "${buildah[@]}" run --isolation chroot --env "POLYHEAD_PORT=$port" "$container" -- "${check[@]:1}" ||
    fail "the HEALTHCHECK of $container fails"
  # What a read-only root would forbid: nothing but /data and /tmp is the user's to write.
  root=$("${buildah[@]}" mount "$container")
  writable=$(find "$root" -xdev \( -path "$root/dev" -o -path "$root/proc" -o -path "$root/sys" \) -prune \
    -o ! -type l \( -user 10001 -o -group 10001 -o -perm -0002 \) ! -path "$root/data" \
    ! -path "$root/tmp" ! -path "$root/tmp/*" -print -quit)
  written=$(find "$root/tmp" -mindepth 1 -print)
  "${buildah[@]}" umount "$container" >/dev/null
  [[ -z $writable ]] || fail "$container: its user can write ${writable#"$root"}"
  [[ -z $written ]] || echo "smoke: $container wrote ${written//$root/}"
done
echo "smoke: ok"
