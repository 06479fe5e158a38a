/* See nccl.cuh. */
#include "nccl.cuh"
#include "../libraries.h"

#include <cstdlib>
#include <dlfcn.h>
#include <iterator>

namespace fg {

namespace {

/* Of NCCL's ABI what is used here, which has been the same since 2.10. */
constexpr int OK = 0, INT32 = 2, BF16 = 9, SUM = 0;
const char *const WHAT = "NCCL 2.18 or newer (`pip install nvidia-nccl-cu13`)";
constexpr int OLDEST = 21800; /* 2.18: graphs that span several ranks of one process */

/* Multicast in the switch has crashed drivers, and does not speed up small sums. This is said as the library is opened:
 * later, threads of other ranks and engines read the environment, which nobody may change then. */
[[gnu::constructor]] void forgo_multicast() {
	setenv("NCCL_NVLS_ENABLE", "0", 0);
}

} // namespace

fg_status Nccl::check(int result, const char *what) const {
	return result == OK ? FG_OK : fg_fail(FG_DEVICE, "NCCL failed in %s: %s", what, error(result));
}

fg_status Nccl::open() {
	static const char *const names[] = {"libnccl.so.2", "libnccl.so", nullptr};
	const fg_function functions[] = {
		{(void **)&version, "ncclGetVersion"},   {(void **)&unique_id, "ncclGetUniqueId"},
		{(void **)&init, "ncclCommInitRank"},    {(void **)&destroy, "ncclCommDestroy"},
		{(void **)&all_reduce, "ncclAllReduce"}, {(void **)&broadcast, "ncclBroadcast"},
		{(void **)&error, "ncclGetErrorString"},
	};
	library = fg_open_library(names, WHAT, functions, (int)std::size(functions));
	if (!library) return FG_UNSUPPORTED;
	int found = 0;
	if (version(&found) != OK || found < OLDEST)
		return fg_fail(FG_UNSUPPORTED, "the NCCL that was found is version %d.%d; install %s", found / 10000,
		               found / 100 % 100, WHAT);
	return FG_OK;
}

fg_status Nccl::make_id(NcclId *id) {
	return check(unique_id(id), "making an id");
}

fg_status Nccl::join(int32_t ranks, int32_t rank, const NcclId &id) {
	return check(init(&comm, ranks, id, rank), "joining the devices");
}

void Nccl::close() {
	if (comm) destroy(comm);
	if (library) dlclose(library);
	comm = library = nullptr;
}

fg_status Nccl::sum(bf16 *data, size_t n, cudaStream_t stream) {
	return check(all_reduce(data, data, n, BF16, SUM, comm, stream), "a sum");
}

fg_status Nccl::follow_first(int32_t *data, size_t n, cudaStream_t stream) {
	return check(broadcast(data, data, n, INT32, 0, comm, stream), "a broadcast");
}

} // namespace fg
