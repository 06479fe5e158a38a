/*
 * gemm_test.cu - compares our own product kernels (gemv, gemv_fp8, gemm_sm90, gemm_w8a16), with every cut, output and
 * scaling, with sums in double precision on the host. It does not use cuBLASLt, so that it runs under
 * compute-sanitizer's racecheck.
 *
 *   gemm_test          everything; exit status 1 on a difference
 *   gemm_test quick    one small shape, for compute-sanitizer
 *
 * Without a device it says so and passes.
 */
#include "../cuda/products/gemm_sm90.cuh"
#include "../cuda/products/gemm_w8a16.cuh"
#include "../cuda/products/gemv.cuh"
#include "../cuda/products/gemv_fp8.cuh"
#include "compare.cuh"

using fg::Output;
using fg::Scaling;

/* A product's inputs, on the host and on the device, and what it should be. */
struct Case {
	int rows, cols, n;
	Scaling scaling;
	Values x, w;                 /* what the inputs stand for */
	Values x_scale, w_scale;     /* as fg::Operands'; empty where plain */
	std::vector<Fp8Loss> losses; /* [n][rows]; empty if x is plain */
	void *d_x, *d_w, *d_y, *d_x_scale, *d_w_scale;
	size_t y_bytes;

	/* In the dtype that products read; NULL for no values. */
	static void *upload(const Values &v, int32_t dtype) {
		std::vector<char> narrow(v.size() * fg_dtype_bytes(dtype));
		for (size_t i = 0; i < v.size(); i++) fg_write(narrow.data(), dtype, i, v[i]);
		void *p = nullptr;
		if (v.empty()) return p;
		CUDA(cudaMalloc(&p, narrow.size()));
		CUDA(cudaMemcpy(p, narrow.data(), narrow.size(), cudaMemcpyHostToDevice));
		return p;
	}

	bool wide_x() const {
		return scaling_of_x(scaling) == Scaling::PLAIN;
	}

	/* Where the scale of an element of x or w is, and how many scales there are. */
	size_t x_scale_at(size_t token, size_t k) const {
		return scaling == Scaling::ROWS ? token : k / FG_SCALE_BLOCK * n + token;
	}
	size_t w_scale_at(size_t row, size_t k) const {
		const size_t stride = (size_t)fg::block_scale_stride(cols);
		return scaling_of_w(scaling) == Scaling::ROWS ? row : row / FG_SCALE_BLOCK * stride + k / FG_SCALE_BLOCK;
	}

	Case(int rows, int cols, int n, Scaling scaling = Scaling::PLAIN)
		: rows(rows), cols(cols), n(n), scaling(scaling), x(gate_inputs(n, (size_t)cols)),
		  w(random_values((size_t)rows * cols, FG_BF16, 0.3f)),
		  y_bytes((size_t)n * rows * sizeof(float) * fg::SM90_MOST_SPLITS) {
		/* FP8 values up to 448, and a scale for each that brings them back to about the size of the above. */
		if (wide_x()) {
			d_x = upload(x, FG_BF16);
		} else {
			Values x8 = random_values(x.size(), FG_F32, 100);
			x_scale.resize(x_scale_at((size_t)n - 1, (size_t)cols - 1) + 1);
			for (size_t i = 0; i < x_scale.size(); i++)
				x_scale[i] = 0.01f * uniform(0.5f, 2) * (float)(i % 4 == 3 ? 40 : i % 4 == 2 ? 8 : 1);
			for (float &v : x8) v = fg_from_e4m3(fg_to_e4m3(v));
			d_x = upload(x8, FG_FP8_E4M3);
			for (size_t i = 0; i < x.size(); i++) x[i] = x8[i] * x_scale[x_scale_at(i / cols, i % cols)];
		}
		if (scaling == Scaling::PLAIN) {
			d_w = upload(w, FG_BF16);
		} else {
			Values w8 = random_values(w.size(), FG_F32, 100);
			w_scale.resize(w_scale_at((size_t)rows - 1, (size_t)cols - 1) + 1);
			for (float &s : w_scale) s = 0.003f * uniform(0.5f, 2);
			for (float &v : w8) v = fg_from_e4m3(fg_to_e4m3(v));
			d_w = upload(w8, FG_FP8_E4M3);
			for (size_t i = 0; i < w.size(); i++) {
				const float scale = w_scale[w_scale_at(i / cols, i % cols)];
				w[i] = w8[i] * scale;
				if (scaling == Scaling::WIDE_BLOCKS) w[i] = fg_round(w[i], FG_BF16);
			}
		}
		for (size_t t = 0; !wide_x() && t < (size_t)n; t++)
			for (size_t r = 0; r < (size_t)rows; r++)
				losses.push_back(Fp8Loss(&x[t * cols], &w[r * cols], (size_t)cols));
		d_x_scale = upload(x_scale, FG_F32), d_w_scale = upload(w_scale, FG_F32);
		CUDA(cudaMalloc(&d_y, y_bytes));
	}
	~Case() {
		for (void *p : {d_x, d_w, d_y, d_x_scale, d_w_scale}) cudaFree(p);
	}
	Case(const Case &) = delete;

