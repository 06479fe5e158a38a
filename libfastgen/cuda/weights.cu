/*
 * weights.cu - loads checkpoints to the device, in bf16: q|k|v and gate|up become one matrix each. Each of several
 * ranks loads its shard: some of the heads and of the intermediate features.
 *
 * Reader threads take pieces of the files in turn, read each into pinned memory and start its copy. A thread has two
 * buffers, so that it reads into one while the other is being copied. Other dtypes are converted in between.
 */
#include "context.cuh"

extern "C" {
#include "../engine.h"
#include "../numeric.h"
}
#include "../random.h"

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <fcntl.h>
#include <mutex>
#include <thread>
#include <unistd.h>
#include <utility>

namespace fg {

namespace {

/* A core copies about 5 GB/s out of the page cache, so it takes many to fill the link. */
constexpr unsigned MAX_READERS = 16;
/* Bytes of a file read at once: large enough to keep the link busy, small enough that pinning the buffers takes no
 * time. */
constexpr size_t PIECE = 4 << 20;
constexpr size_t ALIGN = 256;

/* A rank's shard of a tensor. */
struct Shard {
	int32_t rows, cols, first_row, first_col;
	int32_t all_cols; /* of the tensor */
	int32_t ranks;    /* that the tensor is split over */

	static Shard of(const Context *c, fg_role role) {
		Shard s = {};
		fg_role_dims(&c->base.config->shape, role, &s.rows, &s.cols);
		s.all_cols = s.cols, s.ranks = c->ranks.count();
		const int32_t rank = c->base.rank;
		switch (role) {
		case FG_Q:
		case FG_K:
		case FG_V:
		case FG_Q_BIAS:
		case FG_K_BIAS:
		case FG_V_BIAS:
		case FG_GATE:
		case FG_UP: s.rows /= s.ranks, s.first_row = rank * s.rows; break;
		case FG_O:
		case FG_DOWN: s.cols /= s.ranks, s.first_col = rank * s.cols; break;
		default: s.ranks = 1;
		}
		return s;
	}
	size_t elements() const {
		return (size_t)rows * (size_t)cols;
	}
	size_t first() const { /* index in the tensor of the shard's first element */
		return (size_t)first_row * (size_t)all_cols + (size_t)first_col;
	}
	bool whole_rows() const {
		return cols == all_cols;
	}
};

struct Part {
	fg_role role;
	int32_t layer;
	bf16 *to; /* [rows][cols] */
	Shard shard;
};

/* Places every matrix in one block of memory, in the order of the checkpoint's layers, and lists the parts that it is
 * loaded from. With `base` NULL it only measures: `used` is then the block's size. */
struct Placer {
	Context *c;
	char *base;
	size_t used = 0;
	std::vector<Part> parts;

	void matrix(fg_matrix *m, int32_t layer, std::initializer_list<fg_role> roles) {
		memset(m, 0, sizeof *m);
		used = (used + ALIGN - 1) / ALIGN * ALIGN;
		m->n_parts = 1;
		m->part[0].data = base ? base + used : nullptr;
		m->part[0].dtype = FG_BF16;
		for (fg_role role : roles) {
			const Shard shard = Shard::of(c, role);
			if (base) parts.push_back({role, layer, (bf16 *)(base + used), shard});
			m->rows += shard.rows, m->cols = shard.cols;
			used += shard.elements() * sizeof(bf16);
		}
		m->part[0].rows = m->rows;
	}

