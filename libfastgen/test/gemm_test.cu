/*
 * gemm_test.cu - compares our own product kernels (gemv, gemm_sm90), with every cut and output, with sums in double
 * precision on the host. It does not use cuBLASLt, so that it runs under compute-sanitizer's racecheck.
 *
 *   gemm_test          everything; exit status 1 on a difference
 *   gemm_test quick    one small shape, for compute-sanitizer
 *
 * Without a device it says so and passes.
 */
#include "../cuda/products/gemm_sm90.cuh"
#include "../cuda/products/gemv.cuh"
#include "compare.cuh"

using fg::Output;

/* A product's inputs, on the host and on the device, and what it should be. */
struct Case {
	int rows, cols, n;
	Values x, w;
	void *d_x, *d_w, *d_y;
	size_t y_bytes;

	static void *upload(const Values &v) {
		std::vector<uint16_t> narrow(v.size());
		for (size_t i = 0; i < v.size(); i++) narrow[i] = fg_to_bf16(v[i]);
		void *p;
		CUDA(cudaMalloc(&p, narrow.size() * sizeof narrow[0]));
		CUDA(cudaMemcpy(p, narrow.data(), narrow.size() * sizeof narrow[0], cudaMemcpyHostToDevice));
		return p;
	}

	Case(int rows, int cols, int n)
		: rows(rows), cols(cols), n(n), x(gate_inputs(n, (size_t)cols)),
		  w(random_values((size_t)rows * cols, FG_BF16, 0.3f)),
		  y_bytes((size_t)n * rows * sizeof(float) * fg::SM90_MOST_SPLITS) {
		d_x = upload(x), d_w = upload(w);
		CUDA(cudaMalloc(&d_y, y_bytes));
	}
	~Case() {
		cudaFree(d_x), cudaFree(d_w), cudaFree(d_y);
	}
	Case(const Case &) = delete;

	/* x * w^T, or one split of it. */
	Values product(size_t split = 0, size_t splits = 1) const {
		const auto [from, to] = SplitColumns((size_t)cols, split, splits);
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
	void slack(Tolerance &tolerance) const {
		const double longest = longest_row();
		const size_t each = tolerance.rows / (size_t)n;
		for (size_t r = 0; r < tolerance.rows; r++)
			tolerance.slack(r, summation_loss(&x[r / each * cols], (size_t)cols, longest));
	}

	/* The y [count] that a kernel makes, bf16 or float32. Elements that it does not write are NaN. */
	template <class F> Values run(size_t count, bool f32, F kernel) const {
		CUDA(cudaMemset(d_y, 0xff, y_bytes));
		CUDA(kernel((const bf16 *)d_x, (const bf16 *)d_w, d_y));
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

static void test_case(int rows, int cols, int n, bool hopper) {
	char text[64];
	snprintf(text, sizeof text, "%d x %d, %d tokens", rows, cols, n);
	shape_text = text;
	const Case c(rows, cols, n);
	const Expected expected(c);
	constexpr Output OUTPUTS[] = {Output::BF16, Output::F32, Output::SILU_MUL, Output::SPLITS};
	for (int shape = 0; n <= fg::GEMV_MOST && shape < fg::GEMV_SHAPES_COUNT; shape++)
		for (Output output : OUTPUTS)
			expected.check(("gemv " + std::to_string(shape)).c_str(), output, 1, [&](auto x, auto w, void *y) {
				return fg::gemv(shape, x, w, y, rows, cols, n, output, nullptr);
			});
	for (int tile = 0; hopper && tile < fg::SM90_TILES_COUNT; tile++)
		for (Output output : OUTPUTS) {
			const fg::Sm90Tile &t = fg::SM90_TILES[tile];
			if (!(t.outputs >> (int)output & 1)) continue;
			for (int splits = 1; splits <= (output == Output::SPLITS && !t.split ? fg::SM90_MOST_SPLITS : 1);
			     splits++) {
				const fg::Sm90Cut cut = {tile, splits};
				expected.check(("gemm_sm90 " + cut.name()).c_str(), output, (size_t)splits,
				               [&](auto x, auto w, void *y) {
								   return fg::gemm_sm90(cut, x, w, y, rows, cols, n, output, nullptr);
							   });
			}
		}
}

int main(int argc, char **argv) {
	if (no_device("gemm")) return 0;
	cudaDeviceProp device;
	CUDA(cudaGetDeviceProperties(&device, 0));
	const bool hopper = device.major == 9, quick = argc > 1 && !strcmp(argv[1], "quick");
	if (quick) {
		for (int n : {3, 70, 300}) test_case(528, 264, n, hopper);
	} else {
		for (int n : {1, 2, 3, 4, 40, 64, 65, 127, 200, 300})
			for (auto [rows, cols] : {std::pair{16, 8}, {208, 72}, {1072, 200}, {784, 1032}})
				test_case(rows, cols, n, hopper);
		/* More tiles than there are multiprocessors: whole ones, then halves. */
		test_case(17008, 136, 300, hopper);
	}
	printf("gemm: %d passed, %d failed\n", passed, failed);
	return failed > 0;
}
