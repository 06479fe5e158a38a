/*
 * ranks.cuh - what the ranks of a tensor-parallel engine have in common: where they meet, and how they add up. Each
 * holds some heads and some of the intermediate features (Megatron-LM, arXiv:1909.08053), so that what o and down give
 * is one term of a sum over the ranks. Embedding, norms, logits and sampling are not split: rank 0 samples, and tells
 * the others.
 */
#ifndef FG_RANKS_CUH
#define FG_RANKS_CUH

#include "../ops.cuh"
#include "nccl.cuh"
#include "peers.cuh"

#include <memory>

namespace fg {

struct Meeting;

/* One rank's view of all. On the rank's thread. */
class Ranks {
  public:
	/* Joins the other ranks of the engine that has this configuration, one for each of its devices, once they are all
	 * here; `status`: whether this rank has got so far. Opens NCCL where it is needed. Where one rank fails they all
	 * do, with its message. One rank alone needs none of this. */
	fg_status open(const fg_config *config, int32_t rank, fg_status status);
	/* This rank's memory, which must live until close is over. Before connect. */
	void share(const SharedMemory &memory);
	/* Makes the ranks known to each other; `status` as for open. Whatever waits for a device to be idle, as allocating
	 * and pinning may, must not meet a sum for which another rank is waiting: from here on call meet around it. */
	fg_status connect(fg_status status, cudaStream_t stream);
	void close();
	/* Waits for the others. Where one comes with a failure they all leave with it: nobody waits for one who has given
	 * up. */
	fg_status meet(fg_status status);

	int32_t count() const {
		return n;
	}
	/* The next term goes to the first addend again: all ranks must agree on the turn. */
	void first_turn() {
		turn = 1;
	}
	/* Where this rank's term of the next sum goes. */
	bf16 *next_addend() {
		return own.addend[turn ^= 1];
	}
	/* The sum over the ranks of the last addend's first `n` elements, a multiple of 8, the same bits on each: added to
	 * residual [n], or else left in the addend, as *added says. Enqueued. */
	fg_status sum(bf16 *residual, size_t n, bool *added, cudaStream_t stream);
	/* The first n shared tokens become rank 0's. Enqueued. */
	fg_status follow_first(int32_t n, cudaStream_t stream);

  private:
	int32_t n = 1, rank = 0, turn = 1;
	bool through_peers = false, through_nccl = false, connected = false;
	std::shared_ptr<Meeting> meeting;
	SharedMemory own = {};
	Peers peers = {};
	Nccl nccl;
};

} // namespace fg

#endif
