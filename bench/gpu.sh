#!/bin/sh
# Everything that needs a GPU, in one go: tests of single ops, the numerics tests, loads through fgserve with random weights.
# Logs and results go to a folder. Needs the built libraries and test programs (make -C libfastgen all cuda cuda-tests).
#   usage: bench/gpu.sh OUT STEP...      steps: ops ops-bench numerics startup MODEL[@GPUS]:LOAD[:TEMPERATURE]
#   models: mistral-7b qwen2.5-14b ... (bench/shapes.ts)      loads: reference long mixed stream one first poisson
#   With ops-bench before them, loads of one GPU are recorded with their floors.
set -u
out=$1
shift
cd "$(dirname "$0")/.."
mkdir -p "$out"
failed=0

step() {
	echo "== $*"
	"$@" || { failed=1; echo "FAILED: $*"; }
}

serving=
server=
stop_server() {
	[ -z "$server" ] || { kill "$server"; wait "$server"; }
	server= serving=
}
trap stop_server EXIT

model_of() { echo "${1%@*}"; }
gpus_of() { case $1 in *@*) echo "${1#*@}" ;; *) echo 1 ;; esac; }

# Starts a server of random weights, if another model is being served; prints the seconds until it answers.
serve() {
	[ "$serving" != "$1" ] || return 0
	stop_server
	bun bench/shapes.ts "$out/shapes"
	started=$(date +%s.%N)
	bun cli/main.ts serve "$out/shapes/$(model_of "$1")" --load-format dummy --device cuda --port 5679 \
		--tensor-parallel-size "$(gpus_of "$1")" --disable-log-requests >"$out/server-$1.log" 2>&1 &
	server=$!
	serving=$1
	until bun -e 'process.exit((await fetch("http://127.0.0.1:5679/health")).ok ? 0 : 1)' 2>/dev/null; do
		kill -0 "$server" 2>/dev/null || { cat "$out/server-$1.log"; server=; return 1; }
		sleep 0.1
	done
	cat "$out/server-$1.log"
	echo "$started $(date +%s.%N)" | awk '{ print "seconds from launch to ready:", $2 - $1 }'
}

# usage: load MODEL LOAD TEMPERATURE
load() {
	name=$2 temperature=$3
	case $name in
	reference) set -- "$1" --prompts 512 --input 1024 --output 128 ;;
	long) set -- "$1" --prompts 512 --input 128 --output 2048 ;;
	mixed) set -- "$1" --prompts 1000 --input 220 --output 200 --spread 0.9 ;;
	stream) set -- "$1" --prompts 64 --input 1024 --output 512 --stream --token-ids ;;
	one) set -- "$1" --prompts 1 --input 128 --output 512 --stream --token-ids ;;
	first) set -- "$1" --prompts 8 --input 1024 --output 8 --stream --token-ids --concurrency 1 ;;
	poisson) set -- "$1" --prompts 320 --input 1024 --output 128 --rate 16 --stream --token-ids ;;
	*) echo "no load named $2"; return 1 ;;
	esac
	model=$1
	shift
	[ ! -f "$out/ops.jsonl" ] || [ "$(gpus_of "$model")" != 1 ] || set -- "$@" --ceilings "$out/ops.jsonl"
	# Prompts of its own for each load and temperature: none may be found in the prefix cache of one before.
	seed=$(printf '%s' "$name:$temperature" | cksum | cut -d' ' -f1)
	bun bench/serve.ts --seed "$seed" --url http://127.0.0.1:5679 --dtype bfloat16 --results "$out/$(model_of "$model").jsonl" \
		--floor-model "$out/shapes/$(model_of "$model")" --temperature "$temperature" "$@"
}

for what in "$@"; do
	case $what in
	*:*) ;;
	*) stop_server ;; # whose memory the others need
	esac
	case $what in
	ops)
		step build/attention_test
		step build/gemm_test
		step build/ops_test
		step build/peers_test
		step build/sample_test_cuda
		;;
	ops-bench) step bun bench/ops.ts --results "$out/ops.jsonl" ;;
	numerics) step bun test test/gpu ;;
	startup)
		step bun bench/startup.ts mistral-7b --results "$out/startup.jsonl"
		;;
	*:*)
		rest=${what#*:}:0
		name=${rest%%:*}
		rest=${rest#*:}
		step serve "${what%%:*}" && step load "${what%%:*}" "$name" "${rest%%:*}"
		;;
	*) echo "no step named $what"; failed=1 ;;
	esac
done
exit $failed
