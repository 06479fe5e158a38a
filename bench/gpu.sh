#!/bin/sh
# Everything that needs a GPU, in one go: tests of single ops, the numerics tests, loads through fgserve with random
# weights. Logs and results go to the folder OUT. Build first: make -C libfastgen all cuda cuda-tests
#   usage: bench/gpu.sh OUT STEP...      steps: ops ops-bench numerics startup MODEL[+fp8][@GPUS[xENGINES]]:LOAD[:TEMPERATURE]
#   GPUS: of each engine. ENGINES: with --data-parallel-size; the loads reference-2 and reference-4 give each engine what reference gives one.
#   models: mistral-7b qwen2.5-14b ... (bench/shapes.ts); +fp8: its weights, activations and KV cache in FP8
#   loads: reference long mixed thousand short batch-20000 prompts-4k prompts-24k stream stream-schemas stream-256 stream-256-schemas
#          stream-256-half one first poisson poisson-schemas poisson-24 figure-16 ... figure-2048 (bench/named-loads.ts)
#   MODEL:turns-GIB, MODEL:turns-forget-GIB: conversations in turns (bench/turns.ts) with 2,048 pages of Mistral's KV on the GPU and so
#          many GiB in host memory; forget: nothing is used again
#   Results of one GPU have floors, from this run's ops-bench if it came first, else from bench/results.
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

model_of() { name=${1%@*}; echo "${name%+*}"; }
dtype_of() { case $1 in *+fp8*) echo fp8 ;; *) echo bfloat16 ;; esac; }
# usage: memory_for_turns NAME, such as turns-16 or turns-forget-16
memory_for_turns() { echo "--kv-cache-memory-bytes 17179869184 --swap-space ${1##*-}"; }
gpus_of() { case $1 in *@*) gpus=${1#*@} && echo "${gpus%x*}" ;; *) echo 1 ;; esac; }
engines_of() { case $1 in *@*x*) echo "${1##*x}" ;; *) echo 1 ;; esac; }

# usage: serve MODEL[+fp8][@GPUS] [MEMORY]
# Serves a model with random weights, unless it is being served already; prints the seconds until the server answers.
# MEMORY: flags that say how much of it the KV cache has.
serve() {
	[ "$serving" != "$1${2-}" ] || return 0
	stop_server
	bun bench/shapes.ts "$out/shapes"
	precision=
	[ "$(dtype_of "$1")" != fp8 ] || precision="--quantization fp8 --kv-cache-dtype fp8"
	started=$(date +%s.%N)
	# shellcheck disable=SC2086 # flags and their values
	bun cli/main.ts serve "$out/shapes/$(model_of "$1")" --load-format dummy --device cuda --port 5679 $precision ${2-} \
		--tensor-parallel-size "$(gpus_of "$1")" --data-parallel-size "$(engines_of "$1")" --disable-log-requests >"$out/server-$1.log" 2>&1 &
	server=$!
	serving=$1${2-}
	until bun -e 'process.exit((await fetch("http://127.0.0.1:5679/health")).ok ? 0 : 1)' 2>/dev/null; do
		kill -0 "$server" 2>/dev/null || { cat "$out/server-$1.log"; server=; return 1; }
		sleep 0.1
	done
	cat "$out/server-$1.log"
	echo "$started $(date +%s.%N)" | awk '{ print "seconds from launch to ready:", $2 - $1 }'
}

# usage: load MODEL[+fp8][@GPUS[xENGINES]] LOAD TEMPERATURE
load() {
	model=$(model_of "$1") dtype=$(dtype_of "$1")
	# Each load and temperature gets prompts of its own: none may be in the prefix cache from an earlier load.
	seed=$(printf '%s' "$2:$3" | cksum | cut -d' ' -f1)
	[ ! -f "$out/ops.jsonl" ] || set -- "$@" --ceilings "$out/ops.jsonl"
	gpus=$(($(gpus_of "$1") * $(engines_of "$1"))) engines=$(engines_of "$1") name=$2 temperature=$3
	shift 3
	bun bench/serve.ts --load "$name" --seed "$seed" --temperature "$temperature" --gpus "$gpus" --engines "$engines" --dtype "$dtype" \
		--url http://127.0.0.1:5679 --results "$out/$model.jsonl" --floor-model "$out/shapes/$model" "$@"
}

# usage: turns MODEL NAME
turns() {
	forget=
	# Other prompts than those of the load before, which the same server may have kept.
	case $2 in turns-forget-*) forget="--forget --seed 1" ;; esac
	# shellcheck disable=SC2086 # flags, or none
	bun bench/turns.ts --model "$(model_of "$1")" --gpus "$(gpus_of "$1")" --host-kv "${2##*-}" $forget --url http://127.0.0.1:5679 --results "$out/turns.jsonl"
}

for what in "$@"; do
	case $what in
	*:*) ;;
	*) stop_server ;; # the other steps need its memory
	esac
	case $what in
	ops)
		step build/attention_test
		step build/fp8_test
		step build/gemm_test
		step build/ipc_test
		step build/ops_test
		step build/peers_test
		step build/sample_test_cuda
		step build/update_test_cuda
		;;
	ops-bench) step bun bench/ops.ts --results "$out/ops.jsonl" ;;
	numerics) step bun test test/gpu ;;
	startup)
		step bun bench/startup.ts mistral-7b --results "$out/startup.jsonl"
		step bun bench/startup.ts mistral-7b --quantization fp8 --results "$out/startup.jsonl"
		;;
	*:turns-*)
		model=${what%%:*} name=${what#*:}
		step serve "$model" "$(memory_for_turns "$name")" && step turns "$model" "$name"
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
