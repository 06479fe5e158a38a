/*
 * sampling.c - which sampling parameters are accepted, by both libraries.
 */
#include "sampling.h"

#include "error.h"

#include <float.h>
#include <math.h>

/* The index of the first id that is not in the vocabulary, or -1. */
static int64_t find_foreign(const int32_t *ids, int64_t n, int32_t vocab_size) {
	for (int64_t i = 0; i < n; i++)
		if (ids[i] < 0 || ids[i] >= vocab_size) return i;
	return -1;
}

bool fg_sampling_penalizes(const fg_sampling *s) {
	return s->repetition_penalty != 1.0f || s->presence_penalty != 0.0f || s->frequency_penalty != 0.0f;
}

fg_status fg_sampling_check(const fg_sampling *s, int32_t vocab_size) {
#define REFUSE(...) return fg_fail(FG_INVALID, __VA_ARGS__)
	if (vocab_size < 1) REFUSE("vocab_size is %d: it must be at least 1", vocab_size);
	if (!s) REFUSE("sampling is NULL: pass the slot's sampling parameters");
	/* Each comparison is written so that NaN fails it. */
	if (!(s->temperature >= 0 && s->temperature <= FLT_MAX))
		REFUSE("temperature is %g: it must be finite and at least 0 (0 = greedy)", (double)s->temperature);
	if (!(s->top_p > 0 && s->top_p <= 1)) REFUSE("top_p is %g: it must be in (0, 1]", (double)s->top_p);
	if (!(s->min_p >= 0 && s->min_p <= 1)) REFUSE("min_p is %g: it must be in [0, 1]", (double)s->min_p);
	if (s->top_k < 0) REFUSE("top_k is %d: it must be at least 0 (0 = off)", s->top_k);
	if (!(s->repetition_penalty > 0 && s->repetition_penalty <= FLT_MAX))
		REFUSE("repetition_penalty is %g: it must be finite and above 0 (1 = off)", (double)s->repetition_penalty);
	if (!isfinite(s->presence_penalty))
		REFUSE("presence_penalty is %g: it must be finite (0 = off)", (double)s->presence_penalty);
	if (!isfinite(s->frequency_penalty))
		REFUSE("frequency_penalty is %g: it must be finite (0 = off)", (double)s->frequency_penalty);
	if (s->logprobs_mode != FG_RAW_LOGPROBS && s->logprobs_mode != FG_PROCESSED_LOGPROBS)
		REFUSE("logprobs_mode is %d: it must be %d (raw) or %d (processed)", s->logprobs_mode, FG_RAW_LOGPROBS,
		       FG_PROCESSED_LOGPROBS);
	if (s->reserved) REFUSE("reserved is %d: it must be 0", s->reserved);
	if (s->min_context < 0) REFUSE("min_context is %d: it must be at least 0", s->min_context);

	int64_t i;
	if (s->n_stop_ids < 0 || s->n_stop_ids > FG_MAX_STOP_IDS)
		REFUSE("n_stop_ids is %d: it must be 0 to %d", s->n_stop_ids, FG_MAX_STOP_IDS);
	if (s->n_stop_ids > 0 && !s->stop_ids) REFUSE("stop_ids is NULL but n_stop_ids is %d", s->n_stop_ids);
	if ((i = find_foreign(s->stop_ids, s->n_stop_ids, vocab_size)) >= 0)
		REFUSE("stop_ids[%d] is %d: it must be in [0, %d), the vocabulary", (int)i, s->stop_ids[i], vocab_size);

	if (s->n_bias < 0 || s->n_bias > FG_MAX_LOGIT_BIAS)
		REFUSE("n_bias is %d: it must be 0 to %d", s->n_bias, FG_MAX_LOGIT_BIAS);
	if (s->n_bias > 0 && (!s->bias_ids || !s->bias)) REFUSE("bias_ids or bias is NULL but n_bias is %d", s->n_bias);
	if ((i = find_foreign(s->bias_ids, s->n_bias, vocab_size)) >= 0)
		REFUSE("bias_ids[%d] is %d: it must be in [0, %d), the vocabulary", (int)i, s->bias_ids[i], vocab_size);
	for (i = 0; i < s->n_bias; i++)
		if (!isfinite(s->bias[i])) REFUSE("bias[%d] is %g: it must be finite", (int)i, (double)s->bias[i]);

	if (s->n_prompt < 0 || s->n_output < 0)
		REFUSE("n_prompt is %d and n_output is %d: they must be at least 0", s->n_prompt, s->n_output);
	int64_t n_history = (int64_t)s->n_prompt + s->n_output;
	if (fg_sampling_penalizes(s) && n_history > 0) {
		if (!s->history) REFUSE("history is NULL: a penalty is on, so it must hold the tokens so far");
		if ((i = find_foreign(s->history, n_history, vocab_size)) >= 0)
			REFUSE("history[%lld] is %d: it must be in [0, %d), the vocabulary", (long long)i, s->history[i],
			       vocab_size);
	}
	return FG_OK;
#undef REFUSE
}
