/*
 * sample.h - sampling and log probabilities of one row of logits, on the CPU.
 *
 * Pure functions of their arguments: no global state, no allocation after fg_sampler_new. Different samplers may be
 * used by different threads at once, each thread with its own scratch; one sampler by one thread at a time.
 * The definition of what is drawn, to the bit, is in ../sample_math.h, which the CUDA library shares.
 */
#ifndef FG_SAMPLE_H
#define FG_SAMPLE_H

#include "../fastgen.h"

#include <stddef.h>

/* One sequence's sampling state: its parameters, owned copies of its lists, and its penalty counts (only when a
 * penalty is on: 8 bytes per vocabulary entry). Independent of the slot: make one when a step that fills the slot is
 * submitted, put it in place when that step runs, and free the one it replaces. */
typedef struct fg_sampler fg_sampler;

/* Checks every parameter and copies what it needs. On error *sampler is NULL, and fg_error() says which parameter is
 * wrong and what is allowed. FG_INVALID, FG_OUT_OF_MEMORY. Any thread. Free with fg_sampler_free. */
fg_status fg_sampler_new(const fg_sampling *sampling, int32_t vocab_size, fg_sampler **sampler);

/* NULL is allowed. */
void fg_sampler_free(fg_sampler *sampler);

/* Bytes of scratch that the functions below need; one buffer per thread, aligned to 64, contents irrelevant. */
size_t fg_sample_scratch_bytes(int32_t vocab_size);

/* Samples one token from `logits` [vocab_size] (read only) and counts it for the penalties.
 * mask: [(vocab_size + 31) / 32], bit i set = token i is allowed; NULL = all. Bits past the vocabulary are ignored.
 * position: where the token goes, counted from the start of the sequence: fg_step_seq.context of the step.
 * Returns 0 <= id < vocab_size, or FG_NO_TOKEN when no token can be sampled: the mask (or min_tokens) leaves none, or
 * each token left has the logit NaN or -inf. */
int32_t fg_sampler_sample(fg_sampler *sampler, const float *logits, const uint32_t *mask, int32_t position,
                          void *scratch);

/* What fg_sampler_sample would return under every mask that allows both the returned id and *greatest, the token with
 * the greatest logit after biases and penalties; FG_NO_TOKEN where that cannot be said without the mask. Counts
 * nothing. */
int32_t fg_sampler_foresee(const fg_sampler *sampler, const float *logits, int32_t position, int32_t *greatest,
                           void *scratch);

/* Counts a token that fg_sampler_sample did not return, as if it had. */
void fg_sampler_count(fg_sampler *sampler, int32_t id);

/* The row that the log probabilities of what fg_sampler_sample would sample next are of: `logits` themselves, or with
 * FG_PROCESSED_LOGPROBS the processed logits of ../sample_math.h. The latter lie in `scratch`, where the functions here
 * leave them alone until this one is called again. Arguments as above. */
const float *fg_sampler_reported(const fg_sampler *sampler, const float *logits, const uint32_t *mask, int32_t position,
                                 void *scratch);

/* Log probabilities of a distribution, log_softmax(logits) over the whole vocabulary.
 * logprob: that of token `id`; *rank: 1 + the number of tokens with a greater logit. With id FG_NO_TOKEN they are
 * -INFINITY and 0. top_ids, top_logprobs: [n_top], most probable first, of equal ones the lower id first;
 * both may be NULL when n_top is 0. 0 <= n_top <= FG_MAX_LOGPROBS; entries past the vocabulary are id -1, -INFINITY.
 * NaN logits count as -inf, +inf as FLT_MAX; when every logit is -inf, every log probability is. */
void fg_logprobs(const float *logits, int32_t vocab_size, int32_t id, int32_t n_top, float *logprob, int32_t *rank,
                 int32_t *top_ids, float *top_logprobs, void *scratch);

#endif
