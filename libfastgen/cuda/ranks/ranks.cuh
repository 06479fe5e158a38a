/*
 * ranks.cuh - how the ranks of a tensor-parallel engine meet and add up. Each holds some heads and some of the
 * intermediate features (Megatron-LM, arXiv:1909.08053), so that o and down make one term each of a sum over the ranks.
 * Embedding, norms, logits and sampling are not split: rank 0 samples and passes on what it sampled.
 */
#ifndef FG_RANKS_CUH
#define FG_RANKS_CUH

#include "../ops.cuh"
#include "nccl.cuh"
#include "peers.cuh"

namespace fg {

struct Meeting;

/* All ranks, as one of them sees them. On that rank's thread. */
class Ranks {
  public:
	Ranks() = default;
	Ranks(const Ranks &) = delete;
	~Ranks();
	/* Joins the other ranks of the engine with this configuration, one per device, and returns once all are here.
	 * `status`: FG_OK, or what has failed on this rank so far. Opens NCCL if it is needed. If one rank fails they all
	 * fail, with its message. An engine of one rank needs none of this. */
	fg_status open(const fg_config *config, int32_t rank, fg_status status);
	/* Sets this rank's memory, which must live until close returns. Before connect. */
	void share(const SharedMemory &memory);
	/* Makes the ranks' memory known to all of them; `status` as for open. Calls that wait for a device to be idle, as
	 * allocating and pinning may, must not meet a sum for which another rank is waiting: from here on, call meet before
	 * and after them. */
	fg_status connect(fg_status status, cudaStream_t stream);
	void close();
	/* Waits for the other ranks. If one of them comes with a failure, all leave with it, so that nobody waits for a
	 * rank that has given up. */
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
	/* Sums the last addend's first n elements over the ranks, with the same bits on each. The sum is added to
	 * residual [n], or left in the addend: *added says which. n is a multiple of 8. Enqueued. */
	fg_status sum(bf16 *residual, size_t n, bool *added, cudaStream_t stream);
	/* The first n shared tokens become those of rank 0. Enqueued. */
	fg_status follow_first(int32_t n, cudaStream_t stream);

  private:
	int32_t n = 1, rank = 0, turn = 1;
	bool through_peers = false, through_nccl = false, connected = false;
	Meeting *meeting = nullptr;
	SharedMemory own = {};
	Peers peers = {};
	Nccl nccl;
};

} // namespace fg

#endif
