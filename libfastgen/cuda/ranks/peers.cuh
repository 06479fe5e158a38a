/*
 * peers.cuh - sums over the memory of the other GPUs of an engine, which each reads for itself: one kernel and one
 * crossing of the link ("one-shot" all-reduce), where NCCL's rings and trees take several.
 *
 * The kernels meet: each tells the others through a flag in their memory how often it has come, and waits for theirs.
 * Whoever leaves a meeting knows that all have ended what they did before it. So what a rank shares for a meeting it
 * may write again after the next one, and shares two buffers in turn.
 */
#ifndef FG_PEERS_CUH
#define FG_PEERS_CUH

#include "../device.cuh"

namespace fg {

constexpr int MOST_PEERS = 8; /* ranks, this one included */

/* What others see of a rank, in its device memory. */
struct SharedMemory {
	bf16 *addend[2]; /* this rank's terms of sums, used in turn: [the most that is summed] */
	int32_t *tokens; /* what was sampled last: [slots] */
	/* [PEER_FLAGS], zeroed: the last meeting that each rank has come to; how many there were, as this rank counts them;
	 * the blocks that have counted the current one */
	uint32_t *flags;
};
constexpr int PEER_FLAGS = MOST_PEERS + 2;

struct Peers {
	SharedMemory memory[MOST_PEERS]; /* of every rank */
	int32_t count, rank;
};

/* Whether there may be kernels that meet: each of these devices can read every other's memory, and NCCL_P2P_DISABLE=1,
 * which tells NCCL not to, does not say that it must not. */
bool can_be_peers(const int32_t *devices, int32_t count);

/* On every rank, in the same order. residual [n] += the sum over the ranks of addend[turn] [n], in float32 and in the
 * order of the ranks, so that it is the same to the bit on each; n: a multiple of 8. Enqueued; returns the launch's
 * error. */
cudaError_t add_peers(const Peers &peers, int turn, bf16 *residual, size_t n, cudaStream_t stream);

/* On every rank, in the same order. tokens [n] become rank 0's. Enqueued; returns the launch's error. */
cudaError_t follow_first_peer(const Peers &peers, int32_t n, cudaStream_t stream);

} // namespace fg

#endif
