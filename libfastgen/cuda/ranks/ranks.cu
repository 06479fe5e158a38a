/* See ranks.cuh. */
#include "../context.cuh"

#include <condition_variable>
#include <cstdio>
#include <mutex>

namespace fg {

namespace {

/* The most bytes of a sum of three or more ranks that each reads from every other one: for larger sums NCCL moves less.
 * Two ranks move the same either way. */
constexpr size_t MOST_FROM_EACH = 512 << 10;

} // namespace

/* Where the threads of an engine's ranks wait for each other, and what they leave for each other. There is a fixed
 * number of them: a rank that found no memory for one would leave the others waiting for it. */
struct Meeting {
	/* Whose it is, and how many of its ranks have joined; 0: nobody's. Under the pool's mutex. */
	const fg_config *config = nullptr;
	int users = 0;

	std::mutex mutex;
	std::condition_variable all_here;
	int here = 0, times = 0;
	struct {
		fg_status status;
		char text[FG_ERROR_BYTES];
	} failure = {}, result = {}; /* the first failure of those who are here; that of the last meeting */

	SharedMemory memory[FG_MAX_RANKS] = {}; /* each rank writes its own */
	NcclId nccl_id = {};

	fg_status meet(fg_status status) {
		std::unique_lock<std::mutex> lock(mutex);
		if (status && !failure.status) {
			failure.status = status;
			snprintf(failure.text, sizeof failure.text, "%s", fg_error());
		}
		if (++here == config->options.n_devices) {
			result = failure, failure = {};
			here = 0, times++;
			all_here.notify_all();
		} else {
			const int now = times;
			all_here.wait(lock, [&] { return times != now; });
		}
		return result.status ? fg_fail(result.status, "%s", result.text) : FG_OK;
	}
};

namespace {

/* Engines of several ranks that a process may have at once: more than there are GPUs in any machine. */
constexpr int MOST_ENGINES = 64;

struct {
	std::mutex mutex;
	Meeting meetings[MOST_ENGINES];
} pool;

/* Joins the meeting of an engine: all its ranks hold the same configuration. NULL where there are too many engines. */
Meeting *join(const fg_config *config) {
	const std::lock_guard<std::mutex> lock(pool.mutex);
	Meeting *found = nullptr;
	for (Meeting &m : pool.meetings) {
		if (m.users > 0 && m.config == config) return m.users++, &m;
		if (m.users == 0 && !found) found = &m;
	}
	if (found) found->config = config, found->users = 1;
	return found;
}

} // namespace

Ranks::~Ranks() {
	if (!meeting) return;
	const std::lock_guard<std::mutex> lock(pool.mutex);
	meeting->users--;
}

fg_status Ranks::meet(fg_status status) {
	return n == 1 ? status : meeting->meet(status);
}

fg_status Ranks::open(const fg_config *config, int32_t of, fg_status status) {
	n = config->options.n_devices, rank = of;
	if (n == 1) return status;
	meeting = join(config);
	if (!meeting)
		return fg_fail(FG_UNSUPPORTED, "%d engines of several GPUs are open; close one, or use several processes",
		               MOST_ENGINES);
	through_peers = can_be_peers(config->options.devices, n);
	through_nccl = !through_peers || n > 2;
	if (through_nccl) {
		if (!status) status = nccl.open();
		if (!status && rank == 0) status = nccl.make_id(&meeting->nccl_id);
		status = meet(status);
		if (!status) status = nccl.join(n, rank, meeting->nccl_id);
	}
	return meet(status);
}

void Ranks::share(const SharedMemory &memory) {
	own = memory;
	if (n > 1) meeting->memory[rank] = memory;
}

fg_status Ranks::connect(fg_status status, cudaStream_t stream) {
	if (n == 1) return status;
	cudaError_t error = cudaStreamSynchronize(stream); /* until the shared memory is zeroed */
	for (int32_t r = 0; r < n && through_peers && error == cudaSuccess; r++) {
		if (r != rank) error = cudaDeviceEnablePeerAccess(meeting->config->options.devices[r], 0);
		if (error == cudaErrorPeerAccessAlreadyEnabled) error = cudaSuccess, cudaGetLastError();
	}
	if (!status && error != cudaSuccess) status = cuda_fail(error, "connecting the devices");
	status = meet(status);
	peers.count = n, peers.rank = rank;
	for (int32_t r = 0; r < n && through_peers; r++) peers.memory[r] = meeting->memory[r];
	/* NCCL connects in its first calls, which must not happen while a graph is captured. */
	if (!status && through_nccl) {
		status = nccl.sum(own.addend[0], 1, stream);
		if (!status) status = nccl.follow_first(own.tokens, 1, stream);
		error = cudaStreamSynchronize(stream);
		if (!status && error != cudaSuccess) status = cuda_fail(error, "the first sum over the devices");
	}
	status = meet(status);
	connected = status == FG_OK;
	return status;
}

void Ranks::close() {
	nccl.close();
	/* Kernels of other ranks may still read this one's memory. */
	if (connected) meet(FG_OK);
}

fg_status Ranks::sum(bf16 *residual, size_t count, bool *added, cudaStream_t stream) {
	*added = through_peers && (n == 2 || count * sizeof(bf16) <= MOST_FROM_EACH);
	if (!*added) return nccl.sum(own.addend[turn], count, stream);
	cudaError_t error = add_peers(peers, turn, residual, count, stream);
	return error == cudaSuccess ? FG_OK : cuda_fail(error, "a sum over the devices");
}

fg_status Ranks::follow_first(int32_t count, cudaStream_t stream) {
	if (!through_peers) return nccl.follow_first(own.tokens, (size_t)count, stream);
	cudaError_t error = follow_first_peer(peers, count, stream);
	return error == cudaSuccess ? FG_OK : cuda_fail(error, "passing on what was sampled");
}

} // namespace fg
