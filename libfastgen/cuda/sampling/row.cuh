/*
 * row.cuh - reads a row of logits in chunks, one warp per chunk, and applies the slot's parameters to them.
 *
 * A first pass finds the greatest logit of each chunk. Later passes visit only the chunks that can hold what they look
 * for. ../../cpu/sample.c works in the same way.
 */
#ifndef FG_SAMPLE_ROW_CUH
#define FG_SAMPLE_ROW_CUH

#include "../../sample_math.h"
#include "state.cuh"
#include "team.cuh"

namespace fg {

constexpr int LANE_TOKENS = 4;          /* neighbouring tokens of a lane, which share one fg_philox block */
constexpr int CHUNK = 32 * LANE_TOKENS; /* tokens of a warp */
constexpr int UNROLL = 4;               /* chunks that a warp loads at once */

/* Maps floats to unsigned integers of the same order. Both zeros map to the same number. NaN is not allowed. 0 is below
 * all of them. */
__device__ inline uint32_t ordered(float x) {
	uint32_t bits = fg_as_bits(x + 0.0f);
	return bits ^ ((uint32_t)((int32_t)bits >> 31) | 0x80000000u);
}

__device__ inline float unordered(uint32_t u) {
	return fg_as_float(u & 0x80000000u ? u ^ 0x80000000u : ~u);
}

/* Ranks a value and its index: the greater value ranks higher, and of equal values the lower index. 0 is below all. */
__device__ inline uint64_t ranked(float x, int32_t index) {
	return (uint64_t)ordered(x) << 32 | (uint32_t)~index;
}

__device__ inline int32_t ranked_index(uint64_t r) {
	return (int32_t)~(uint32_t)r;
}

__device__ inline float ranked_value(uint64_t r) {
	return unordered((uint32_t)(r >> 32));
}

struct Row {
	const float *logits; /* [vocab_size] */
	int32_t vocab_size;
	bool wide; /* the row is aligned to 16 bytes, and vocab_size is a multiple of LANE_TOKENS */
	/* What changes the logits; all NULL for the raw distribution. */
	const uint32_t *mask;  /* [(vocab_size + 31) / 32] */
	const uint16_t *marks; /* [mark_stride] */
	const Slot *slot;      /* set if marks are */
	bool hold_stops;       /* stop ids are not allowed yet */

	__device__ bool raw() const {
		return !mask && !marks;
	}

	/* Loads the lane's tokens of a chunk, unchanged; -inf past the vocabulary. */
	__device__ void load(int32_t chunk, int lane, float x[LANE_TOKENS]) const {
		int32_t id = chunk * CHUNK + lane * LANE_TOKENS;
		if (wide) {
			float4 v = id < vocab_size ? *(const float4 *)(logits + id)
			                           : make_float4(-INFINITY, -INFINITY, -INFINITY, -INFINITY);
			x[0] = v.x, x[1] = v.y, x[2] = v.z, x[3] = v.w;
		} else {
			for (int j = 0; j < LANE_TOKENS; j++) x[j] = id + j < vocab_size ? logits[id + j] : -INFINITY;
		}
	}

	/* Steps 1 to 5 of sample_math.h, applied to what load returned. */
	__device__ void adjust(int32_t chunk, int lane, float x[LANE_TOKENS]) const {
		int32_t id = chunk * CHUNK + lane * LANE_TOKENS;
		if (mask && id < vocab_size) {
			uint32_t allowed = mask[id / 32] >> (id % 32);
			for (int j = 0; j < LANE_TOKENS; j++)
				if (!(allowed >> j & 1)) x[j] = -INFINITY;
		}
		if (marks && id < vocab_size) {
			uint2 v = *(const uint2 *)(marks + id);
			if (v.x | v.y) {
				uint16_t m[LANE_TOKENS] = {(uint16_t)v.x, (uint16_t)(v.x >> 16), (uint16_t)v.y, (uint16_t)(v.y >> 16)};
				for (int j = 0; j < LANE_TOKENS; j++)
					if (m[j]) x[j] = change(x[j], m[j], id + j);
			}
		}
		for (int j = 0; j < LANE_TOKENS; j++) x[j] = fg_clean(x[j]);
	}

  private:
	/* Index of the first of the ascending ids [n] that is at least id; n if there is none. */
	static __device__ int32_t find(const int32_t *ids, int32_t n, int32_t id) {
		int32_t low = 0;
		while (low < n) {
			int32_t middle = (low + n) / 2;
			if (ids[middle] < id) low = middle + 1;
			else n = middle;
		}
		return low;
	}