	void all() {
		fg_weights &w = c->base.weights;
		const fg_shape &s = c->base.config->shape;
		used = 0;
		matrix(&w.embed, 0, {FG_EMBED});
		for (int32_t i = 0; i < s.n_layers; i++) {
			matrix(&w.layers[i].qkv, i, {FG_Q, FG_K, FG_V});
			matrix(&w.layers[i].o, i, {FG_O});
			matrix(&w.layers[i].gate_up, i, {FG_GATE, FG_UP});
			matrix(&w.layers[i].down, i, {FG_DOWN});
		}
		if (s.tied_embeddings) w.lm_head = w.embed;
		else matrix(&w.lm_head, 0, {FG_LM_HEAD});
	}
};

fg_status place(Context *c, std::vector<Part> *parts) {
	const fg_shape &s = c->base.config->shape;
	c->base.weights.layers = (fg_layer *)calloc((size_t)s.n_layers, sizeof(fg_layer));
	if (!c->base.weights.layers) return fg_fail(FG_OUT_OF_MEMORY, "no memory for the list of layers");
	Placer placer = {c, nullptr, 0, {}};
	placer.all();
	c->weight_bytes = placer.used;
	size_t free = 0, total = 0;
	cudaError_t error = cudaMemGetInfo(&free, &total);
	if (error != cudaSuccess) return cuda_fail(error, "asking for free memory");
	constexpr double GIB = 1 << 30;
	if (placer.used > free)
		return fg_fail(
			FG_OUT_OF_MEMORY,
			"the weights take %.1f GiB, and %.1f of the %.1f GiB of device %d (%s) are free. End other programs that "
			"use it, choose a smaller model, or split it over more devices (tensor_parallel_size)",
			(double)placer.used / GIB, (double)free / GIB, (double)total / GIB, c->device, c->name);
	placer.base = (char *)device_alloc(c, placer.used, "the weights");
	if (!placer.base) return FG_OUT_OF_MEMORY;
	placer.all();
	*parts = std::move(placer.parts);
	return FG_OK;
}

/* Keeps the last file open: most tensors of one file follow each other. */
struct OpenFile {
	const fg_file *file = nullptr;
	int fd = -1;

	~OpenFile() {
		if (fd >= 0) ::close(fd);
	}

	fg_status read(const fg_file *from, uint64_t offset, char *to, size_t bytes) {
		if (from != file) {
			if (fd >= 0) ::close(fd);
			fd = ::open(from->path, O_RDONLY | O_CLOEXEC);
			file = fd >= 0 ? from : nullptr;
			if (fd < 0) return fg_fail(FG_IO, "cannot read %s: %s", from->path, strerror(errno));
		}
		while (bytes > 0) {
			ssize_t n = pread(fd, to, bytes, (off_t)offset);
			if (n < 0 && errno == EINTR) continue;
			if (n <= 0)
				return fg_fail(FG_IO, "cannot read %s: %s", from->path, n < 0 ? strerror(errno) : "it ends too early");
			to += n, offset += (uint64_t)n, bytes -= (size_t)n;
		}
		return FG_OK;
	}
};

/* ---- norms and biases ---- */

/* They lie in one block, which is made on the host and copied at once: a small copy costs more than its bytes, and
 * there would be many. */
struct Vectors {
	Context *c;
	const fg_tensor_table *table; /* NULL: random */
	uint64_t seed;
	atomic_ullong *done;
	std::vector<float> host = {};
	std::vector<std::pair<const float **, size_t>> places =
		{}; /* pointers to set, and the element of the block that each points to */
	OpenFile file = {};

	fg_status read(fg_role role, int32_t layer, const Shard &shard, float *to) {
		const size_t rows = (size_t)shard.rows, first = shard.first();
		if (!table) {
			bool bias = role == FG_Q_BIAS || role == FG_K_BIAS || role == FG_V_BIAS;
			uint64_t stream = fg_random_stream(seed, role, layer);
			for (size_t i = 0; i < rows; i++)
				to[i] = bias ? fg_random_uniform(stream, first + i) * fg_random_range(1) : 1;
			atomic_fetch_add(done, rows * (size_t)shard.ranks * sizeof(float));
			return FG_OK;
		}
		const fg_file *from;
		const fg_tensor *t = fg_table_find(table, layer, role, &from);
		std::vector<char> bytes;
		const void *data = t->data;
		if (from) {
			bytes.resize(t->bytes);
			fg_status status = file.read(from, t->offset, bytes.data(), bytes.size());
			if (status) return status;
			data = bytes.data();
		}
		for (size_t i = 0; i < rows; i++) to[i] = fg_read(data, t->dtype, first + i);
		atomic_fetch_add(done, t->bytes);
		return FG_OK;
	}

