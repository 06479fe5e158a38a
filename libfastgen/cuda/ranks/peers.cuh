/*
 * peers.cuh - sums over the GPUs of an engine, in which each GPU reads the others' memory itself: one kernel and one
 * crossing of the link ("one-shot" all-reduce), where NCCL's rings and trees need several.
 *
 * The kernels meet: each writes into a flag in the others' memory how many meetings it has come to, and waits for their
 * flags. A kernel that leaves a meeting knows that all ranks have finished what they did before it. So a rank may write
 * to what it shared for one meeting after the next meeting; it shares two buffers in turn.
 */
#ifndef FG_PEERS_CUH
#define FG_PEERS_CUH

#include "../device.cuh"

namespace fg {

constexpr int MOST_PEERS = 8; /* ranks, this one included */

/* What other ranks read of a rank's device memory. */
struct SharedMemory {
	bf16 *addend[2]; /* [most elements of a sum]: this rank's terms, used in turn */
	int32_t *tokens; /* [slots]: what was sampled last */
	/* [PEER_FLAGS], zeroed at first: [MOST_PEERS] how many meetings each rank has come to; the meetings that this rank
	 * has counted; how many blocks have read that count in the current meeting */
	uint32_t *flags;
};
constexpr int PEER_FLAGS = MOST_PEERS + 2;

struct Peers {
	SharedMemory memory[MOST_PEERS]; /* of every rank */
	int32_t count, rank;
};

/* Whether kernels on these devices can meet: each device can read every other's memory, and NCCL_P2P_DISABLE=1, by
 * which NCCL is told not to, is not set. */
bool can_be_peers(const int32_t *devices, int32_t count);

/* On every rank, in the same order. residual [n] += the sum over the ranks of addend[turn] [n], in float32 and in the
 * order of the ranks, so that all ranks have the same bits. n is a multiple of 8. Enqueued; returns the launch's
 * error. */
cudaError_t add_peers(const Peers &peers, int turn, bf16 *residual, size_t n, cudaStream_t stream);

/* On every rank, in the same order. tokens [n] become those of rank 0. Enqueued; returns the launch's error. */
cudaError_t follow_first_peer(const Peers &peers, int32_t n, cudaStream_t stream);

} // namespace fg

#endif
