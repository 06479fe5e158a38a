/*
 * fp8_test.cu - FP8 weights and activations in the CUDA library: what is loaded, what ops that make linear inputs
 * leave, and every product, beside sums in double precision over what was read back from the device. gemm_test.cu tests
 * the kernels alone.
 *
 *   fp8_test            as this device multiplies FP8
 *   fp8_test unscaled   as one does whose cuBLASLt takes FP8 without such scales (8.9, 10.0)
 *   fp8_test widened    as one does that multiplies no FP8 (8.0)
 *   fp8_test own        without cuBLASLt, whose FP8 products end with an illegal address under racecheck
 *   fp8_test quick      a scheme of each kind with few lengths, for racecheck, which is slow
 *
 * "own" and "quick" go with other words. Without a device it says so and passes.
 */
#include "../cuda/context.cuh"
#include "../cuda/products/tune.cuh"
#include "compare.cuh"

extern "C" {
#include "../engine.h"
}

#include <cstring>
#include <memory>

/* 5 blocks of columns in down, of which cuBLASLt wants the scales padded. */
constexpr int32_t LAYERS = 2, HIDDEN = 384, HEADS = 6, KV_HEADS = 2, HEAD_DIM = 64, INTERMEDIATE = 640, VOCAB = 512;
constexpr int32_t TOKENS = 512;

enum Source { ONLINE, BY_ROW, STATIC, BOUNDED, BY_BLOCK, MIXED };
static const char *const SOURCE_NAMES[] = {"quantised online", "by row",   "static inputs",
                                           "bounded inputs",   "by block", "FP8 and bf16 in one matrix"};

static std::vector<char> download(const void *from, size_t bytes) {
	std::vector<char> to(bytes);
	CUDA(cudaMemcpy(to.data(), from, bytes, cudaMemcpyDeviceToHost));
	return to;
}

static Values download_values(const void *from, int32_t dtype, size_t n) {
	const std::vector<char> raw = download(from, n * fg_dtype_bytes(dtype));
	Values v(n);
	for (size_t i = 0; i < n; i++) v[i] = fg_read(raw.data(), dtype, i);
	return v;
}

static void upload_bf16(void *to, const Values &v) {
	std::vector<uint16_t> narrow(v.size());
	for (size_t i = 0; i < v.size(); i++) narrow[i] = fg_to_bf16(v[i]);
	CUDA(cudaMemcpy(to, narrow.data(), narrow.size() * sizeof narrow[0], cudaMemcpyHostToDevice));
	CUDA(cudaDeviceSynchronize()); /* the context's stream does not wait for the default one */
}

/* The tensors of a checkpoint, in memory. */
struct Checkpoint {
	std::vector<std::unique_ptr<char[]>> data;
	std::vector<std::unique_ptr<float[]>> scales;
	std::unique_ptr<fg_tensor[]> tensors{new fg_tensor[LAYERS * FG_ROLES]};
	int32_t n = 0;

	Checkpoint(const fg_shape &shape, Source source) {
		for (int32_t layer = 0; layer < LAYERS; layer++)
			for (int32_t role = layer ? FG_ATTN_NORM : 0; role < FG_ROLES; role++) add(shape, source, layer, role);
	}

	const fg_tensor &find(int32_t layer, int32_t role) const {
		int32_t i = 0;
		while (tensors[i].layer != layer || tensors[i].role != role) i++;
		return tensors[i];
	}

  private:
	void add(const fg_shape &shape, Source source, int32_t layer, int32_t role) {
		fg_tensor t = {};
		fg_role_dims(&shape, (fg_role)role, &t.rows, &t.cols);
		if (t.rows == 0) return;
		const bool linear = t.cols > 1 && role > FG_ATTN_NORM;
		const bool fp8 = linear && source != ONLINE && !(source == MIXED && (role == FG_K || role == FG_UP));
		t.role = role, t.layer = layer, t.dtype = fp8 ? (int32_t)FG_FP8_E4M3 : FG_BF16;
		const size_t elements = (size_t)t.rows * t.cols;
		t.bytes = elements * (uint64_t)fg_dtype_bytes(t.dtype);
		data.emplace_back(new char[t.bytes]);
		t.data = data.back().get();
		for (size_t i = 0; i < elements; i++)
			fg_write(data.back().get(), t.dtype, i, t.cols == 1 ? uniform(0.5f, 1.5f) : normal() * (fp8 ? 100 : 0.05f));
		if (fp8) add_scales(&t, source);
		tensors[n++] = t;
	}