	/* Adds the vectors of `roles`, one after the other; *out stays NULL where the family has none. */
	fg_status add(int32_t layer, std::initializer_list<fg_role> roles, const float **out) {
		constexpr size_t FLOATS = ALIGN / sizeof(float);
		size_t begin = (host.size() + FLOATS - 1) / FLOATS * FLOATS;
		host.resize(begin);
		*out = nullptr;
		for (fg_role role : roles) {
			const Shard shard = Shard::of(c, role);
			if (shard.rows == 0) continue;
			host.resize(host.size() + (size_t)shard.rows);
			fg_status status = read(role, layer, shard, &host[host.size() - (size_t)shard.rows]);
			if (status) return status;
		}
		if (host.size() > begin) places.push_back({out, begin});
		return FG_OK;
	}

	fg_status all() {
		fg_weights &w = c->base.weights;
		fg_status status = add(0, {FG_FINAL_NORM}, &w.final_norm);
		for (int32_t i = 0; i < c->base.config->shape.n_layers && !status; i++) {
			fg_layer &l = w.layers[i];
			status = add(i, {FG_ATTN_NORM}, &l.attn_norm);
			if (!status) status = add(i, {FG_MLP_NORM}, &l.mlp_norm);
			if (!status) status = add(i, {FG_Q_BIAS, FG_K_BIAS, FG_V_BIAS}, &l.qkv_bias);
			if (!status) status = add(i, {FG_Q_NORM}, &l.q_norm);
			if (!status) status = add(i, {FG_K_NORM}, &l.k_norm);
		}
		return status ? status : copy();
	}

	fg_status copy() {
		float *to = (float *)device_alloc(c, host.size() * sizeof(float), "norms and biases");
		if (!to) return FG_OUT_OF_MEMORY;
		/* On the stream that zeroes new memory: a copy on another stream could come before the zeros. */
		cudaError_t error =
			cudaMemcpyAsync(to, host.data(), host.size() * sizeof(float), cudaMemcpyHostToDevice, c->stream);
		if (error == cudaSuccess) error = cudaStreamSynchronize(c->stream);
		if (error != cudaSuccess) return cuda_fail(error, "copying norms and biases");
		for (auto &[out, at] : places) *out = to + at;
		return FG_OK;
	}
};

/* ---- matrices from files ---- */

struct Piece {
	const fg_tensor *tensor;
	const fg_file *file; /* NULL: in memory */
	uint64_t at;         /* bytes from the beginning of the tensor */
	size_t bytes;
	bf16 *to;           /* where the piece's first element goes */
	const Shard *shard; /* of the piece's rows, only the columns of this shard are copied; NULL = all columns */
	size_t progress;    /* bytes that it counts as: on every rank, the pieces of a tensor add up to all of it */
};

/* Cuts a part into pieces. */
void cut(const Part &part, const fg_tensor *t, const fg_file *file, std::vector<Piece> *pieces) {
	const Shard &s = part.shard;
	const size_t size = (size_t)fg_dtype_bytes(t->dtype), row = (size_t)s.all_cols * size;
	const size_t begin = (size_t)s.first_row * row, bytes = (size_t)s.rows * row;
	const size_t most = s.whole_rows() ? PIECE : std::max(PIECE / row, (size_t)1) * row;
	for (size_t at = 0; at < bytes; at += most) {
		bf16 *to = part.to + (s.whole_rows() ? at / size : at / row * (size_t)s.cols);
		const size_t n = std::min(most, bytes - at);
		pieces->push_back({t, file, begin + at, n, to, s.whole_rows() ? nullptr : &s, n * (t->bytes / bytes)});
	}
}

/* The readers' common state. */
struct Reading {
	Context *c;
	const std::vector<Piece> &pieces;
	atomic_ullong *done;
	atomic_int *cancel;
	std::atomic<size_t> next{0};
	std::atomic<bool> stop{false};
	std::mutex mutex;
	fg_status status = FG_OK;
	char text[FG_ERROR_BYTES];

