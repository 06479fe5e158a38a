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
	return lt.describe(key.rows, key.cols, key.n, key.output == Output::F32, &lt_products[key]);
}

void Gemm::choose(const GemmKey &key, const GemmChoice &choice) {
	choices[key] = choice;
}

bool Gemm::has_chosen(const GemmKey &key) const {
	return choices.count(key) > 0;
}

cudaError_t Gemm::run(const GemmKey &key, const GemmChoice &choice, const void *x, const void *w, void *y,
                      void *scratch, cudaStream_t stream) const {
	const bf16 *from = (const bf16 *)x, *weights = (const bf16 *)w;
	void *left = key.output == Output::SPLITS ? scratch : y; /* where a kernel of our own writes */
	if (choice.method == Method::GEMV)
		return gemv(choice.gemv_shape, from, weights, left, key.rows, key.cols, key.n, key.output, stream);
	if (choice.method == Method::SM90)
		return gemm_sm90(choice.cut, from, weights, left, key.rows, key.cols, key.n, key.output, stream);
	const float before = key.output == Output::SPLITS ? 1 : 0; /* the factor of what y holds before */
	const bool gated = key.output == Output::SILU_MUL;         /* cuBLASLt has no such epilogue */
	if (!lt.multiply(lt_product(key), choice.algorithm, x, w, before, gated ? scratch : y, stream))
		return cudaErrorUnknown;
	return gated ? silu_mul((const bf16 *)scratch, (bf16 *)y, key.n, key.rows / 2, stream) : cudaSuccess;
}

cudaError_t Gemm::run(const void *x, const void *w, void *y, int32_t rows, int32_t cols, int32_t n, Output output,
                      void *scratch, fg_pending *pending, cudaStream_t stream) const {
	GemmKey key = {rows, cols, bucket(n), output};
	auto found = choices.find(key);
	if (found == choices.end()) return cudaErrorInvalidValue;
	if (output == Output::SPLITS) *pending = {scratch, found->second.splits(), (int64_t)key.n * rows};
	return run(key, found->second, x, w, y, scratch, stream);
}

} // namespace fg
