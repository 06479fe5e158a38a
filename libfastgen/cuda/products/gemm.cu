/* See gemm.cuh. */
#include "../elementwise.cuh"
#include "gemm.cuh"

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

fg_status Gemm::add(const GemmKey &key) {
	if (lt_products.count(key)) return FG_OK;
	return lt.describe(key.rows, key.cols, key.n, key.output == Output::F32, key.scaling, &lt_products[key]);
}

void Gemm::choose(const GemmKey &key, const GemmChoice &choice) {
	choices[key] = choice;
}

bool Gemm::has_chosen(const GemmKey &key) const {
	return choices.count(key) > 0;
}

cudaError_t Gemm::run_cublaslt(const GemmKey &key, const GemmChoice &choice, const Operands &in, const LinearInput &y,
                               void *scratch, cudaStream_t stream) const {
	const float before = key.output == Output::SPLITS ? 1 : 0; /* the factor of what y holds before */
	const bool gated = key.output == Output::SILU_MUL;         /* cuBLASLt has no such epilogue */
	if (!lt.multiply(lt_product(key), choice.algorithm, in, before, gated ? scratch : y.data, stream))
		return cudaErrorUnknown;
	if (!gated) return cudaSuccess;
	const bf16 *both = (const bf16 *)scratch;
	return y.scaling == Scaling::PLAIN ? silu_mul(both, (bf16 *)y.data, key.n, key.rows / 2, stream)
	                                   : quantise_silu_mul(both, y, key.n, key.rows / 2, stream);
}

cudaError_t Gemm::run(const GemmKey &key, const GemmChoice &choice, const Operands &in, const LinearInput &y,
                      void *scratch, cudaStream_t stream) const {
	if (choice.method == Method::CUBLASLT) return run_cublaslt(key, choice, in, y, scratch, stream);
	/* A row's scale is known only once all of it is. */
	const bool quantised = key.output == Output::SILU_MUL && y.scaling != Scaling::PLAIN;
	void *to = quantised || key.output == Output::SPLITS ? scratch : y.data;
	cudaError_t error;
	if (choice.method == Method::SM90)
		error = gemm_sm90(choice.cut, key.scaling, in, to, key.rows, key.cols, key.n, key.output, stream);
	else if (key.scaling == Scaling::PLAIN)
		error = gemv(choice.gemv_shape, (const bf16 *)in.x, (const bf16 *)in.w, to, key.rows, key.cols, key.n,
		             key.output, stream);
	else error = gemv_fp8(choice.gemv_shape, key.scaling, in, to, key.rows, key.cols, key.n, key.output, stream);
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
