/*
 * sample_math_test.cu - checks that sample_math.h computes the same bits on the device as on the host.
 *
 *   nvcc -O3 -std=c++17 -arch=native sample_math_test.cu -o sample_math_test && ./sample_math_test
 *
 * Exit status 1 on a difference. Without a device it says so and passes.
 */
#include "../sample_math.h"
#include "check_cuda.cuh"

#include <cstdio>
#include <vector>

enum { N_FUNCTIONS = 6 };
static const char *const NAMES[N_FUNCTIONS] = {"fg_exp_neg", "fg_log",      "fg_gumbel",
                                               "fg_weight",  "fg_distance", "a score"};

/* A hash of i, so that both sides make the same inputs. */
__host__ __device__ static uint32_t word(uint64_t i) {
	i *= 0x9E3779B97F4A7C15ull;
	i = (i ^ i >> 30) * 0xBF58476D1CE4E5B9ull;
	return (uint32_t)(i >> 32);
}

__host__ __device__ static void compute(uint64_t i, uint32_t out[N_FUNCTIONS]) {
	const uint32_t a = word(3 * i), b = word(3 * i + 1), c = word(3 * i + 2);
	const float any = fg_as_float(a), other = fg_as_float(b); /* every bit pattern: subnormals, infinities, NaN */
	const float temperature = fg_as_float((c & 0x7fffffff) % 0x7f800000);
	uint32_t random[4];
	fg_philox((uint64_t)a << 32 | b, c, (uint32_t)i, random);
	out[0] = fg_as_bits(fg_exp_neg(i % 2 ? fabsf(any) : (float)a * 0x1p-25f));
	out[1] = fg_as_bits(fg_log(fg_as_float(0x00800000 + a % 0x7f000000)));
	out[2] = fg_as_bits(fg_gumbel(i % 3 == 0 ? a : i % 3 == 1 ? a & 0xffff : ~(a & 0xffff)));
	out[3] = fg_weight(i % 2 ? fabsf(any) : (float)a * 0x1p-27f);
	out[4] = fg_as_bits(fg_distance(fg_clean(any), fg_clean(other), temperature > 0 ? temperature : 1));
	/* Moderate values; one function's result is the next one's argument, as nothing may fuse across functions. */
	const float logit = (float)(int32_t)a * 0x1p-26f, penalty = (float)(b >> 8) * 0x1p-23f;
	const float adjusted = fg_penalize(logit, penalty + 0.5f, penalty - 1, penalty - 0.7f, c & 3);
	const float d = fg_distance(40, fg_clean(adjusted), penalty + 0.1f);
	out[5] = fg_as_bits(fg_gumbel(random[0]) - d) ^ random[1] ^ random[2] << 1 ^ random[3] << 2;
	/* The sign and payload of a NaN are not defined, and do not matter: a NaN is never kept. */
	if ((out[4] & 0x7fffffff) > 0x7f800000) out[4] = 0x7fc00000;
}

__global__ static void kernel(uint64_t n, uint32_t *out) {
	for (uint64_t i = blockIdx.x * (uint64_t)blockDim.x + threadIdx.x; i < n; i += (uint64_t)gridDim.x * blockDim.x)
		compute(i, out + i * N_FUNCTIONS);
}

int main() {
	if (no_device("sample_math_test")) return 0;
	const uint64_t n = 1 << 24;
	uint32_t *device_out;
	std::vector<uint32_t> out(n * N_FUNCTIONS);
	cudaError_t error = cudaMalloc(&device_out, out.size() * sizeof(uint32_t));
	if (error == cudaSuccess) {
		kernel<<<1024, 256>>>(n, device_out);
		error = cudaMemcpy(out.data(), device_out, out.size() * sizeof(uint32_t), cudaMemcpyDeviceToHost);
	}
	if (error != cudaSuccess) {
		printf("sample_math_test: %s\n", cudaGetErrorString(error));
		return 1;
	}
	uint64_t different[N_FUNCTIONS] = {};
	for (uint64_t i = 0; i < n; i++) {
		uint32_t want[N_FUNCTIONS];
		compute(i, want);
		for (int f = 0; f < N_FUNCTIONS; f++) {
			if (out[i * N_FUNCTIONS + f] == want[f]) continue;
			if (different[f]++ < 3)
				printf("%s, input %llu: %08x on the device, %08x on the host\n", NAMES[f], (unsigned long long)i,
				       out[i * N_FUNCTIONS + f], want[f]);
		}
	}
	uint64_t sum = 0;
	for (uint64_t d : different) sum += d;
	printf("sample_math_test: %llu values of %d functions, %llu differ\n", (unsigned long long)n, N_FUNCTIONS,
	       (unsigned long long)sum);
	cudaFree(device_out);
	return sum > 0;
}
