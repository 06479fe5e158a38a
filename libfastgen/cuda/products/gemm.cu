/* See gemm.cuh. */
#include "../elementwise.cuh"
#include "gemm.cuh"
#include "widen.cuh"

namespace fg {

namespace {

constexpr size_t WORKSPACE_BYTES = 32 << 20; /* cuBLAS's own recommendation for Hopper */

} // namespace

int32_t Gemm::bucket(int32_t n) {
	int32_t step = n <= 8 ? 1 : n <= 64 ? 8 : n <= 256 ? 16 : n <= 1024 ? 64 : 256;
	return (n + step - 1) / step * step;
}

std::vector<int32_t> Gemm::buckets(int32_t most) {
	std::vector<int32_t> all;
	for (int32_t n = 1; n <= bucket(most); n = bucket(n + 1)) all.push_back(n);
	return all;
}

fg_status Gemm::open() {
	return lt.open(WORKSPACE_BYTES);
}

void Gemm::close() {
	for (auto &[key, product] : lt_products) lt.forget(product);
	lt_products.clear();
	lt.close();
}

Fp8Way Gemm::fp8_way(int arch, Scaling scaling) const {
	auto known = fp8_ways.find(scaling);
	if (known != fp8_ways.end()) return known->second;
	/* Whether it suggests an algorithm for a product of usual size. */
	auto suggests = [&](bool scaled) {
		LtProduct product = {};
		cublasLtMatmulAlgo_t ignored;
		const bool found = lt.describe(4096, 4096, 64, false, scaling, scaled, &product) == FG_OK &&
		                   lt.suggest(product, CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE, &ignored, 1) > 0;
		lt.forget(product);
		return found;
	};
	Fp8Way way = std::max(best_fp8_way, arch >= 89 ? Fp8Way::SCALED : Fp8Way::WIDENED);
	if (way == Fp8Way::SCALED && !suggests(true)) way = Fp8Way::UNSCALED;
	/* Sums over blocks cannot be scaled once they are added up. */
	if (way == Fp8Way::UNSCALED && (scaling == Scaling::BLOCKS || !suggests(false))) way = Fp8Way::WIDENED;
	return fp8_ways[scaling] = way;
}

Method Gemm::cublaslt_method(const GemmKey &key) const {
	if (key.scaling == Scaling::PLAIN) return Method::CUBLASLT;
	if (scaling_of_x(key.scaling) == Scaling::PLAIN) return Method::WIDENED;
	return fp8_ways.at(key.scaling) == Fp8Way::SCALED ? Method::CUBLASLT : Method::UNSCALED;
}

fg_status Gemm::add(const GemmKey &key) {
	if (lt_products.count(key)) return FG_OK;
	return lt.describe(key.rows, key.cols, key.n, key.output == Output::F32, scaling_of_x(key.scaling),
	                   cublaslt_method(key) == Method::CUBLASLT, &lt_products[key]);
}

void Gemm::choose(const GemmKey &key, const GemmChoice &choice) {
	choices[key] = choice;
}

bool Gemm::has_chosen(const GemmKey &key) const {
	return choices.count(key) > 0;
}

cudaError_t Gemm::run_cublaslt(const GemmKey &key, const GemmChoice &choice, const Operands &in, const LinearInput &y,
                               void *scratch, cudaStream_t stream) const {
	const bool gated = key.output == Output::SILU_MUL; /* cuBLASLt has no such epilogue */
	const bool added = key.output == Output::SPLITS && choice.splits() == 0;
	void *to = gated || (key.output == Output::SPLITS && !added) ? scratch : y.data;
	Operands operands = in;
	cudaError_t error = cudaSuccess;
	if (choice.method == Method::WIDENED) {
		error = widen(in, key.scaling, key.rows, key.cols, widened, stream);
		operands = {in.x, widened, nullptr, nullptr};
	}
	if (error != cudaSuccess) return error;
	const float before = added ? 1 : 0; /* the factor of what y holds before */
	if (!lt.multiply(lt_product(key), choice.algorithm, operands, before, to, stream)) return cudaErrorUnknown;
	const bool unscaled = choice.method == Method::UNSCALED;
	const bf16 *both = (const bf16 *)scratch;
	if (gated && y.scaling != Scaling::PLAIN)
		return quantise_silu_mul(both, unscaled ? &in : nullptr, y, key.n, key.rows / 2, stream);
	if (unscaled) error = scale_rows(in, key.n, key.rows, (bf16 *)to, stream);
	if (error != cudaSuccess || !gated) return error;
	return silu_mul(both, (bf16 *)y.data, key.n, key.rows / 2, stream);
}

cudaError_t Gemm::run(const GemmKey &key, const GemmChoice &choice, const Operands &in, const LinearInput &y,
                      void *scratch, cudaStream_t stream) const {
	if (is_cublaslt(choice.method)) return run_cublaslt(key, choice, in, y, scratch, stream);
	/* A row's scale is known only once all of it is. */
	const bool quantised = key.output == Output::SILU_MUL && y.scaling != Scaling::PLAIN;
	void *to = quantised || key.output == Output::SPLITS ? scratch : y.data;
	cudaError_t error;
	if (choice.method == Method::SM90)
		error = gemm_sm90(choice.cut, key.scaling, in, to, key.rows, key.cols, key.n, key.output, stream);
	else if (choice.method == Method::W8A16)
		error = gemm_w8a16(choice.shape, key.scaling, in, to, key.rows, key.cols, key.n, key.output, stream);
	else if (key.scaling == Scaling::PLAIN)
		error = gemv(choice.shape, (const bf16 *)in.x, (const bf16 *)in.w, to, key.rows, key.cols, key.n, key.output,
		             stream);
	else error = gemv_fp8(choice.shape, key.scaling, in, to, key.rows, key.cols, key.n, key.output, stream);
	if (error != cudaSuccess || !quantised) return error;
	return quantise((const bf16 *)scratch, y, key.n, key.rows / 2, stream);
}

cudaError_t Gemm::run(const GemmKey &product, const Operands &in, const LinearInput &y, void *scratch,
                      fg_pending *pending, cudaStream_t stream) const {
	GemmKey key = product;
	key.n = bucket(product.n);
	auto found = choices.find(key);
	if (found == choices.end()) return cudaErrorInvalidValue;
	if (key.output == Output::SPLITS) *pending = {scratch, found->second.splits(), (int64_t)key.n * key.rows};
	return run(key, found->second, in, y, scratch, stream);
}

} // namespace fg
