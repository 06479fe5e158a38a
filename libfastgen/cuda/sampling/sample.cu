/*
 * sample.cu - turns a row of logits into a token and log probabilities. ../../sample_math.h defines what is computed;
 * this file and those it includes say how. slots.cu manages the slots.
 */
#include "mask.cuh"
#include "sample.cuh"
#include "select.cuh"

namespace fg {

namespace {

struct Shared {
	TeamShared team;
	SelectShared select;
};

extern __shared__ uint32_t dynamic_shared[]; /* [own chunks of the block]: Chunks::greatest */

/* Step 9 of sample_math.h. Every thread gets the token, or -1. */
__device__ int32_t draw(Team &team, const Row &row, const Chunks &chunks, const Scale &scale, float limit,
                        uint64_t seed, uint32_t position) {
	const float log2_e = 1.44269504f, scaled = log2_e / scale.temperature;
	/* The best score of this warp's tokens so far. It starts below the least that the likeliest token can score. */
	float best = -2.9f;
	uint64_t winner = 0;
	auto wanted = [&](float greatest) {
		float d = scale.distance(greatest);
		return d <= limit && !(FG_GUMBEL_MAX - d < best);
	};
	chunks.each(team, row, wanted, [&](int32_t chunk, const float z[LANE_TOKENS]) {
		uint32_t random[LANE_TOKENS];
		fg_philox(seed, position, chunk * (CHUNK / LANE_TOKENS) + team.lane, random);
		/* A Gumbel number is at most -log(bits / 2^32). A rough value of this bound suffices to reject most tokens. The
		 * slack covers all rounding. A NaN rejects nothing. */
		const float most = 32.01f - best * log2_e;
		float score = best;
#pragma unroll
		for (int j = 0; j < LANE_TOKENS; j++) {
			if (__log2f((float)random[j]) + (scale.zmax - z[j]) * scaled > most) continue;
			float d = scale.distance(z[j]);
			if (!(d <= limit)) continue;
			float s = fg_gumbel(random[j]) - d;
			if (!(s >= score)) continue;
			uint64_t r = ranked(s, chunk * CHUNK + team.lane * LANE_TOKENS + j);
			winner = r > winner ? r : winner;
			score = s;
		}
		if (__any_sync(ALL_LANES, score > best)) best = unordered(__reduce_max_sync(ALL_LANES, ordered(score)));
	});
	winner = team.max(winner);
	return winner ? ranked_index(winner) : -1;
}

/* The lowest id in the chunk with z == zmax. Every thread gets it. */
__device__ int32_t greedy(const Team &team, const Row &row, int32_t chunk, float zmax) {
	float x[LANE_TOKENS];
	row.load(chunk, team.lane, x);
	row.adjust(chunk, team.lane, x);
	uint32_t id = 0x7fffffff;
	for (int j = LANE_TOKENS - 1; j >= 0; j--)
		if (x[j] == zmax) id = chunk * CHUNK + team.lane * LANE_TOKENS + j;
	return (int32_t)__reduce_min_sync(ALL_LANES, id);
}

/* Steps 6 to 9. top: what Chunks::scan returned. Every thread gets the token, or -1 if none can be sampled, and the
 * limit on d of the tokens that were kept. */
__device__ int32_t sample(Team &team, SelectShared &shared, const Row &row, const Chunks &chunks, const SlotParams &p,
                          uint64_t top, int32_t position, float &limit) {
	const Scale scale = {ranked_value(top) + 0.0f, p.temperature};
	limit = -INFINITY;
	if (scale.zmax == -INFINITY) return -1;
	limit = INFINITY;
	if (p.temperature == 0) return greedy(team, row, ranked_index(top), scale.zmax);
	limit = p.min_p_limit;
	if (p.top_k > 0 && p.top_k < row.vocab_size) {
		const uint64_t k = (uint64_t)p.top_k;
		limit = Select<false>{team, shared, row, chunks, scale}.run(limit, [=](uint64_t) { return k; });
	}
	if (p.top_p < 1) {
		const float top_p = p.top_p;
		limit = Select<true>{team, shared, row, chunks, scale}.run(
			limit, [=](uint64_t total) { return fg_top_p_target(top_p, total); });
	}
	return draw(team, row, chunks, scale, limit, p.seed, (uint32_t)position);
}

/* Step 10, in place of the row's logits. top and limit: as sample has them. Every thread sees all of it. */
__device__ void process(const Team &team, const Row &row, const Chunks &chunks, const SlotParams &p, uint64_t top,
                        float limit, float *logits) {
	const Scale scale = {ranked_value(top) + 0.0f, p.temperature == 0 ? 1 : p.temperature};
	if (p.temperature != 0 && p.top_k > 0 && p.top_k < row.vocab_size) limit = fminf(limit, FG_TOP_K_REACH);
	team.sync(); /* greedy reads chunks of other warps */
	chunks.each(
		team, row, [](float) { return true; },
		[&](int32_t chunk, const float z[LANE_TOKENS]) {
			const int32_t id = chunk * CHUNK + team.lane * LANE_TOKENS;
			for (int j = 0; j < LANE_TOKENS && id + j < row.vocab_size; j++) {
				const float d = scale.distance(z[j]);
				logits[id + j] = d <= limit ? -d : -INFINITY;
			}
		});
	team.sync();
}

/* ranked() of a raw logit. NaN ranks as -inf. 0 past the vocabulary. */
__device__ uint64_t rank_of(const Row &row, float x, int32_t id) {
	if (id >= row.vocab_size) return 0;
	return ranked(x > -INFINITY ? fg_clean(x) : -INFINITY, id);
}

/* The greatest of the lanes' values. All lanes get it. */
__device__ uint64_t warp_max(uint64_t x) {
	for (int offset = 16; offset > 0; offset /= 2) {
		uint64_t y = __shfl_xor_sync(ALL_LANES, x, offset);
		x = y > x ? y : x;
	}
	return x;
}

/* The highest ranked() below `bound` in the warp's chunks; 0 if there is none. It is in the chunk with the highest
 * `greatest`, which take keeps up to date. */
__device__ uint64_t best_below(const Team &team, const Row &row, const Chunks &chunks, uint64_t bound) {
	uint64_t best = 0;
	for (int32_t c = chunks.first + team.lane * chunks.step, k = chunks.at + team.lane * chunks.at_step; c < chunks.n;
	     c += 32 * chunks.step, k += 32 * chunks.at_step) {
		uint64_t r = (uint64_t)chunks.greatest[k] << 32 | (uint32_t)~c;
		if (chunks.greatest[k] && r > best) best = r;
	}
	best = warp_max(best);
	if (!best) return 0;
	const int32_t chunk = ranked_index(best);
	float x[LANE_TOKENS];
	row.load(chunk, team.lane, x);
	best = 0;
	for (int j = 0; j < LANE_TOKENS; j++) {
		uint64_t r = rank_of(row, x[j], chunk * CHUNK + team.lane * LANE_TOKENS + j);
		if (r < bound && r > best) best = r;
	}
	return warp_max(best);
}

/* Lowers `greatest` of the chunk that `taken` is from to the greatest logit ranked below `taken`. */
__device__ void take(const Team &team, const Row &row, const Chunks &chunks, uint64_t taken) {
	const int32_t chunk = ranked_index(taken) / CHUNK;
	float x[LANE_TOKENS];
	row.load(chunk, team.lane, x);
	uint32_t left = 0;
	for (int j = 0; j < LANE_TOKENS; j++) {
		uint64_t r = rank_of(row, x[j], chunk * CHUNK + team.lane * LANE_TOKENS + j);
		if (r < taken) left = max(left, (uint32_t)(r >> 32));
	}
	left = __reduce_max_sync(ALL_LANES, left);
	__syncwarp();
	if (team.lane == 0) chunks.greatest[chunks.at + (chunk - chunks.first) / chunks.step * chunks.at_step] = left;
	__syncwarp();
}

/* log_softmax of the raw logits: of `id` (-1: none), with its rank, and of the n_top greatest. `chunks` and `top` are
 * the raw row's; `greatest` is overwritten. */
__device__ void log_probabilities(Team &team, const Row &row, const Chunks &chunks, uint64_t top, int32_t id,
                                  int32_t n_top, float *logprob, int32_t *rank, int32_t *top_ids, float *top_logprobs) {
	const float greatest = ranked_value(top), negligible = 40.0f; /* exp(-40) * 2^20 tokens = 4e-12 */
	const float own = id < 0 ? INFINITY : row.logits[id], chosen = own > -INFINITY ? fg_clean(own) : -INFINITY;
	double sum = 0, above = 0; /* above: tokens with a greater logit than the chosen one */
	chunks.each(
		team, row, [&](float most) { return greatest - most < negligible || most > chosen; },
		[&](int32_t, const float x[LANE_TOKENS]) {
			float e[LANE_TOKENS];
			for (int j = 0; j < LANE_TOKENS; j++) e[j] = fg_exp_neg(greatest - x[j]), above += x[j] > chosen;
			sum += (double)((e[0] + e[1]) + (e[2] + e[3]));
		});
	sum = team.sum(sum), above = team.sum(above);
	const bool writes = team.rank == 0 && threadIdx.x == 0;
	const double log_sum = greatest == -INFINITY || !(writes || n_top) ? 0 : log(sum);
	auto of = [&](float x) { return x > -INFINITY ? (float)((double)x - greatest - log_sum) : -INFINITY; };
	if (writes) {
		*logprob = id < 0 ? -INFINITY : of(chosen);
		*rank = id < 0 ? 0 : 1 + (int32_t)above;
	}

	/* Each warp offers its best logit. The best of all is taken, and its warp looks for its next one. */
	uint64_t held = n_top ? best_below(team, row, chunks, ~0ull) : 0;
	for (int32_t i = 0; i < n_top; i++) {
		const uint64_t taken = team.max(held);
		if (writes) {
			top_ids[i] = taken ? ranked_index(taken) : -1;
			top_logprobs[i] = taken ? of(ranked_value(taken)) : -INFINITY;
		}
		if (taken && taken == held) {
			take(team, row, chunks, taken);
			held = best_below(team, row, chunks, taken);
		}
	}
}

/* One team per row. */
__global__ void __launch_bounds__(MAX_THREADS, 2) sample_kernel(SampleArgs a, SamplerState state) {
	__shared__ Shared shared;
	Team team(shared.team);
	const int32_t i = blockIdx.x / team.size;
	const fg_row r = a.rows[i];
	if (r.slot < 0) return;
	if (team.size > 1) team.sync(); /* no block may write to another's shared memory before that block has started */

	const Slot *slot = state.slots + r.slot;
	const bool writes = team.rank == 0 && threadIdx.x == 0;
	float *logits = a.logits + (size_t)i * state.vocab_size;
	const Row raw = {
		logits,  state.vocab_size, state.vocab_size % LANE_TOKENS == 0 && (uintptr_t)a.logits % sizeof(float4) == 0,
		nullptr, nullptr,          nullptr,
		false};
	const Chunks chunks(team, state.vocab_size, dynamic_shared);
	uint64_t top = 0;
	int32_t id = r.target;
	bool scanned = false; /* whether chunks and top are the raw row's */
	if (id < 0) {
		if (r.mask >= 0) id = a.masks.found[i];
		if (id == FG_NO_TOKEN) {
			Row row = raw;
			const SlotParams &p = slot->params;
			uint16_t *marks = state.marks + (size_t)r.slot * state.mark_stride;
			if (r.mask >= 0) row.mask = mask_copy(a.masks, i);
			row.slot = slot;
			row.hold_stops = p.n_stop > 0 && r.position < p.min_context;
			if (p.penalties || p.n_bias > 0 || row.hold_stops) row.marks = marks;
			top = chunks.scan(team, row);
			scanned = row.raw();
			float limit;
			id = sample(team, shared.select, row, chunks, p, top, r.position, limit);
			if (p.processed && (r.n_logprobs >= 0 || r.logits_row >= 0)) {
				process(team, row, chunks, p, top, limit, logits);
				scanned = false;
			}
			if (p.penalties) {
				team.sync(); /* until all threads have read the marks */
				if (writes && id >= 0 && (marks[id] & MARK_COUNT) < MARK_COUNT) marks[id]++;
			}
		}
		if (writes) a.last_token[r.slot] = id;
	}
	if (writes) a.ids[(size_t)i * a.stride] = id;
	if (r.n_logprobs < 0) return;
	if (!scanned) top = chunks.scan(team, raw);
	const size_t at = (size_t)i * FG_MAX_LOGPROBS;
	log_probabilities(team, raw, chunks, top, id, r.n_logprobs, a.logprobs + (size_t)i * a.stride,
	                  a.ranks + (size_t)i * a.stride, a.top_ids + at, a.top_logprobs + at);
}

/* The launch of n teams. Its shared memory is not set. */
cudaLaunchConfig_t teams_of(int32_t blocks, int32_t n, int threads, cudaLaunchAttribute *cluster) {
	*cluster = {};
	cluster->id = cudaLaunchAttributeClusterDimension;
	cluster->val.clusterDim = {(unsigned)blocks, 1, 1};
	cudaLaunchConfig_t config = {};
	config.gridDim = dim3((unsigned)(n * blocks));
	config.blockDim = dim3((unsigned)threads);
	config.attrs = cluster;
	config.numAttrs = blocks > 1;
	return config;
}

} // namespace

cudaError_t Sampler::run(const SampleArgs &args, cudaStream_t stream) const {
	if (args.n == 0) return cudaSuccess;
	/* As many threads per row as let all rows run at once. A multiprocessor has room for two blocks of MAX_THREADS. */
	const int32_t resident = 2 * state->multiprocessors;
	const int threads = args.n > resident ? MAX_THREADS / 2 : MAX_THREADS;
	int blocks = 1;
	while (blocks < state->max_team && args.n * blocks * 2 <= resident) blocks *= 2;
	const int32_t chunks = (state->vocab_size + CHUNK - 1) / CHUNK, warps = blocks * threads / 32;

	cudaLaunchAttribute cluster;
	cudaLaunchConfig_t config = teams_of(blocks, args.n, threads, &cluster);
	config.dynamicSmemBytes = (size_t)((chunks + warps - 1) / warps * (threads / 32)) * sizeof(uint32_t);
	config.stream = stream;
	mask_kernel<<<args.n, MASK_THREADS, 0, stream>>>(args.rows, args.masks);
	const cudaError_t error = cudaGetLastError();
	if (error != cudaSuccess) return error;
	return cudaLaunchKernelEx(&config, sample_kernel, args, *state);
}

cudaError_t sample_kernel_prepare(int32_t vocab_size, int32_t *max_team) {
	const int32_t chunks = (vocab_size + CHUNK - 1) / CHUNK;
	cudaError_t error = cudaFuncSetAttribute(sample_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
	                                         (chunks + MAX_WARPS) * (int)sizeof(uint32_t));
	for (; error == cudaSuccess && *max_team > 1; *max_team /= 2) {
		cudaLaunchAttribute cluster;
		const cudaLaunchConfig_t config = teams_of(*max_team, 1, MAX_THREADS, &cluster);
		int at_once = 0;
		if (cudaOccupancyMaxActiveClusters(&at_once, sample_kernel, &config) == cudaSuccess && at_once > 0) break;
		cudaGetLastError(); /* too large a cluster is no failure */
	}
	return error;
}

} // namespace fg