	Reading(Context *c, const std::vector<Piece> &pieces, atomic_ullong *done, atomic_int *cancel)
		: c(c), pieces(pieces), done(done), cancel(cancel) {
	}

	void fail(fg_status s) {
		std::lock_guard<std::mutex> lock(mutex);
		if (status == FG_OK) status = s, snprintf(text, sizeof text, "%s", fg_error());
		stop = true;
	}
};

/* Two pinned buffers, allocated as one, and the stream that copies them to the device. */
struct Stage {
	char *buffer[2] = {};
	cudaEvent_t free[2] = {};
	cudaStream_t stream = nullptr;

	cudaError_t open() {
		cudaError_t error = cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking);
		if (error == cudaSuccess) error = cudaMallocHost(&buffer[0], 2 * PIECE);
		buffer[1] = buffer[0] + PIECE;
		for (cudaEvent_t &event : free)
			if (error == cudaSuccess) error = cudaEventCreateWithFlags(&event, cudaEventDisableTiming);
		return error;
	}

	~Stage() {
		if (stream) cudaStreamSynchronize(stream);
		for (cudaEvent_t event : free)
			if (event) cudaEventDestroy(event);
		cudaFreeHost(buffer[0]);
		if (stream) cudaStreamDestroy(stream);
	}
};

fg_status read_piece(const Piece &p, OpenFile *file, char *to) {
	if (!p.file) memcpy(to, (const char *)p.tensor->data + p.at, p.bytes);
	else if (fg_status status = file->read(p.file, p.tensor->offset + p.at, to, p.bytes)) return status;
	if (p.tensor->dtype == FG_BF16) return FG_OK;
	/* Elements only shrink, so they can be converted in place. */
	size_t n = p.bytes / (size_t)fg_dtype_bytes(p.tensor->dtype);
	for (size_t i = 0; i < n; i++) fg_write(to, FG_BF16, i, fg_read(to, p.tensor->dtype, i));
	return FG_OK;
}

/* Starts copying a piece from pinned memory, where it is bf16. */
cudaError_t copy_piece(const Piece &p, const char *from, cudaStream_t stream) {
	const size_t elements = p.bytes / (size_t)fg_dtype_bytes(p.tensor->dtype);
	if (!p.shard) return cudaMemcpyAsync(p.to, from, elements * sizeof(bf16), cudaMemcpyHostToDevice, stream);
	const size_t all = (size_t)p.shard->all_cols, width = (size_t)p.shard->cols * sizeof(bf16);
	return cudaMemcpy2DAsync(p.to, width, from + (size_t)p.shard->first_col * sizeof(bf16), all * sizeof(bf16), width,
	                         elements / all, cudaMemcpyHostToDevice, stream);
}

void read_pieces(Reading *r) {
	Stage stage;
	cudaError_t error = cudaSetDevice(r->c->device);
	if (error == cudaSuccess) error = stage.open();
	if (error != cudaSuccess) return r->fail(cuda_fail(error, "pinned memory for loading"));
	OpenFile file;
	int i = 0;
	for (size_t n; !r->stop && (n = r->next++) < r->pieces.size(); i ^= 1) {
		const Piece &p = r->pieces[n];
		if (atomic_load(r->cancel)) {
			r->fail(fg_fail(FG_INVALID, "loading was stopped because the engine is being closed"));
			break;
		}
		error = cudaEventSynchronize(stage.free[i]);
		fg_status status = error == cudaSuccess ? read_piece(p, &file, stage.buffer[i]) : cuda_fail(error, "loading");
		if (status) {
			r->fail(status);
			break;
		}
		error = copy_piece(p, stage.buffer[i], stage.stream);
		if (error == cudaSuccess) error = cudaEventRecord(stage.free[i], stage.stream);
		if (error != cudaSuccess) {
			r->fail(cuda_fail(error, "copying weights"));
			break;
		}
		atomic_fetch_add(r->done, p.progress);
	}
	error = cudaStreamSynchronize(stage.stream);
	if (error != cudaSuccess) r->fail(cuda_fail(error, "copying weights"));
}

/* Random elements [n / cols][cols], as those of a tensor of all_cols columns from its element `first` on. */
__global__ void random_kernel(bf16 *to, uint64_t n, uint64_t first, uint32_t cols, uint32_t all_cols, uint64_t stream,
                              float range) {
	for (uint64_t i = blockIdx.x * (uint64_t)blockDim.x + threadIdx.x; i < n; i += (uint64_t)gridDim.x * blockDim.x) {
		const uint64_t at = cols == all_cols ? i : i / cols * all_cols + i % cols;
		to[i] = __float2bfloat16(fg_random_uniform(stream, first + at) * range);
	}
}

cudaError_t fill_part(const Part &p, uint64_t random_stream, cudaStream_t stream) {
	const Shard &s = p.shard;
	random_kernel<<<1024, 256, 0, stream>>>(p.to, s.elements(), s.first(), (uint32_t)s.cols, (uint32_t)s.all_cols,
	                                        random_stream, fg_random_range(s.all_cols));
	return cudaGetLastError();
}

} // namespace

