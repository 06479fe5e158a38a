/*
 * weights.cu - loads checkpoints to the device, in bf16 or FP8: q|k|v and gate|up become one matrix each. Each of
 * several ranks loads its shard: some of the heads and of the intermediate features.
 *
 * Reader threads take pieces of the files in turn, read each into pinned memory and start its copy. A thread has two
 * buffers, so that it reads into one while the other is being copied. Other dtypes are converted in between, and what
 * is to be quantised goes to a buffer on the device first.
 */
#include "placement.cuh"

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

/* Makes room for the weights. */
fg_status make_room(Context *c) {
	size_t free = 0, total = 0;
	cudaError_t error = cudaMemGetInfo(&free, &total);
	if (error != cudaSuccess) return cuda_fail(error, "asking for free memory");
	constexpr double GIB = 1 << 30;
	if (c->weight_bytes > free)
		return fg_fail(
			FG_OUT_OF_MEMORY,
			"the weights take %.1f GiB, and %.1f of the %.1f GiB of device %d (%s) are free. End other programs that "
			"use it, choose a smaller model, or split it over more devices (tensor_parallel_size)",
			(double)c->weight_bytes / GIB, (double)free / GIB, (double)total / GIB, c->device, c->name);
	return c->weight_memory.open(c->weight_bytes, c->device, "the weights", c->stream);
}

/* Places the weights: the first time in new memory, then where they were, because their schemes are the same. */
fg_status place(Placer *placer) {
	Context *c = placer->c;
	fg_layer *&layers = c->base.weights.layers;
	if (!layers) layers = (fg_layer *)calloc((size_t)c->base.config->shape.n_layers, sizeof(fg_layer));
	if (!layers) return fg_fail(FG_OUT_OF_MEMORY, "no memory for the list of layers");
	placer->all();
	c->weight_bytes = placer->bytes();
	fg_status status = c->weight_memory.begin() ? FG_OK : make_room(c);
	if (status) return status;
	placer->base = c->weight_memory.begin();
	placer->all();
	return FG_OK;
}

/* ---- scales ---- */

/* Writes the scales of a rank's shard of an FP8 tensor, as products read them. */
void shard_scales(const Part &p, const fg_tensor *t, float *to) {
	const Shard &s = p.shard;
	if (p.scaling == Scaling::ROWS) {
		for (int32_t r = 0; r < s.rows; r++) to[r] = t->scale[t->scale_rows == 1 ? 0 : s.first_row + r];
		return;
	}
	const int32_t stride = block_scale_stride(s.cols), first = s.first_row / SCALE_BLOCK;
	for (int32_t r = 0; r < scale_rows(s.rows); r++)
		for (int32_t k = 0; k * SCALE_BLOCK < s.cols; k++)
			to[r * stride + k] = t->scale[(first + r) * t->scale_cols + s.first_col / SCALE_BLOCK + k];
}

/* Copies the scales of all FP8 tensors to their place; those of what is quantised as it loads come later. */
fg_status copy_scales(const Placer &placer) {
	std::vector<float> host(placer.scales);
	for (const Part &p : placer.parts) {
		const fg_file *file;
		const fg_tensor *t = fg_table_find(placer.table, p.layer, p.role, &file);
		if (p.scaling != Scaling::PLAIN && t->dtype == FG_FP8_E4M3) shard_scales(p, t, &host[p.scale]);
	}
	/* On the stream that zeroes new memory: a copy on another stream could come before the zeros. */
	const cudaStream_t stream = placer.c->stream;
	cudaError_t error =
		cudaMemcpyAsync(placer.of_base(0), host.data(), host.size() * sizeof(float), cudaMemcpyHostToDevice, stream);
	if (error == cudaSuccess) error = cudaStreamSynchronize(stream);
	return error == cudaSuccess ? FG_OK : cuda_fail(error, "copying the weights' scales");
}

