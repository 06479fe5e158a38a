/*
 * ranks.cuh - what the ranks of a tensor-parallel engine have in common: where they meet, and NCCL, which is opened at
 * run time. Each rank holds some heads and some of the intermediate features (Megatron-LM, arXiv:1909.08053), so that
 * what o and down give is a part of a sum over the ranks. Embedding, norms, logits and sampling are not split: rank 0
 * samples, and tells the others.
 */
#ifndef FG_RANKS_CUH
#define FG_RANKS_CUH

extern "C" {
#include "../error.h"
}

#include "device.cuh"

#include <memory>

namespace fg {

struct Meeting;
struct Nccl;

/* One rank's view of all. On the rank's thread. */
class Ranks {
  public:
	/* Joins the other ranks, `count` in all, of the engine that `engine` stands for, once they are all here; `status`:
	 * whether this rank has got so far. Opens NCCL. On failure of any rank they all fail, each with a message. One rank
	 * alone needs none of this. */
	fg_status open(const void *engine, int32_t count, int32_t rank, fg_status status);
	void close();
	/* Waits for the others. Fails if any of them ever came with a failure: so nobody waits for one who has given up. */
	fg_status meet(fg_status status);

	int32_t count() const {
		return n;
	}
	/* data [n] becomes the sum over the ranks, the same bits in each; enqueued. */
	fg_status sum(bf16 *data, size_t n, cudaStream_t stream);
	/* data [n] becomes rank 0's; enqueued. */
	fg_status follow_first(int32_t *data, size_t n, cudaStream_t stream);

  private:
	int32_t n = 1;
	std::shared_ptr<Meeting> meeting;
	std::shared_ptr<Nccl> nccl;
	void *comm = nullptr;
};

} // namespace fg

#endif