	/* Steps 2 and 3, for a token that is in one of the slot's lists. */
	static __device__ __noinline__ float change_listed(const Slot *slot, bool hold_stops, float x, int32_t id) {
		const SlotParams &p = slot->params;
		for (int32_t i = find(slot->bias_ids, p.n_bias, id); i < p.n_bias && slot->bias_ids[i] == id; i++)
			x += slot->bias[i];
		if (hold_stops) {
			int32_t i = find(slot->stop_ids, p.n_stop, id);
			if (i < p.n_stop && slot->stop_ids[i] == id) x = -INFINITY;
		}
		return x;
	}

	/* Steps 2 to 4, for a token that has a mark. */
	__device__ float change(float x, uint16_t mark, int32_t id) const {
		if (mark & MARK_LISTED) x = change_listed(slot, hold_stops, x, id);
		const SlotParams &p = slot->params;
		if (mark & MARK_SEEN) x = fg_penalize(x, p.repetition, p.frequency, p.presence, mark & MARK_COUNT);
		return x;
	}
};

/* The chunks of a row, dealt out in turn to the warps of the team. */
struct Chunks {
	uint32_t *greatest; /* [own chunks of the block]: ordered() greatest logit; -inf if there are only NaN and -inf */
	int32_t first, step, n; /* this warp's chunks: first, first + step, ... below n */
	int at, at_step;        /* their indexes into greatest */

	__device__ Chunks(const Team &team, int32_t vocab_size, uint32_t *greatest)
		: greatest(greatest), first(team.rank * team.n_warps + team.warp), step(team.size * team.n_warps),
		  n((vocab_size + CHUNK - 1) / CHUNK), at(team.warp), at_step(team.n_warps) {
	}

	/* Sets `greatest`. Returns to every thread the row's greatest logit, ranked with the first chunk that has it. */
	__device__ uint64_t scan(Team &team, const Row &row) const {
		uint64_t best = 0;
		__syncwarp(); /* lanes may still be reading `greatest` */
		const bool raw = row.raw();
		for (int32_t c = first, k = at; c < n; c += step * UNROLL, k += at_step * UNROLL) {
			float x[UNROLL][LANE_TOKENS];
#pragma unroll
			for (int u = 0; u < UNROLL; u++) row.load(min(c + u * step, n - 1), team.lane, x[u]);
#pragma unroll
			for (int u = 0; u < UNROLL; u++) {
				if (c + u * step >= n) break;
				if (!raw) row.adjust(c + u * step, team.lane, x[u]);
				/* fmaxf ignores NaN; fminf does what fg_clean does. */
				float most = -INFINITY;
				for (int j = 0; j < LANE_TOKENS; j++) most = fmaxf(most, x[u][j]);
				uint32_t key = __reduce_max_sync(ALL_LANES, ordered(fminf(most, FLT_MAX)));
				if (team.lane == 0) greatest[k + u * at_step] = key;
				uint64_t rank = (uint64_t)key << 32 | (uint32_t)~(c + u * step);
				best = rank > best ? rank : best;
			}
		}
		__syncwarp();
		return team.max(best);
	}

	/* Calls visit(chunk, x) for those of this warp's chunks for which wanted(greatest logit) is true. x is the lane's.
	 * All lanes take part in every call. */
	template <class Wanted, class Visit>
	__device__ void each(const Team &team, const Row &row, Wanted wanted, Visit visit) const {
		const bool raw = row.raw();
		float x[LANE_TOKENS], next[LANE_TOKENS];
		int32_t c = first, k = at;
		auto skip = [&] {
			while (c < n && !wanted(unordered(greatest[k]))) c += step, k += at_step;
		};
		skip();
		if (c < n) row.load(c, team.lane, next);
		while (c < n) {
			int32_t chunk = c;
			for (int j = 0; j < LANE_TOKENS; j++) x[j] = next[j];
			c += step, k += at_step;
			skip();
			if (c < n) row.load(c, team.lane, next); /* in flight while this chunk is processed */
			if (raw)
				for (int j = 0; j < LANE_TOKENS; j++) x[j] = fg_clean(x[j]);
			else row.adjust(chunk, team.lane, x);
			visit(chunk, x);
		}
	}
};

} // namespace fg

#endif