/* Scales and quantises rows of a part [n][cols], which are bf16 on the device, from its row `first` on. */
cudaError_t quantise_rows(const Part &p, float *scale, const bf16 *from, int32_t first, int32_t n,
                          cudaStream_t stream) {
	const size_t cols = (size_t)p.shard.cols;
	return quantise(from, {p.to + (size_t)first * cols, scale + first, Scaling::ROWS}, n, p.shard.cols, stream);
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
		if (const char *imported = c->imports.find(t, from)) {
			bytes.resize(t->bytes);
			cudaError_t error = cudaMemcpy(bytes.data(), imported, bytes.size(), cudaMemcpyDeviceToHost);
			if (error != cudaSuccess) return cuda_fail(error, "copying norms and biases");
			data = bytes.data();
		} else if (from) {
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
		if (!c->vectors) c->vectors = (float *)device_alloc(c, host.size() * sizeof(float), "norms and biases");
		float *to = c->vectors;
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
	const fg_file *file;  /* NULL: in memory */
	const char *imported; /* the tensor on the device, in memory of another process; or NULL */
	const Part *part;
	float *scale; /* the part's */
	uint64_t at;  /* bytes from the beginning of the tensor */
	size_t bytes;
	size_t first;    /* element of the part that the piece begins with */
	size_t progress; /* bytes that it counts as: on every rank, the pieces of a tensor add up to all of it */

	size_t elements() const {
		return bytes / (size_t)fg_dtype_bytes(tensor->dtype);
	}
	/* Whether it is read as FP8 and becomes bf16, or the other way round. */
	bool is_widened() const {
		return tensor->dtype == FG_FP8_E4M3 && part->scaling == Scaling::PLAIN;
	}
	bool is_quantised() const {
		return tensor->dtype != FG_FP8_E4M3 && part->scaling != Scaling::PLAIN;
	}
	/* Whether it is copied as it is, from where it lies on the device. */
	bool stays_on_device() const {
		return imported && !is_widened() && (tensor->dtype == FG_BF16 || tensor->dtype == FG_FP8_E4M3);
	}
	/* Bytes of an element as it is copied to the device. */
	size_t element() const {
		return is_quantised() ? sizeof(bf16) : part->element();
	}
};

/* Cuts a part into pieces: of whole rows, if only some columns of them are copied, or a row is quantised. */
void cut(const Part &part, const fg_tensor *t, const fg_file *file, const char *imported, float *scale,
         std::vector<Piece> *pieces) {
	const Shard &s = part.shard;
	const size_t size = (size_t)fg_dtype_bytes(t->dtype), row = (size_t)s.all_cols * size;
	const size_t begin = (size_t)s.first_row * row, bytes = (size_t)s.rows * row;
	Piece piece = {t, file, imported, &part, scale, 0, 0, 0, 0};
	const bool by_row = !s.whole_rows() || piece.is_quantised();
	const size_t room = piece.is_widened() ? PIECE / 2 : PIECE; /* for twice the bytes */
	const size_t most = by_row ? std::max(room / row, (size_t)1) * row : room;
	for (size_t at = 0; at < bytes; at += most) {
		piece.at = begin + at, piece.bytes = std::min(most, bytes - at);
		piece.first = by_row ? at / row * (size_t)s.cols : at / size;
		piece.progress = piece.bytes * (t->bytes / bytes);
		pieces->push_back(piece);
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
	bf16 *rows = nullptr; /* on the device: [PIECE], to be quantised; made when first needed */
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
		cudaFree(rows);
		if (stream) cudaStreamDestroy(stream);
	}
};

/* Widens n elements of an FP8 tensor, from its element `first` on. */
void widen(const fg_tensor &t, size_t first, size_t n, const uint8_t *from, uint16_t *to) {
	const size_t cols = (size_t)t.cols, scale_cols = (size_t)t.scale_cols;
	const bool by_tensor = t.scale_rows == 1 && t.scale_cols == 1, by_row = t.scale_rows == t.rows;
	for (size_t i = 0; i < n; i++) {
		const size_t row = (first + i) / cols, col = (first + i) % cols;
		const size_t scale = by_tensor ? 0 : by_row ? row : row / SCALE_BLOCK * scale_cols + col / SCALE_BLOCK;
		to[i] = fg_to_bf16(fg_from_e4m3(from[i]) * t.scale[scale]);
	}
}

fg_status read_piece(const Piece &p, OpenFile *file, char *buffer) {
	const fg_tensor &t = *p.tensor;
	/* Where what is read first may be overwritten as it is widened. */
	char *to = p.is_widened() ? buffer + p.bytes : buffer;
	if (p.imported) {
		cudaError_t error = cudaMemcpy(to, p.imported + p.at, p.bytes, cudaMemcpyDeviceToHost);
		if (error != cudaSuccess) return cuda_fail(error, "copying weights");
	} else if (!p.file) memcpy(to, (const char *)t.data + p.at, p.bytes);
	else if (fg_status status = file->read(p.file, t.offset + p.at, to, p.bytes)) return status;
	if (p.is_widened()) widen(t, p.at, p.bytes, (const uint8_t *)to, (uint16_t *)buffer);
	if (t.dtype == FG_BF16 || t.dtype == FG_FP8_E4M3) return FG_OK;
	/* Elements only shrink, so they can be converted in place. */
	for (size_t i = 0; i < p.elements(); i++) fg_write(to, FG_BF16, i, fg_read(to, t.dtype, i));
	return FG_OK;
}

/* Starts copying a piece from pinned memory, or from the device, where its elements are what is wanted. */
cudaError_t copy_piece(const Piece &p, const char *from, Stage *stage) {
	const Shard &s = p.part->shard;
	const size_t size = p.element(), all = (size_t)s.all_cols, width = (size_t)s.cols * size;
	cudaError_t error = cudaSuccess;
	if (p.is_quantised() && !stage->rows) error = cudaMalloc(&stage->rows, PIECE);
	if (error != cudaSuccess) return error;
	char *to = p.is_quantised() ? (char *)stage->rows : p.part->to + p.first * size;
	if (s.whole_rows()) error = cudaMemcpyAsync(to, from, p.elements() * size, cudaMemcpyDefault, stage->stream);
	else
		error = cudaMemcpy2DAsync(to, width, from + (size_t)s.first_col * size, all * size, width, p.elements() / all,
		                          cudaMemcpyDefault, stage->stream);
	if (error != cudaSuccess || !p.is_quantised()) return error;
	return quantise_rows(*p.part, p.scale, stage->rows, (int32_t)(p.first / (size_t)s.cols),
	                     (int32_t)(p.elements() / all), stage->stream);
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
		fg_status status = error == cudaSuccess ? FG_OK : cuda_fail(error, "loading");
		if (!status && !p.stays_on_device()) status = read_piece(p, &file, stage.buffer[i]);
		if (status) {
			r->fail(status);
			break;
		}
		error = copy_piece(p, p.stays_on_device() ? p.imported + p.at : stage.buffer[i], &stage);
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

/* ---- random matrices ---- */

__device__ __forceinline__ void store(bf16 *to, float x) {
	*to = __float2bfloat16(x);
}

__device__ __forceinline__ void store(fp8 *to, float x) {
	to->__x = __nv_cvt_float_to_fp8(x, __NV_SATFINITE, __NV_E4M3);
}

/* Random elements [n / cols][cols], as those of a tensor of all_cols columns from its element `first` on. */
template <class Element>
__global__ void random_kernel(Element *to, uint64_t n, uint64_t first, uint32_t cols, uint32_t all_cols,
                              uint64_t stream, float range) {
	for (uint64_t i = blockIdx.x * (uint64_t)blockDim.x + threadIdx.x; i < n; i += (uint64_t)gridDim.x * blockDim.x) {
		const uint64_t at = cols == all_cols ? i : i / cols * all_cols + i % cols;
		store(to + i, fg_random_uniform(stream, first + at) * range);
	}
}

/* Makes random rows [first, first + n) of a part. */
cudaError_t random_rows(const Part &p, bf16 *to, int32_t first, int32_t n, uint64_t random_stream,
                        cudaStream_t stream) {
	const Shard &s = p.shard;
	random_kernel<<<1024, 256, 0, stream>>>(to, (uint64_t)n * s.cols, s.first() + (uint64_t)first * s.all_cols,
	                                        (uint32_t)s.cols, (uint32_t)s.all_cols, random_stream,
	                                        fg_random_range(s.all_cols));
	return cudaGetLastError();
}

/* Fills a part with random weights. `some`: device memory [PIECE], for rows that are to be quantised. */
cudaError_t fill_part(const Part &p, float *scale, bf16 *some, uint64_t random_stream, cudaStream_t stream) {
	if (p.scaling == Scaling::PLAIN) return random_rows(p, (bf16 *)p.to, 0, p.shard.rows, random_stream, stream);
	const int32_t most = (int32_t)(PIECE / sizeof(bf16)) / p.shard.cols;
	cudaError_t error = cudaSuccess;
	for (int32_t first = 0; first < p.shard.rows && error == cudaSuccess; first += most) {
		const int32_t n = std::min(most, p.shard.rows - first);
		error = random_rows(p, some, first, n, random_stream, stream);
		if (error == cudaSuccess) error = quantise_rows(p, scale, some, first, n, stream);
	}
	return error;
}

fg_status load_table(Context *c, const fg_tensor_table *table, atomic_ullong *done, atomic_int *cancel) {
	Placer placer = {c, table, nullptr};
	fg_status status = place(&placer);
	/* These also wait for the stream that zeroes the weights; the readers' streams do not. */
	if (!status) status = copy_scales(placer);
	if (!status) status = Vectors{c, table, 0, done}.all();
	if (status) return status;
	std::vector<Piece> pieces;
	for (const Part &part : placer.parts) {
		const fg_file *file;
		const fg_tensor *t = fg_table_find(table, part.layer, part.role, &file);
		cut(part, t, file, c->imports.find(t, file), placer.of_base(part.scale), &pieces);
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

} // namespace

fg_status import_memory(fg_ctx *ctx, const fg_tensor_table *table) {
	Context *c = context(ctx);
	fg_status status = c->ranks.meet(guarded([&] { return c->imports.open(table); }));
	if (status) c->imports.close();
	return status;
}

fg_status load(fg_ctx *ctx, const fg_tensor_table *table, atomic_ullong *done, atomic_int *cancel) {
	Context *c = context(ctx);
	fg_status status = guarded([&] { return load_table(c, table, done, cancel); });
	c->imports.close();
	return status;
}

cudaError_t fill_random(bf16 *to, uint64_t n, uint64_t random_stream, float range, cudaStream_t stream) {
	random_kernel<<<1024, 256, 0, stream>>>(to, n, 0, 1, 1, random_stream, range);
	return cudaGetLastError();
}

cudaError_t fill_random(fp8 *to, uint64_t n, uint64_t random_stream, float range, cudaStream_t stream) {
	random_kernel<<<1024, 256, 0, stream>>>(to, n, 0, 1, 1, random_stream, range);
	return cudaGetLastError();
}

namespace {

/* `some` as fill_part's. */
fg_status make_random(Context *c, uint64_t seed, bf16 *some, atomic_ullong *done, atomic_int *cancel) {
	Placer placer = {c, nullptr, nullptr};
	fg_status status = place(&placer);
	if (!status) status = Vectors{c, nullptr, seed, done}.all();
	if (status) return status;
	for (const Part &p : placer.parts) {
		if (atomic_load(cancel)) return fg_fail(FG_INVALID, "loading was stopped because the engine is being closed");
		cudaError_t error =
			fill_part(p, placer.of_base(p.scale), some, fg_random_stream(seed, p.role, p.layer), c->stream);
		if (error != cudaSuccess) return cuda_fail(error, "making random weights");
		atomic_fetch_add(done, p.shard.elements() * (size_t)p.shard.ranks * sizeof(bf16));
	}
	cudaError_t error = cudaStreamSynchronize(c->stream);
	return error == cudaSuccess ? FG_OK : cuda_fail(error, "making random weights");
}

} // namespace

fg_status load_random(fg_ctx *ctx, uint64_t seed, atomic_ullong *done, atomic_int *cancel) {
	Context *c = context(ctx);
	bf16 *some = nullptr;
	cudaError_t error = cudaMalloc(&some, PIECE);
	if (error != cudaSuccess) return cuda_fail(error, "random weights");
	fg_status status = guarded([&] { return make_random(c, seed, some, done, cancel); });
	cudaStreamSynchronize(c->stream);
	cudaFree(some);
	return status;
}

} // namespace fg