fg_status load(fg_ctx *ctx, const fg_tensor_table *table, atomic_ullong *done, atomic_int *cancel) {
	Context *c = context(ctx);
	std::vector<Part> parts;
	fg_status status = place(c, &parts);
	/* This also waits for the stream that zeroes the weights; the readers' streams do not. */
	if (!status) status = Vectors{c, table, 0, done}.all();
	if (status) return status;
	std::vector<Piece> pieces;
	for (const Part &part : parts) {
		const fg_file *file;
		const fg_tensor *t = fg_table_find(table, part.layer, part.role, &file);
		if (t->dtype == FG_FP8_E4M3)
			return fg_fail(FG_UNSUPPORTED, "FP8 weights are not supported on CUDA yet; run the model on the CPU");
		cut(part, t, file, &pieces);
	}
	/* In file order, so that a disk reads ahead. */
	std::sort(pieces.begin(), pieces.end(), [](const Piece &a, const Piece &b) {
		return a.file != b.file ? a.file < b.file : a.tensor->offset + a.at < b.tensor->offset + b.at;
	});
	Reading reading(c, pieces, done, cancel);
	const size_t wanted =
		std::min<size_t>(std::clamp(std::thread::hardware_concurrency(), 2u, MAX_READERS), pieces.size());
	std::thread others[MAX_READERS];
	try {
		for (size_t i = 1; i < wanted; i++) others[i] = std::thread(read_pieces, &reading);
	} catch (const std::exception &) {
		/* As many as can be had. */
	}
	read_pieces(&reading);
	for (std::thread &t : others)
		if (t.joinable()) t.join();
	return reading.status ? fg_fail(reading.status, "%s", reading.text) : FG_OK;
}

cudaError_t fill_random(bf16 *to, uint64_t n, uint64_t random_stream, float range, cudaStream_t stream) {
	random_kernel<<<1024, 256, 0, stream>>>(to, n, 0, 1, 1, random_stream, range);
	return cudaGetLastError();
}

fg_status load_random(fg_ctx *ctx, uint64_t seed, atomic_ullong *done, atomic_int *cancel) {
	Context *c = context(ctx);
	std::vector<Part> parts;
	fg_status status = place(c, &parts);
	if (!status) status = Vectors{c, nullptr, seed, done}.all();
	if (status) return status;
	for (const Part &p : parts) {
		if (atomic_load(cancel)) return fg_fail(FG_INVALID, "loading was stopped because the engine is being closed");
		cudaError_t error = fill_part(p, fg_random_stream(seed, p.role, p.layer), c->stream);
		if (error != cudaSuccess) return cuda_fail(error, "making random weights");
		atomic_fetch_add(done, p.shard.elements() * (size_t)p.shard.ranks * sizeof(bf16));
	}
	cudaError_t error = cudaStreamSynchronize(c->stream);
	return error == cudaSuccess ? FG_OK : cuda_fail(error, "making random weights");
}

} // namespace fg
