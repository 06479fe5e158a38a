/*
 * ipc_test.c - weights out of another process's device memory: they give the answers of the same weights out of the
 * host's memory, whatever their dtype and place; and what cannot be read is refused, and changes nothing.
 *
 *   ipc_test          the test; it starts itself again as the other process
 *   ipc_test export   that process: for each line "DTYPE SEED" of its input, it writes a handle
 */
#include "model.h"

#include <cuda_runtime_api.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
	VOCAB = SMALL_VOCAB,
	ALIGN = 2, /* of tensors in the memory: the least that there may be */
};

static const int32_t devices[2] = {0, 1};
static int32_t n_devices = 1;

#define CUDA(call)                                                                                                     \
	do {                                                                                                               \
		cudaError_t error_ = (call);                                                                                   \
		if (error_ != cudaSuccess) {                                                                                   \
			fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, __LINE__, #call, cudaGetErrorString(error_));                 \
			exit(1);                                                                                                   \
		}                                                                                                              \
	} while (0)

/* The same in both processes. */
static void make(model *m, int32_t dtype, uint64_t seed) {
	fg_shape shape = small_shape();
	shape.qkv_bias = shape.qk_norm = 1;
	make_model(m, shape, 0, dtype == FG_FP8_E4M3 ? FG_BF16 : dtype, seed);
	if (dtype == FG_FP8_E4M3) quantize_model(m, PER_ROW);
}

/* Where each tensor lies in the memory, in which 30 bytes come first. Returns its size. */
static size_t place(const model *m, uint64_t *offsets) {
	size_t at = 30;
	for (int32_t i = 0; i < m->n_tensors; i++) {
		offsets[i] = at;
		at += (m->tensors[i].bytes + ALIGN - 1) / ALIGN * ALIGN;
	}
	return at;
}

static int export_models() {
	static model m;
	uint64_t offsets[MAX_TENSORS];
	int dtype, seed;
	while (scanf("%d %d", &dtype, &seed) == 2) {
		make(&m, dtype, (uint64_t)seed);
		const size_t bytes = place(&m, offsets);
		char *data;
		cudaIpcMemHandle_t handle;
		CUDA(cudaMalloc((void **)&data, bytes));
		for (int32_t i = 0; i < m.n_tensors; i++)
			CUDA(cudaMemcpy(data + offsets[i], m.tensors[i].data, m.tensors[i].bytes, cudaMemcpyHostToDevice));
		CUDA(cudaDeviceSynchronize());
		CUDA(cudaIpcGetMemHandle(&handle, data));
		if (write(STDOUT_FILENO, &handle, sizeof handle) != (ssize_t)sizeof handle) return 1;
		free_model(&m); /* the memory on the device stays until the input ends */
	}
	return 0;
}

typedef struct {
	pid_t id;
	FILE *to;
	int from;
} process;

static process start(const char *program) {
	int in[2], out[2];
	if (pipe(in) || pipe(out)) exit(1);
	const pid_t id = fork();
	if (id < 0) exit(1);
	if (id == 0) {
		dup2(in[0], STDIN_FILENO), dup2(out[1], STDOUT_FILENO);
		close(in[0]), close(in[1]), close(out[0]), close(out[1]);
		execl(program, program, "export", (char *)NULL);
		_exit(1);
	}
	close(in[0]), close(out[1]);
	return (process){id, fdopen(in[1], "w"), out[0]};
}

static void stop(process *other) {
	int status = 0;
	fclose(other->to), close(other->from);
	waitpid(other->id, &status, 0);
	CHECK(status == 0, "the other process ended with %d", status);
}

static cudaIpcMemHandle_t ask_for(process *other, int32_t dtype, int seed) {
	cudaIpcMemHandle_t handle;
	fprintf(other->to, "%d %d\n", dtype, seed), fflush(other->to);
	for (size_t n = 0; n < sizeof handle;) {
		const ssize_t got = read(other->from, (char *)&handle + n, sizeof handle - n);
		if (got <= 0) {
			printf("FAILED: the other process has ended\n");
			exit(1);
		}
		n += (size_t)got;
	}
	return handle;
}

static step_builder b;
static outcome *o;