	fg::Operands operands() const {
		return {d_x, d_w, (const float *)d_x_scale, (const float *)d_w_scale};
	}

	/* x * w^T, or one split of it. */
	Values product(size_t split = 0, size_t splits = 1) const {
		const auto [from, to] = SplitColumns((size_t)cols, split, splits, wide_x() ? 64 : 128);
		Values y((size_t)n * rows);
		for (size_t t = 0; t < (size_t)n; t++)
			for (size_t r = 0; r < (size_t)rows; r++) {
				double sum = 0;
				for (size_t k = from; k < to; k++) sum += (double)x[t * cols + k] * w[r * cols + k];
				y[t * rows + r] = (float)sum;
			}
		return y;
	}
	double longest_row() const {
		double most = 0;
		for (int r = 0; r < rows; r++) most = std::max(most, norm(&w[(size_t)r * cols], (size_t)cols));
		return most;
	}
	/* Adds what the sums may lose. tolerance: a row per token, or one for each half of a token's columns. */
	void slack(Tolerance &tolerance) const {
		if (!wide_x()) {
			std::vector<double> squares(tolerance.rows);
			for (size_t i = 0; i < losses.size(); i++) {
				tolerance.element[i] += losses[i].most;
				squares[i / tolerance.cols] += losses[i].usual * losses[i].usual;
			}
			for (size_t r = 0; r < tolerance.rows; r++) tolerance.row[r] += 2 * std::sqrt(squares[r]);
			return;
		}
		const double longest = longest_row();
		const size_t each = tolerance.rows / (size_t)n;
		for (size_t r = 0; r < tolerance.rows; r++)
			tolerance.slack(r, summation_loss(&x[r / each * cols], (size_t)cols, longest));
	}

	/* The y [count] that a kernel makes, bf16 or float32. Elements that it does not write are NaN. */
	template <class F> Values run(size_t count, bool f32, F kernel) const {
		CUDA(cudaMemset(d_y, 0xff, y_bytes));
		CUDA(kernel(d_y));
		CUDA(cudaDeviceSynchronize());
		Values y(count);
		std::vector<uint16_t> narrow(count);
		CUDA(cudaMemcpy(f32 ? (void *)y.data() : narrow.data(), d_y, count * (f32 ? 4 : 2), cudaMemcpyDeviceToHost));
		for (size_t i = 0; !f32 && i < count; i++) y[i] = fg_from_bf16(narrow[i]);
		return y;
	}
};

/* The expected results of a case, made once for all kernels. */
struct Expected {
	const Case &c;
	Values product, gated;
	Tolerance exact, rounded, of_gated;
	std::vector<std::vector<Values>> split; /* [splits][split] */

	explicit Expected(const Case &c)
		: c(c), product(c.product()), exact((size_t)c.n, (size_t)c.rows), rounded(product, (size_t)c.n, (size_t)c.rows),
		  of_gated(1, 1), split((size_t)fg::SM90_MOST_SPLITS + 1) {
		c.slack(exact);
		rounded += exact;
		const size_t I = (size_t)c.rows / 2;
		gated.resize((size_t)c.n * I);
		for (size_t i = 0; i < gated.size(); i++) {
			const double gate = product[i / I * 2 * I + i % I], up = product[i / I * 2 * I + I + i % I];
			gated[i] = (float)(gate / (1 + std::exp(-gate)) * up);
		}
		Tolerance halves(2 * (size_t)c.n, I);
		c.slack(halves);
		of_gated = gated_tolerance(product, halves, false, gated);
		for (size_t splits = 2; splits < split.size(); splits++)
			for (size_t s = 0; s < splits; s++) split[splits].push_back(c.product(s, splits));
	}

	template <class F> void check(const char *name, Output output, size_t splits, F kernel) const {
		const size_t n = (size_t)c.n, all = n * (size_t)c.rows;
		switch (output) {
		case Output::F32: compare(name, c.run(all, true, kernel), product, exact); break;
		case Output::BF16: compare(name, c.run(all, false, kernel), product, rounded); break;
		case Output::SILU_MUL: compare(name, c.run(all / 2, false, kernel), gated, of_gated); break;
		case Output::SPLITS:
			const Values got = c.run(splits * all, false, kernel);
			for (size_t s = 0; s < splits; s++) {
				const Values &want = splits == 1 ? product : split[splits][s];
				Tolerance tolerance(want, n, (size_t)c.rows);
				tolerance += exact;
				compare(name, Values(got.begin() + s * all, got.begin() + (s + 1) * all), want, tolerance);
			}
		}
	}
};