	void add_scales(fg_tensor *t, Source source) {
		auto blocks = [](int32_t x) { return (x + FG_SCALE_BLOCK - 1) / FG_SCALE_BLOCK; };
		const bool by_block = source == BY_BLOCK, by_tensor = source == STATIC || t->role == FG_GATE;
		t->scale_rows = by_block ? blocks(t->rows) : by_tensor ? 1 : t->rows;
		t->scale_cols = by_block ? blocks(t->cols) : 1;
		scales.emplace_back(new float[(size_t)t->scale_rows * t->scale_cols]);
		t->scale = scales.back().get();
		for (int32_t i = 0; i < t->scale_rows * t->scale_cols; i++) scales.back()[i] = 5e-4f * uniform(0.5f, 2);
		if (source == STATIC) t->input_scale = t->role == FG_K ? 0.02f : 0.01f;
		if (source == BOUNDED) t->input_bound = 2;
	}
};

struct Model {
	fg_config config = {};
	fg_ctx *ctx = nullptr;
	fg::Context *c = nullptr;
	const fg_ops &ops = fg_device_ops;

	Model(const fg_shape &shape, Source source, const Checkpoint *checkpoint) {
		static const int32_t device = 0;
		fg_options o = {};
		o.devices = &device, o.n_devices = 1, o.max_seqs = 64, o.max_step_tokens = TOKENS, o.max_context = 1024;
		o.compute_dtype = o.kv_dtype = FG_BF16, o.memory_utilization = 0.9, o.kv_bytes = 64 << 20;
		o.quantization = source == ONLINE ? FG_QUANTIZE_FP8 : FG_QUANTIZE_NONE;
		MUST(fg_config_init(&config, &shape, &o));
		atomic_ullong done{0};
		atomic_int cancel{0};
		fg_capacity capacity;
		MUST(ops.open(&config, 0, &ctx));
		fg_tensor_table table;
		MUST(fg_table_init(&table, &config, checkpoint->tensors.get(), checkpoint->n));
		MUST(ops.load(ctx, &table, &done, &cancel));
		expect(done == table.bytes, "progress counts every byte");
		fg_table_free(&table);
		MUST(ops.ready(ctx, &capacity));
		c = fg::context(ctx);
	}
	~Model() {
		ops.close(ctx);
		fg_config_free(&config);
	}
	Model(const Model &) = delete;

	void wait() const {
		CUDA(cudaDeviceSynchronize());
		expect(!c->failure, c->failure ? c->failure_text : "an op");
	}
};

/* What a matrix [rows][cols] on the device stands for. */
static Values weights_of(const fg_matrix &m) {
	const size_t rows = (size_t)m.rows, cols = (size_t)m.cols;
	Values w = download_values(m.part[0].data, m.part[0].dtype, rows * cols);
	const fg::Scaling scaling = fg::scaling_of_w((fg::Scaling)m.scheme.scaling);
	if (scaling == fg::Scaling::PLAIN) return w;
	const bool by_row = scaling == fg::Scaling::ROWS;
	const size_t stride = by_row ? 1 : (size_t)fg::block_scale_stride(m.cols);
	const size_t n_scales = by_row ? rows : (rows + FG_SCALE_BLOCK - 1) / FG_SCALE_BLOCK * stride;
	const Values scale = download_values(m.part[0].scale, FG_F32, n_scales);
	for (size_t i = 0; i < w.size(); i++)
		w[i] *= by_row ? scale[i / cols] : scale[i / cols / FG_SCALE_BLOCK * stride + i % cols / FG_SCALE_BLOCK];
	return w;
}

