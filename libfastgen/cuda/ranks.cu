/* See ranks.cuh. */
#include "ranks.cuh"
#include "libraries.h"

#include <condition_variable>
#include <cstdlib>
#include <dlfcn.h>
#include <map>
#include <mutex>

namespace fg {

namespace {

/* The part of NCCL's ABI that is used, which has been the same since 2.10. */
struct UniqueId {
	char internal[128];
};
constexpr int NCCL_OK = 0, NCCL_INT32 = 2, NCCL_BF16 = 9, NCCL_SUM = 0;
constexpr int OLDEST = 21800; /* 2.18: graphs of several ranks in one process */

} // namespace

struct Nccl {
	void *library = nullptr;
	int (*version)(int *);
	int (*unique_id)(UniqueId *);
	int (*init)(void **comm, int ranks, UniqueId id, int rank);
	int (*destroy)(void *comm);
	int (*all_reduce)(const void *, void *, size_t, int type, int op, void *comm, cudaStream_t);
	int (*broadcast)(const void *, void *, size_t, int type, int root, void *comm, cudaStream_t);
	const char *(*error)(int);

	~Nccl() {
		if (library) dlclose(library);
	}

	fg_status open() {
		static const char *const names[] = {"libnccl.so.2", "libnccl.so", nullptr};
		library = fg_open_library(names, "nvidia-nccl-cu13");
		if (!library) return FG_UNSUPPORTED;
		struct {
			void **function;
			const char *name;
		} wanted[] = {{(void **)&version, "ncclGetVersion"},   {(void **)&unique_id, "ncclGetUniqueId"},
		              {(void **)&init, "ncclCommInitRank"},    {(void **)&destroy, "ncclCommDestroy"},
		              {(void **)&all_reduce, "ncclAllReduce"}, {(void **)&broadcast, "ncclBroadcast"},
		              {(void **)&error, "ncclGetErrorString"}};
		for (auto &w : wanted) {
			*w.function = dlsym(library, w.name);
			if (!*w.function)
				return fg_fail(FG_UNSUPPORTED, "the NCCL that was found has no %s; `pip install nvidia-nccl-cu13`",
				               w.name);
		}
		int found = 0;
		if (version(&found) != NCCL_OK || found < OLDEST)
			return fg_fail(FG_UNSUPPORTED,
			               "the NCCL that was found is version %d.%d; 2.18 or newer is needed: `pip install "
			               "nvidia-nccl-cu13`",
			               found / 10000, found / 100 % 100);
		return FG_OK;
	}

	fg_status check(int result, const char *what) const {
		return result == NCCL_OK ? FG_OK : fg_fail(FG_DEVICE, "NCCL failed in %s: %s", what, error(result));
	}
};

struct Meeting {
	std::mutex mutex;
	std::condition_variable all_here;
	int n, here = 0, times = 0;
	bool failed = false;
	UniqueId id = {};

	explicit Meeting(int n) : n(n) {
	}

	bool meet(bool ok) {
		std::unique_lock<std::mutex> lock(mutex);
		failed = failed || !ok;
		if (++here == n) {
			here = 0, times++;
			all_here.notify_all();
		} else {
			const int now = times;
			all_here.wait(lock, [&] { return times != now; });
		}
		return !failed;
	}

	static std::shared_ptr<Meeting> of(const void *engine, int n) {
		static std::mutex mutex;
		static std::map<const void *, std::weak_ptr<Meeting>> meetings;
		std::lock_guard<std::mutex> lock(mutex);
		std::shared_ptr<Meeting> meeting = meetings[engine].lock();
		if (!meeting) meetings[engine] = meeting = std::make_shared<Meeting>(n);
		return meeting;
	}
};

fg_status Ranks::meet(fg_status status) {
	if (n == 1 || meeting->meet(status == FG_OK)) return status;
	return status ? status : fg_fail(FG_DEVICE, "another device of the engine failed");
}

fg_status Ranks::open(const void *engine, int32_t count, int32_t rank, fg_status status) {
	n = count;
	if (n == 1) return status;
	meeting = Meeting::of(engine, n);
	nccl = std::make_shared<Nccl>();
	if (!status) status = nccl->open();
	/* Multicast in the switch has brought down drivers, and small sums are no faster for it. */
	setenv("NCCL_NVLS_ENABLE", "0", 0);
	if (!status && rank == 0) status = nccl->check(nccl->unique_id(&meeting->id), "making an id");
	status = meet(status);
	if (!status) status = nccl->check(nccl->init(&comm, n, meeting->id, rank), "joining the devices");
	return meet(status);
}

void Ranks::close() {
	if (comm) nccl->destroy(comm);
	comm = nullptr;
}

fg_status Ranks::sum(bf16 *data, size_t count, cudaStream_t stream) {
	return nccl->check(nccl->all_reduce(data, data, count, NCCL_BF16, NCCL_SUM, comm, stream), "a sum");
}

fg_status Ranks::follow_first(int32_t *data, size_t count, cudaStream_t stream) {
	return nccl->check(nccl->broadcast(data, data, count, NCCL_INT32, 0, comm, stream), "a broadcast");
}

} // namespace fg