static void test_case(int rows, int cols, int n, bool hopper, Scaling scaling) {
	static const char *const SCALINGS[] = {"", ", FP8 by row", ", FP8 by block", ", FP8 weights by row",
	                                       ", FP8 weights by block"};
	char text[80];
	snprintf(text, sizeof text, "%d x %d, %d tokens%s", rows, cols, n, SCALINGS[(int)scaling]);
	shape_text = text;
	const Case c(rows, cols, n, scaling);
	const Expected expected(c);
	const fg::Operands in = c.operands();
	const bool plain = scaling == Scaling::PLAIN;
	std::vector<Output> outputs = {Output::BF16, Output::SILU_MUL, Output::SPLITS};
	if (c.wide_x() && !plain) {
		for (int shape = 0; shape < fg::W8A16_SHAPES_COUNT; shape++)
			for (Output output : outputs)
				expected.check(("gemm_w8a16 " + std::to_string(shape)).c_str(), output, 1, [&](void *y) {
					return fg::gemm_w8a16(shape, scaling, in, y, rows, cols, n, output, nullptr);
				});
		return;
	}
	if (plain) outputs.push_back(Output::F32);
	const int gemv_most = plain ? fg::GEMV_MOST : fg::GEMV_FP8_MOST;
	for (int shape = 0; n <= gemv_most && shape < (plain ? fg::GEMV_SHAPES_COUNT : fg::GEMV_FP8_SHAPES_COUNT); shape++)
		for (Output output : outputs)
			expected.check(("gemv " + std::to_string(shape)).c_str(), output, 1, [&](void *y) {
				return plain
						   ? fg::gemv(shape, (const bf16 *)in.x, (const bf16 *)in.w, y, rows, cols, n, output, nullptr)
						   : fg::gemv_fp8(shape, scaling, in, y, rows, cols, n, output, nullptr);
			});
	for (int tile = 0; hopper && scaling != Scaling::BLOCKS && tile < fg::SM90_TILES_COUNT; tile++)
		for (Output output : outputs) {
			const fg::Sm90Tile &t = fg::SM90_TILES[tile];
			if (!(t.outputs >> (int)output & 1)) continue;
			for (int splits = 1; splits <= (output == Output::SPLITS && !t.split ? fg::SM90_MOST_SPLITS : 1);
			     splits++) {
				const fg::Sm90Cut cut = {tile, splits};
				expected.check(("gemm_sm90 " + cut.name()).c_str(), output, (size_t)splits, [&](void *y) {
					return fg::gemm_sm90(cut, scaling, in, y, rows, cols, n, output, nullptr);
				});
			}
		}
}

int main(int argc, char **argv) {
	if (no_device("gemm")) return 0;
	cudaDeviceProp device;
	CUDA(cudaGetDeviceProperties(&device, 0));
	const bool hopper = device.major == 9, quick = argc > 1 && !strcmp(argv[1], "quick");
	const bool has_fp8 = device.major * 10 + device.minor >= 89;
	auto test = [&](int rows, int cols, int n) { test_case(rows, cols, n, hopper, Scaling::PLAIN); };
	auto test_fp8 = [&](int rows, int cols, int n) {
		for (Scaling scaling : {Scaling::ROWS, Scaling::BLOCKS})
			if (has_fp8 && (scaling == Scaling::ROWS || n <= fg::GEMV_FP8_MOST))
				test_case(rows, cols, n, hopper, scaling);
	};
	auto test_wide = [&](int rows, int cols, int n) {
		for (Scaling scaling : {Scaling::WIDE_ROWS, Scaling::WIDE_BLOCKS}) test_case(rows, cols, n, hopper, scaling);
	};
	if (quick) {
		for (int n : {3, 70, 300}) test(528, 264, n), test_fp8(528, 272, n), test_wide(528, 272, n);
	} else {
		for (int n : {1, 2, 3, 4, 40, 64, 65, 127, 200, 300})
			for (auto [rows, cols] : {std::pair{16, 8}, {208, 72}, {1072, 200}, {784, 1032}}) test(rows, cols, n);
		for (int n : {1, 2, 5, 8, 40, 64, 65, 127, 200, 300})
			for (auto [rows, cols] : {std::pair{16, 16}, {208, 144}, {1072, 208}, {784, 2064}}) test_fp8(rows, cols, n);
		/* Of each number of tokens that a warp can have, and more; a column that is a part of a slice. */
		for (int n : {1, 8, 13, 32, 64, 130})
			for (auto [rows, cols] : {std::pair{16, 16}, {208, 144}, {1072, 208}}) test_wide(rows, cols, n);
		test_wide(784, 2064, 9);
		/* More tiles than there are multiprocessors: whole ones, then halves. */
		test(17008, 136, 300), test_fp8(17008, 272, 300);
	}
	printf("gemm: %d passed, %d failed\n", passed, failed);
	return failed > 0;
}
