/*
 * compare.cuh - how tests of the CUDA library count and compare. Two bounds, both computed from the data, apply to a
 * result that was computed in float32 and rounded to bf16:
 *
 * - for an element: one unit in the last place of bf16, which is twice what rounding costs at worst;
 * - for a row's norm: twice what rounding to bf16 costs on average, if errors are spread evenly over a unit in the last
 *   place: sqrt(sum of ulp^2 / 12). (Rounding alone cannot cost more than sqrt(3) times that average.)
 *
 * To both, each op adds what its sums may lose in float32 when they are added up in another order.
 */
#ifndef FG_COMPARE_CUH
#define FG_COMPARE_CUH

#include "../numeric.h"
#include "check_cuda.cuh"

extern "C" {
#include "../fastgen.h"
#include "check.h"
}

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <string>
#include <vector>

/* Ends the test where a call of the library fails. */
#define MUST(call)                                                                                                     \
	do {                                                                                                               \
		if ((call) != FG_OK) {                                                                                         \
			printf("FAILED: %s:%d: %s: %s\n", __FILE__, __LINE__, #call, fg_error());                                  \
			exit(1);                                                                                                   \
		}                                                                                                              \
	} while (0)

typedef std::vector<float> Values;

/* ---- counting and comparing ---- */

static int passed, failed;
static std::string shape_text; /* what is being tested, for messages */

static inline void count(bool ok) {
	ok ? passed++ : failed++;
}

static inline void expect(bool ok, const char *what) {
	count(ok);
	if (!ok) printf("FAILED: %s, %s\n", what, shape_text.c_str());
}

constexpr double EPS = 0x1p-24; /* the most that rounding to float32 costs, relative to the value */

/* A unit in the last place of bf16 at v. */
static inline double ulp(double v) {
	return v == 0 || !std::isfinite(v) ? 0 : std::ldexp(1, std::max(std::ilogb(v), -126) - 7);
}

/* How far CUDA's result may be from the CPU's. */
struct Tolerance {
	size_t rows, cols;
	std::vector<double> element, row; /* [rows][cols]; [rows]: of the norm of the row's difference */

	/* None: results must be equal to the bit. */
	Tolerance(size_t rows, size_t cols) : rows(rows), cols(cols), element(rows * cols), row(rows) {
	}

	/* What rounding `values` to bf16 may cost. */
	Tolerance(const Values &values, size_t rows, size_t cols) : Tolerance(rows, cols) {
		for (size_t r = 0; r < rows; r++) {
			double squares = 0;
			for (size_t i = r * cols; i < (r + 1) * cols; i++)
				element[i] = ulp(values[i]), squares += element[i] * element[i];
			row[r] = 2 * std::sqrt(squares / 12);
		}
	}

	/* Adds another's. */
	Tolerance &operator+=(const Tolerance &other) {
		for (size_t i = 0; i < element.size(); i++) element[i] += other.element[i];
		for (size_t r = 0; r < rows; r++) row[r] += other.row[r];
		return *this;
	}

	/* Adds a bound that holds for every element of a row. */
	void slack(size_t r, double bound) {
		for (size_t i = r * cols; i < (r + 1) * cols; i++) element[i] += bound;
		row[r] += bound * std::sqrt((double)cols);
	}
};

static inline double norm(const float *v, size_t n) {
	double sum = 0;
	for (size_t i = 0; i < n; i++) sum += (double)v[i] * v[i];
	return std::sqrt(sum);
}

static inline double largest(const float *v, size_t n) {
	double most = 0;
	for (size_t i = 0; i < n; i++) most = std::max(most, (double)std::fabs(v[i]));
	return most;
}

/* Elements that were poisoned and not written are NaN, and fail whatever the tolerance. */
static inline void compare(const char *what, const Values &got, const Values &want, const Tolerance &t) {
	size_t bad_elements = 0, bad_rows = 0, unwritten = 0, at = 0, at_row = 0;
	double worst = 0;
	for (size_t r = 0; r < t.rows; r++) {
		double wrong = 0;
		for (size_t i = r * t.cols; i < (r + 1) * t.cols; i++) {
			double d = std::fabs((double)got[i] - want[i]);
			unwritten += std::isnan(got[i]);
			if (!(d <= t.element[i]) && bad_elements++ == 0) at = i;
			wrong += d * d;
		}
		wrong = std::sqrt(wrong);
		if (wrong <= t.row[r]) continue;
		bad_rows++;
		double share = t.row[r] > 0 ? wrong / t.row[r] : INFINITY;
		if (!(share <= worst)) worst = share, at_row = r;
	}
	count(bad_elements + bad_rows == 0);
	if (bad_elements)
		printf("FAILED: %s, %s: %zu of %zu elements, %zu of them NaN; first row %zu column %zu: %.9g, not %.9g (within "
		       "%.3g)\n",
		       what, shape_text.c_str(), bad_elements, t.rows * t.cols, unwritten, at / t.cols, at % t.cols, got[at],
		       want[at], t.element[at]);
	if (bad_rows) {
		double wrong = 0, all = norm(&want[at_row * t.cols], t.cols);
		for (size_t i = at_row * t.cols; i < (at_row + 1) * t.cols; i++) wrong += std::pow((double)got[i] - want[i], 2);
		printf("FAILED: %s, %s: %zu of %zu rows; worst row %zu: relative error %.3g, allowed %.3g\n", what,
		       shape_text.c_str(), bad_rows, t.rows, at_row, std::sqrt(wrong) / all, t.row[at_row] / all);
	}
}

/* ---- inputs ---- */

/* Roughly normal with deviation 1, and never beyond 3.5. */
static inline float normal() {
	uint64_t bits = next_random();
	float sum = 0;
	for (int i = 0; i < 64; i += 16) sum += (float)(bits >> i & 0xffff);
	return (sum * 0x1p-16f - 2) * 1.7320508f;
}

/* Random float32 numbers that are exact in `dtype`. */
static inline Values random_values(size_t n, int32_t dtype, float deviation = 1) {
	Values v(n);
	for (float &x : v) x = fg_round(deviation * normal(), dtype);
	return v;
}

/* Inputs of a product with SiLU, exact in bf16. With some of them SiLU's exponential over- or underflows. */
static inline Values gate_inputs(int32_t n, size_t cols) {
	Values x;
	for (int32_t r = 0; r < n; r++) {
		Values row = random_values(cols, FG_BF16, r % 4 == 3 ? 40 : r % 4 == 2 ? 8 : 1);
		x.insert(x.end(), row.begin(), row.end());
	}
	return x;
}

/* Columns [from, to) that one split of a product sums over: whole slices of 64 columns, or 128 in FP8. */
struct SplitColumns {
	size_t from, to;

	SplitColumns(size_t cols, size_t split, size_t splits, size_t slice = 64)
		: from((cols + slice - 1) / slice * split / splits * slice),
		  to(std::min((cols + slice - 1) / slice * (split + 1) / splits * slice, cols)) {
	}
};

/* ---- what sums may lose ---- */

/* What an element of a product of x [cols] and w may lose, in either order of summation. longest_row: the greatest norm
 * of w's rows. A tensor core adds at least 8 products at a time to a sum, and may cut off what falls below the sum's
 * last bit; a CPU adds in lanes. Every partial sum is at most |x| |w| (Cauchy-Schwarz), so each of about cols / 8
 * additions loses at most 2 EPS of that, on both sides. */
static inline double summation_loss(const float *x, size_t cols, double longest_row) {
	return 4 * EPS * ((double)cols / 8 + 16) * longest_row * norm(x, cols);
}

/* What an element x [cols] * w [cols] may lose in FP8, at most and as a rule. Hopper's tensor cores add 32 products to
 * a sum at once, and of each keep 13 bits below the greatest of them (arXiv:2412.19437, section 3.3.2); what they cut
 * off has the number's sign. No sum of a run of products is more than twice the greatest of those that begin at the
 * first.
 */
struct Fp8Loss {
	double most, usual;

	Fp8Loss(const float *x, const float *w, size_t cols) {
		constexpr size_t STEP = 32;
		double sum = 0, greatest_sum = 0, greatest = 0;
		for (size_t k = 0; k < cols; k++) {
			const double product = (double)x[k] * w[k];
			sum += product, greatest = std::max(greatest, std::fabs(product));
			if (k % STEP == STEP - 1) greatest_sum = std::max(greatest_sum, std::fabs(sum));
		}
		greatest_sum = std::max(greatest_sum, std::fabs(sum));
		const double steps = (double)(cols / STEP + 1), cut = 0x1p-13 * (2 * greatest_sum + greatest);
		most = steps * (STEP + 1) * cut, usual = (steps / 2 + std::sqrt(steps * (STEP + 1) / 12)) * cut;
	}
};

/* The tolerance of silu(gate) * up [n][I], which should be `want`. The halves [n][2][I], gate and up, are off by
 * `product`, which has a row per half, and if `rounded` by what rounding them to bf16 costs. */
static inline Tolerance gated_tolerance(const Values &halves, const Tolerance &product, bool rounded,
                                        const Values &want) {
	const size_t n = product.rows / 2, I = product.cols;
	Tolerance tolerance(want, n, I);
	for (size_t r = 0; r < n; r++) {
		/* __expf(x) is off by 2 + 1.2 |x| units in the last place. Where it leaves float32's range the quotient
		 * vanishes. */
		const float *gate = &halves[2 * r * I], *up = gate + I;
		tolerance.slack(r, (16 + 3 * largest(gate, I)) * 2 * EPS * largest(&want[r * I], I) + 0x1p-100);
		/* Rounding changes a half by at most half a unit in the last place: 2^-8 of it. SiLU's slope is at most 1.1,
		 * and SiLU itself is at most its argument. */
		double squares = 0;
		for (size_t i = 0; i < I; i++) {
			const double g = std::fabs(gate[i]), u = std::fabs(up[i]), share = rounded ? 0x1p-8 : 0;
			const double dg = g * share + product.element[2 * r * I + i],
						 du = u * share + product.element[(2 * r + 1) * I + i],
						 d = 1.1 * dg * u + g / (1 + std::exp(-(double)gate[i])) * du + dg * du;
			tolerance.element[r * I + i] += d, squares += d * d;
		}
		tolerance.row[r] += std::sqrt(squares);
	}
	return tolerance;
}

#endif
