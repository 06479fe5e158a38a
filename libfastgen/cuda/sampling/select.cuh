/*
 * select.cuh - finds the limits on d that top_k and top_p set, without a sort: the exact key at which a count, or a sum
 * of integer weights, reaches its target. Each of a few histograms narrows the range of keys by a factor of BINS.
 */
#ifndef FG_SAMPLE_SELECT_CUH
#define FG_SAMPLE_SELECT_CUH

#include "row.cuh"

namespace fg {

constexpr int BINS = 2048;
/* The first histogram's bins are equally wide in d, which spreads the tokens best. They reach up to FG_TOP_K_REACH,
 * beyond which it does not matter whether top_k keeps a token or filters it out. */
constexpr float BINS_PER_UNIT = 64;
static_assert(FG_TOP_K_REACH < BINS / BINS_PER_UNIT, "each key within reach has a bin");
constexpr int LISTED = 1024; /* keys that a block can list, once the range holds few enough */

struct Found {
	uint32_t bin, count; /* the bin in which the target is reached, and how many tokens are in it */
	uint64_t left;       /* what the bins before it leave of the target */
	uint64_t size;       /* of the bin: tokens or weight */
};

struct SelectShared {
	uint32_t count[BINS];
	uint32_t low[BINS], high[BINS]; /* sums of weights: low and high words */
	uint32_t list[LISTED];          /* keys */
	uint32_t n_list;                /* counts on past LISTED, where no key is stored */
	Found found;
};

/* Gives d of the tokens of a row. */
struct Scale {
	float zmax, temperature;
	__device__ float distance(float z) const {
		return fg_distance(zmax, z, temperature);
	}
};

/* run() lowers a limit on d, so that of the tokens within it only the k nearest are kept (WEIGHED: the nearest whose
 * weights add up to fg_top_p_target). Ties with the last are kept. The new limit need not be the d of a token, but it
 * keeps the same tokens as the one that sample_math.h defines. The limit stays as it is if fewer than k tokens are
 * within FG_TOP_K_REACH. Keys are the bits of d. */
template <bool WEIGHED> struct Select {
	Team &team;
	SelectShared &s;
	const Row &row;
	const Chunks &chunks;
	const Scale &scale;

	__device__ void add(uint32_t bin, uint32_t key) const {
		atomicAdd(&s.count[bin], 1u);
		if (!WEIGHED) return;
		uint32_t weight = fg_weight(fg_as_float(key));
		uint32_t before = atomicAdd(&s.low[bin], weight);
		if (before + weight < before) atomicAdd(&s.high[bin], 1u);
	}

	__device__ void clear() const {
		for (int i = threadIdx.x; i < BINS; i += blockDim.x) {
			s.count[i] = 0;
			if (WEIGHED) s.low[i] = s.high[i] = 0;
		}
		__syncthreads();
	}

	__device__ uint64_t size_of(int bin) const {
		uint64_t sum = 0;
		for (int r = 0; r < team.size; r++)
			sum += WEIGHED ? ((uint64_t)*team.of(&s.high[bin], r) << 32) + *team.of(&s.low[bin], r)
			               : *team.of(&s.count[bin], r);
		return sum;
	}

	/* Finds the bin in which the sum over the team's bins reaches target_of(total). Returns false if there is none. */
	template <class Target> __device__ bool find(Target target_of, Found *found) const {
		team.sync();
		const int per_block = BINS / team.size, per_thread = (per_block + blockDim.x - 1) / blockDim.x; /* bins */
		const int begin = min((int)threadIdx.x * per_thread, per_block), end = min(begin + per_thread, per_block);
		uint64_t mine = 0, total;
		for (int i = begin; i < end; i++) mine += size_of(team.rank * per_block + i);
		uint64_t before = team.sum_before(mine, &total);
		const uint64_t target = target_of(total);
		if (total >= target && before < target && target <= before + mine) {
			int bin = team.rank * per_block + begin;
			uint64_t size;
			while (before + (size = size_of(bin)) < target) before += size, bin++;
			Found f = {(uint32_t)bin, 0, target - before, size};
			for (int r = 0; r < team.size; r++) f.count += *team.of(&s.count[bin], r);
			for (int r = 0; r < team.size; r++) *team.of(&s.found, r) = f;
		}
		team.sync();
		*found = s.found;
		return total >= target;
	}

	/* target(total): what the kept tokens must add up to, given the total within the limit. Every thread gets the
	 * limit. */
	template <class Target> __device__ float run(float limit, Target target) const {
		const float reach = fminf(limit, WEIGHED ? FG_WEIGHT_LIMIT : FG_TOP_K_REACH);
		Found found;
		clear();
		each_key(reach, [&](uint32_t key) { add((uint32_t)(fg_as_float(key) * BINS_PER_UNIT), key); });
		if (!find(target, &found)) return limit;
		uint32_t low = fg_as_bits((float)found.bin / BINS_PER_UNIT);
		uint32_t high = min(fg_as_bits(((float)found.bin + 1) / BINS_PER_UNIT) - 1, fg_as_bits(reach));

		/* Done once the range holds a single token, or all of its tokens are needed. */
		for (bool listed = false; low < high && found.count > 1 && (WEIGHED || found.left < found.size);) {
			const int shift = max(0, 32 - __clz(high - low) - 11);
			const bool collect = !listed && found.count <= (uint32_t)(LISTED * team.size);
			clear();
			if (threadIdx.x == 0 && !listed) s.n_list = 0; /* all threads read it before clear's barrier */
			__syncthreads();
			auto visit = [&](uint32_t key) {
				if (key < low || key > high) return;
				add((key - low) >> shift, key);
				if (!collect) return;
				uint32_t place = atomicAdd(&s.n_list, 1u);
				if (place < LISTED) s.list[place] = key;
			};
			if (listed)
				for (uint32_t i = threadIdx.x; i < s.n_list; i += blockDim.x) visit(s.list[i]);
			else each_key(fg_as_float(high), visit);
			const uint64_t left = found.left;
			find([&](uint64_t) { return left; }, &found);
			listed = listed || (collect && s.n_list <= LISTED); /* may differ between blocks */
			low += found.bin << shift;
			high = min(high, low + (1u << shift) - 1);
		}
		return fminf(limit, fg_as_float(high));
	}

  private:
	/* Calls visit with the keys of the warp's tokens that are within reach. */
	template <class Visit> __device__ void each_key(float reach, Visit visit) const {
		auto wanted = [&](float greatest) { return scale.distance(greatest) <= reach; };
		chunks.each(team, row, wanted, [&](int32_t, const float z[LANE_TOKENS]) {
#pragma unroll
			for (int j = 0; j < LANE_TOKENS; j++) {
				float d = scale.distance(z[j]);
				if (d <= reach) visit(fg_as_bits(d));
			}
		});
	}
};

} // namespace fg

#endif