/* A linear input as the device holds it: values, and the scale of each. */
struct Input {
	Values x, scale;

	Input(const Model &m, const void *buffer, const fg_matrix &next, size_t n) {
		const fg::LinearInput in = fg::linear_input(m.c, (void *)buffer, next, (int32_t)n);
		const size_t cols = (size_t)next.cols, blocks = (cols + FG_SCALE_BLOCK - 1) / FG_SCALE_BLOCK;
		const bool plain = in.scaling == fg::Scaling::PLAIN, by_row = in.scaling == fg::Scaling::ROWS;
		x = download_values(buffer, plain ? (int32_t)FG_BF16 : FG_FP8_E4M3, n * cols), scale.resize(x.size(), 1);
		if (plain) return;
		const Values scales = download_values(in.scale, FG_F32, by_row ? n : blocks * (size_t)in.stride);
		for (size_t i = 0; i < x.size(); i++) {
			scale[i] = scales[by_row ? i / cols : i % cols / FG_SCALE_BLOCK * (size_t)in.stride + i / cols];
			x[i] *= scale[i];
		}
	}
};

/* Compares an input that an op has made with what it should be before it is quantised, [n][cols], known to within
 * `slack` of itself, or of 2^-5 of the greatest: the scales, and values to the next FP8 value, or bf16's if plain. */
static void check_input(const char *what, const Input &got, const Values &want, const fg_matrix &next, double slack) {
	const size_t cols = (size_t)next.cols, n = want.size() / cols;
	const fg_scheme &s = next.scheme;
	const bool plain = fg::scaling_of_x((fg::Scaling)s.scaling) == fg::Scaling::PLAIN;
	const size_t group = s.scaling == FG_BLOCKS ? (size_t)FG_SCALE_BLOCK : cols;
	size_t wrong_scales = 0, wrong = 0;
	for (size_t r = 0; r < n; r++)
		for (size_t from = 0; from < cols; from += group) {
			const size_t at = r * cols + from, width = std::min(group, cols - from);
			const float most = (float)largest(&want[at], width);
			const float scale = s.input_scale > 0
			                        ? s.input_scale
			                        : fg_fp8_scale(s.input_bound > 0 ? std::min(most, s.input_bound) : most);
			wrong_scales += !plain && !(std::fabs(got.scale[at] / scale - 1) <= slack);
			for (size_t i = at; i < at + width; i++) {
				const double limit = plain ? INFINITY : 448.0 * got.scale[i],
							 value = std::clamp((double)want[i], -limit, limit);
				/* Half a unit in the last place of FP8: of a normal number, or the smallest. */
				const double step = plain ? ulp(value) : std::max(std::fabs(value) * 0x1p-4, 0x1p-10 * got.scale[i]);
				wrong +=
					!(std::fabs(got.x[i] - value) <= step * (1 + 0x1p-6) + slack * (std::fabs(value) + 0x1p-5 * most));
			}
		}
	expect(wrong_scales == 0, (std::string(what) + ": scales").c_str());
	expect(wrong == 0, (std::string(what) + ": values").c_str());
}

/* x [n][w.cols] * w^T, and what the product may lose. Weights that are widened are rounded to bf16 if they are scaled
 * by block; if by row, some kernels do so, which changes them by at most 2^-8 of themselves. */
struct Product {
	Values y;
	Tolerance tolerance;