static void ask(fg_engine *e, float *logits) {
	static const int32_t text[5] = {1, 2, 3, 4, 5};
	begin_step(&b);
	fill_slot(&b, 0, GREEDY);
	map_pages(&b, 0, 0, 1, 0, 1);
	add_seq(&b, 0, text, 5, 5, FG_SAMPLE | FG_LOGITS);
	run_step(e, &b, o);
	memcpy(logits, o->logits, VOCAB * sizeof *logits);
}

static void test_dtype(process *other, int32_t dtype, int32_t quantization) {
	static model first, second;
	static fg_tensor t[MAX_TENSORS];
	uint64_t offsets[MAX_TENSORS];
	float before[VOCAB], want[VOCAB], got[VOCAB];
	fg_capacity capacity;
	fg_options options = test_options();
	options.devices = devices, options.n_devices = n_devices, options.max_step_tokens = 64;
	options.compute_dtype = options.kv_dtype = FG_BF16, options.kv_bytes = 16 << 20;
	options.memory_utilization = 0.5, options.quantization = quantization;
	make(&first, dtype, 3), make(&second, dtype, 4);
	const cudaIpcMemHandle_t handle = ask_for(other, dtype, 4);
	fg_engine *e = open_model(&first, options, NULL);
	ask(e, before);
	MUST(fg_load(e, second.tensors, second.n_tensors));
	MUST(fg_ready(e, &capacity));
	ask(e, want);
	MUST(fg_load(e, first.tensors, first.n_tensors));
	MUST(fg_ready(e, &capacity));

	const size_t bytes = place(&second, offsets);
	memcpy(t, second.tensors, sizeof t);
	for (int32_t i = 0; i < second.n_tensors; i++)
		if (i != 5) t[i].data = NULL, t[i].ipc_handle = &handle, t[i].offset = offsets[i]; /* one stays on the host */
	for (int round = 0; round < 3; round++) {
		MUST(fg_load(e, t, second.n_tensors));
		MUST(fg_ready(e, &capacity));
		ask(e, got);
		CHECK(!memcmp(want, got, sizeof want), "dtype %d, quantization %d: other logits", dtype, quantization);
		MUST(fg_load(e, first.tensors, first.n_tensors));
		MUST(fg_ready(e, &capacity));
	}
	CHECK(memcmp(before, want, sizeof want), "the two models answer the same");

	/* past the end: cudaMalloc rounds up, but not to 1 GiB */
	t[4].offset = bytes + (1 << 30);
	REFUSED(FG_INVALID, "which has only", fg_load(e, t, second.n_tensors));
	t[4].offset = UINT64_MAX;
	REFUSED(FG_INVALID, "which has only", fg_load(e, t, second.n_tensors));
	t[4].offset = offsets[4];
	cudaIpcMemHandle_t bad = handle;
	memset(&bad, 0xa5, sizeof bad);
	t[4].ipc_handle = &bad;
	REFUSED(FG_INVALID, "cannot be opened", fg_load(e, t, second.n_tensors));
	ask(e, got);
	CHECK(!memcmp(before, got, sizeof got), "a refused load has changed the logits");
	fg_close(e);
	free_model(&first), free_model(&second);
}

int main(int argc, char **argv) {
	if (argc > 1) return export_models();
	process other = start(argv[0]); /* before this process uses the device */
	int32_t found = 0;
	MUST(fg_devices(&found));
	if (!found) {
		printf("ipc_test: no device\n");
		stop(&other);
		return 0;
	}
	static const model small = {.shape.vocab_size = VOCAB};
	o = new_outcome(&small, 1);
	for (n_devices = 1; n_devices <= 2 && n_devices <= found; n_devices++) {
		test_dtype(&other, FG_BF16, FG_QUANTIZE_NONE);
		test_dtype(&other, FG_F32, FG_QUANTIZE_NONE);
		test_dtype(&other, FG_F16, FG_QUANTIZE_NONE);
		test_dtype(&other, FG_FP8_E4M3, FG_QUANTIZE_NONE);
		test_dtype(&other, FG_BF16, FG_QUANTIZE_FP8);
		test_dtype(&other, FG_F32, FG_QUANTIZE_FP8);
	}
	stop(&other);
	free_outcome(o);
	return report("ipc_test");
}
