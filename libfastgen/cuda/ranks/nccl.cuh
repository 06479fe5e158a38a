/*
 * nccl.cuh - NCCL, opened at run time: sums and broadcasts over the GPUs of an engine.
 */
#ifndef FG_NCCL_CUH
#define FG_NCCL_CUH

extern "C" {
#include "../../error.h"
}

#include "../device.cuh"

namespace fg {

/* ncclUniqueId: by which the ranks of a communicator find each other. */
struct NcclId {
	char internal[128];
};

/* One rank of a communicator. On the rank's thread; errors are NCCL's own words. */
class Nccl {
  public:
	/* Finds the library. FG_UNSUPPORTED, saying what to install, if it is absent or too old. */
	fg_status open();
	fg_status make_id(NcclId *id);
	/* Returns once all ranks have called it. */
	fg_status join(int32_t ranks, int32_t rank, const NcclId &id);
	/* To be called by all ranks. */
	void close();

	/* data [n] becomes the sum over the ranks, with the same bits on each; enqueued. */
	fg_status sum(bf16 *data, size_t n, cudaStream_t stream);
	/* data [n] becomes that of rank 0; enqueued. */
	fg_status follow_first(int32_t *data, size_t n, cudaStream_t stream);

  private:
	fg_status check(int result, const char *what) const;

	void *library = nullptr, *comm = nullptr;
	int (*version)(int *);
	int (*unique_id)(NcclId *);
	int (*init)(void **comm, int ranks, NcclId id, int rank);
	int (*destroy)(void *comm);
	int (*all_reduce)(const void *, void *, size_t, int type, int op, void *comm, cudaStream_t);
	int (*broadcast)(const void *, void *, size_t, int type, int root, void *comm, cudaStream_t);
	const char *(*error)(int);
};

} // namespace fg

#endif