	Product(const Values &x, const fg_matrix &m, size_t n) : y(n * (size_t)m.rows), tolerance(n, (size_t)m.rows) {
		const size_t cols = (size_t)m.cols, rows = (size_t)m.rows;
		const bool fp8 = fg::scaling_of_x((fg::Scaling)m.scheme.scaling) != fg::Scaling::PLAIN;
		Values w = weights_of(m);
		if (m.scheme.scaling == FG_WIDE_BLOCKS)
			for (float &v : w) v = fg_round(v, FG_BF16);
		double longest = 0;
		for (size_t r = 0; r < rows; r++) longest = std::max(longest, norm(&w[r * cols], cols));
		for (size_t t = 0; t < n; t++) {
			double squares = 0;
			for (size_t r = 0; r < rows; r++) {
				double sum = 0, all = 0;
				for (size_t k = 0; k < cols; k++) {
					const double product = (double)x[t * cols + k] * w[r * cols + k];
					sum += product, all += product * product;
				}
				y[t * rows + r] = (float)sum;
				if (!fp8) {
					const double usual = 0x1p-8 * std::sqrt(all);
					tolerance.element[t * rows + r] = 6 * usual, squares += usual * usual;
					continue;
				}
				const Fp8Loss loss(&x[t * cols], &w[r * cols], cols);
				tolerance.element[t * rows + r] = loss.most, squares += loss.usual * loss.usual;
			}
			tolerance.row[t] = 2 * std::sqrt(squares);
			if (!fp8) tolerance.slack(t, summation_loss(&x[t * cols], cols, longest));
		}
	}
};

/* The weights on the device are the checkpoint's. */
static void test_weights(const Model &m, const Checkpoint &checkpoint) {
	for (int32_t layer = 0; layer < LAYERS; layer++) {
		const fg_layer &l = m.ctx->weights.layers[layer];
		const struct {
			const fg_matrix &matrix;
			std::vector<int32_t> roles;
		} all[] = {{l.qkv, {FG_Q, FG_K, FG_V}}, {l.o, {FG_O}}, {l.gate_up, {FG_GATE, FG_UP}}, {l.down, {FG_DOWN}}};
		for (const auto &[matrix, roles] : all) {
			const Values got = weights_of(matrix);
			size_t at = 0, wrong = 0;
			for (int32_t role : roles) {
				const fg_tensor &t = checkpoint.find(layer, role);
				for (int32_t r = 0; r < t.rows; r++) {
					float most = 0;
					for (int32_t k = 0; k < t.cols; k++)
						most = std::max(most, std::fabs(fg_read(t.data, t.dtype, (size_t)r * t.cols + k)));
					for (int32_t k = 0; k < t.cols; k++, at++) {
						float want = fg_read(t.data, t.dtype, (size_t)r * t.cols + k);
						const int32_t row = t.scale_rows == t.rows ? r : t.scale_rows == 1 ? 0 : r / FG_SCALE_BLOCK;
						if (t.scale) want *= t.scale[row * t.scale_cols + (t.scale_cols == 1 ? 0 : k / FG_SCALE_BLOCK)];
						else if (matrix.part[0].dtype == FG_FP8_E4M3)
							want = fg_from_e4m3(fg_to_e4m3(want * (1 / fg_fp8_scale(most)))) * fg_fp8_scale(most);
						if (matrix.scheme.scaling == FG_PLAIN) want = fg_round(want, FG_BF16);
						wrong += got[at] != want;
					}
				}
			}
			expect(wrong == 0, "weights");
		}
	}
}

static void test_products(const Model &m, int32_t layer, int32_t n) {
	const fg_buffers &b = m.ctx->buf;
	const fg_layer &l = m.ctx->weights.layers[layer];
	const size_t N = (size_t)n, H = HIDDEN, I = INTERMEDIATE;
	/* A norm makes the input of qkv. */
	const Values stream = random_values(N * H, FG_BF16, 3), norm_weight = download_values(l.attn_norm, FG_F32, H);
	upload_bf16(b.residual, stream);
	m.ops.add_norm(m.ctx, b.residual, {}, l.attn_norm, n, &l.qkv, b.x);
	m.ops.linear(m.ctx, b.x, &l.qkv, n, b.qkv);
	m.wait();
	Values normed(N * H);
	for (size_t r = 0; r < N; r++) {
		const double squares = std::pow(norm(&stream[r * H], H), 2), scale = 1 / std::sqrt(squares / H + 1e-5f);
		for (size_t i = 0; i < H; i++) normed[r * H + i] = (float)(stream[r * H + i] * scale * norm_weight[i]);
	}
	const Input x(m, b.x, l.qkv, N);
	check_input("add_norm", x, normed, l.qkv, 0x1p-18);
	Product qkv(x.x, l.qkv, N);
	qkv.tolerance += Tolerance(qkv.y, N, (size_t)l.qkv.rows);
	compare("linear", download_values(b.qkv, FG_BF16, qkv.y.size()), qkv.y, qkv.tolerance);

	/* gate_up makes the input of down; what linear_add leaves is added by the next norm. */
	m.ops.add_norm(m.ctx, b.residual, {}, l.mlp_norm, n, &l.gate_up, b.x);
	m.ops.gate_up(m.ctx, b.x, &l.gate_up, n, &l.down, b.gate_up, b.act);
	fg_pending pending = {};
	m.ops.linear_add(m.ctx, b.act, &l.down, n, b.residual, &pending);
	m.wait();
	const Product both(Input(m, b.x, l.gate_up, N).x, l.gate_up, N);
	Values act(N * I);
	for (size_t i = 0; i < act.size(); i++) {
		const double gate = both.y[i / I * 2 * I + i % I], up = both.y[i / I * 2 * I + I + i % I];
		act[i] = (float)(gate / (1 + std::exp(-gate)) * up);
	}
	const Input down_input(m, b.act, l.down, N);
	/* Gate, up and their product may each have been rounded to bf16, and summed in the tensor cores. */
	check_input("gate_up", down_input, act, l.down, 0x1p-5);
	const Product down(down_input.x, l.down, N);
	m.ops.add_norm(m.ctx, b.residual, pending, l.mlp_norm, n, &l.gate_up, b.x);
	m.wait();
	Values sum(stream);
	for (size_t i = 0; i < sum.size(); i++) sum[i] += down.y[i];
	Tolerance tolerance(sum, N, H);
	tolerance += down.tolerance;
	for (int32_t i = 0; i < std::max(pending.count, 1); i++) tolerance += Tolerance(down.y, N, H); /* rounded each */
	compare("linear_add", download_values(b.residual, FG_BF16, sum.size()), sum, tolerance);
}

/* Attention's output is quantised as o wants it; rows of it, gathered, keep their values and scales. */
static void test_attention(const Model &m) {
	constexpr int32_t N = 40;
	const fg_buffers &b = m.ctx->buf;
	const fg_layer &l = m.ctx->weights.layers[0];
	std::vector<int32_t> zeros(N), positions(N), first(1);
	for (int32_t i = 0; i < N; i++) positions[i] = i;
	const fg_step_seq seq = {0, N, N, 0, 0, -1, -1};
	const fg_page_update update = {0, 0, 0};
	fg_batch batch = {};
	batch.n_seqs = 1, batch.n_tokens = N, batch.n_page_updates = 1, batch.seqs = &seq, batch.page_updates = &update;
	batch.first_token = first.data(), batch.tokens = zeros.data(), batch.seq_of = zeros.data();
	batch.positions = positions.data();
	const fg_row rows[] = {{0, 0, 1, -1, -1, -1, -1}, {17, 0, 18, -1, -1, -1, -1}, {N - 1, 0, N, -1, -1, -1, -1}};
	batch.rows = rows, batch.n_rows = 3;
	m.ops.step_begin(m.ctx, &batch);
	upload_bf16(b.qkv, random_values((size_t)N * (HEADS + 2 * KV_HEADS) * HEAD_DIM, FG_BF16, 1));
	m.ops.qkv_rope(m.ctx, &batch, 0, b.qkv);
	m.ops.attention(m.ctx, &batch, 0, b.qkv, &m.ctx->weights.lm_head, b.act);
	m.ops.attention(m.ctx, &batch, 0, b.qkv, &l.o, b.attn);
	m.wait();
	const Values plain = download_values(b.act, FG_BF16, (size_t)N * HEADS * HEAD_DIM);
	const Input all(m, b.attn, l.o, N);
	check_input("attention", all, plain, l.o, 0x1p-22);
	m.ops.gather_input(m.ctx, &batch, 1, 2, &l.o, b.attn, b.qkv);
	m.wait();
	const Input gathered(m, b.qkv, l.o, 2);
	const size_t width = (size_t)l.o.cols;
	bool same = true;
	for (size_t i = 0; i < 2 * width; i++) {
		const size_t at = (size_t)rows[1 + i / width].token * width + i % width;
		same = same && gathered.x[i] == all.x[at] && gathered.scale[i] == all.scale[at];
	}
	expect(same, "gather_input");
}

/* How the matrices of a source should be multiplied, on a device that does it in this way. */
static int32_t scheme_of(Source source, fg::Fp8Way way) {
	if (source == MIXED) return FG_PLAIN;
	const bool widened = way == fg::Fp8Way::WIDENED;
	return source == BY_BLOCK ? (widened ? FG_WIDE_BLOCKS : FG_BLOCKS) : widened ? FG_WIDE_ROWS : FG_ROWS;
}

int main(int argc, char **argv) {
	if (no_device("fp8")) return 0;
	std::vector<int32_t> sources = {ONLINE, BY_ROW, STATIC, BOUNDED, BY_BLOCK, MIXED};
	std::vector<int32_t> lengths = {1, 3, 8, 16, 64, 100, 256, TOKENS};
	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "own")) fg::try_cublaslt = false;
		else if (!strcmp(argv[i], "unscaled")) fg::best_fp8_way = fg::Fp8Way::UNSCALED;
		else if (!strcmp(argv[i], "widened")) fg::best_fp8_way = fg::Fp8Way::WIDENED;
		else if (!strcmp(argv[i], "quick")) sources = {BY_ROW, BY_BLOCK, MIXED}, lengths = {3, 100, TOKENS};
		else return printf("fp8_test [unscaled | widened] [own] [quick]\n"), 2;
	}
	cudaDeviceProp device;
	CUDA(cudaGetDeviceProperties(&device, 0));
	/* What the device can do, as NVIDIA's documentation has it. */
	const int arch = device.major * 10 + device.minor;
	const fg::Fp8Way by_row = arch == 90   ? fg::Fp8Way::SCALED
	                          : arch >= 89 ? fg::Fp8Way::UNSCALED
	                                       : fg::Fp8Way::WIDENED,
					 by_block = arch == 90 ? fg::Fp8Way::SCALED : fg::Fp8Way::WIDENED;
	const bool less = fg::best_fp8_way != fg::Fp8Way::SCALED;
	float inv_freq[HEAD_DIM / 2];
	for (int i = 0; i < HEAD_DIM / 2; i++) inv_freq[i] = std::pow(10000.0f, -2.0f * i / HEAD_DIM);
	const int32_t windows[LAYERS] = {};
	fg_shape shape = {};
	shape.n_layers = LAYERS, shape.hidden_size = HIDDEN, shape.n_heads = HEADS, shape.n_kv_heads = KV_HEADS;
	shape.head_dim = HEAD_DIM, shape.intermediate_size = INTERMEDIATE, shape.vocab_size = VOCAB;
	shape.rms_norm_eps = 1e-5f, shape.rope_scale = 1, shape.rope_inv_freq = inv_freq, shape.layer_window = windows;
	for (const int32_t source : sources) {
		const fg::Fp8Way way = source != BY_BLOCK ? std::max(by_row, fg::best_fp8_way)
		                       : less             ? fg::Fp8Way::WIDENED
		                                          : by_block;
		/* Only cuBLASLt makes all of these products. */
		if (!fg::try_cublaslt && (way == fg::Fp8Way::UNSCALED || (source == BY_BLOCK && !less))) continue;
		shape_text = SOURCE_NAMES[source];
		const Checkpoint checkpoint(shape, (Source)source);
		const Model m(shape, (Source)source, &checkpoint);
		const int32_t scaling = m.ctx->weights.layers[0].qkv.scheme.scaling;
		expect(scaling == scheme_of((Source)source, way), "the scheme");
		test_weights(m, checkpoint);
		test_attention(m);
		for (const int32_t n : lengths) {
			shape_text = std::string(SOURCE_NAMES[source]) + ", " + std::to_string(n) + " tokens";
			test_products(m, 1, n);
		}
	}
	printf("fp8: %d passed, %d failed\n", passed, failed);
	return failed > 0;
}
