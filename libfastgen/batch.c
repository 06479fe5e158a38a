/*
 * batch.c - a step with what every op needs to know, token by token and row by row; and what it has computed.
 */
#include "engine.h"

#include <stdlib.h>
#include <string.h>

/* A batch is one block of memory: the struct, then its arrays. `layout` runs twice: once to measure, once to hand out
 * addresses. */
typedef struct {
	char *base; /* NULL while measuring */
	size_t used;
} arena;

static void *take(arena *a, size_t count, size_t bytes) {
	size_t at = (a->used + 63) & ~(size_t)63;
	a->used = at + count * bytes;
	return a->base ? a->base + at : NULL;
}

typedef struct {
	size_t rows, logits_rows;
	int any_top;
} row_counts;

static int32_t seq_rows(const fg_step_seq *q) {
	return q->flags & FG_SCORE ? q->n_new : q->flags & FG_SAMPLE ? 1 : 0;
}

static row_counts count_rows(const fg_step *s) {
	row_counts c = {0};
	for (int32_t i = 0; i < s->n_seqs; i++) {
		size_t rows = (size_t)seq_rows(&s->seqs[i]);
		c.rows += rows;
		if (s->seqs[i].flags & FG_LOGITS) c.logits_rows += rows;
		if (rows && s->seqs[i].n_logprobs > 0) c.any_top = 1;
	}
	return c;
}

typedef struct {
	fg_batch *batch;
	fg_step_seq *seqs;
	int32_t *first_token, *tokens, *positions, *seq_of;
	fg_row *rows;
	fg_page_update *page_updates;
} arrays;

static arrays layout(arena *a, const fg_step *s, row_counts c, size_t vocab) {
	arrays x;
	size_t n_seqs = (size_t)s->n_seqs, n_tokens = (size_t)s->n_tokens;
	x.batch = take(a, 1, sizeof *x.batch);
	x.seqs = take(a, n_seqs, sizeof *x.seqs);
	x.first_token = take(a, n_seqs, sizeof(int32_t));
	x.tokens = take(a, n_tokens, sizeof(int32_t));
	x.positions = take(a, n_tokens, sizeof(int32_t));
	x.seq_of = take(a, n_tokens, sizeof(int32_t));
	x.rows = take(a, c.rows, sizeof *x.rows);
	x.page_updates = take(a, (size_t)s->n_page_updates, sizeof *x.page_updates);
	fg_fill *fills = take(a, (size_t)s->n_fills, sizeof *fills);
	fg_output out = {0};
	out.ids = take(a, c.rows, sizeof(int32_t));
	out.logprobs = take(a, c.rows, sizeof(float));
	out.ranks = take(a, c.rows, sizeof(int32_t));
	size_t top = c.any_top ? c.rows * FG_MAX_LOGPROBS : 0;
	out.top_ids = take(a, top, sizeof(int32_t));
	out.top_logprobs = take(a, top, sizeof(float));
	out.logits = take(a, c.logits_rows * vocab, sizeof(float));
	if (!top) out.top_ids = NULL, out.top_logprobs = NULL;
	if (!c.logits_rows) out.logits = NULL;
	if (a->base) {
		*x.batch = (fg_batch){
			.n_seqs = s->n_seqs,
			.n_tokens = s->n_tokens,
			.n_rows = (int32_t)c.rows,
			.n_page_updates = s->n_page_updates,
			.n_fills = 0, /* counted as their samplers are made */
			.seqs = x.seqs,
			.first_token = x.first_token,
			.tokens = x.tokens,
			.positions = x.positions,
			.seq_of = x.seq_of,
			.rows = x.rows,
			.page_updates = x.page_updates,
			.fills = fills,
			.out = out,
		};
	}
	return x;
}

static void copy_array(void *to, const void *from, size_t bytes) {
	if (bytes) memcpy(to, from, bytes);
}

/* Fills in the arrays by token and by row, and where each sequence's tokens begin. */
static void expand(arrays x, const fg_step *s) {
	int32_t token = 0, row = 0, logits_row = 0;
	for (int32_t i = 0; i < s->n_seqs; i++) {
		const fg_step_seq *q = &s->seqs[i];
		x.first_token[i] = token;
		for (int32_t j = 0; j < q->n_new; j++) {
			x.positions[token + j] = q->context - q->n_new + j;
			x.seq_of[token + j] = i;
		}
		int32_t n = seq_rows(q);
		for (int32_t j = q->n_new - n; j < q->n_new; j++) {
			int last = j == q->n_new - 1, samples = last && (q->flags & FG_SAMPLE);
			x.rows[row++] = (fg_row){
				.token = token + j,
				.slot = q->slot,
				.position = q->context - q->n_new + j + 1,
				.target = samples ? -1
				          : last  ? q->next_token
				                  : s->tokens[token + j + 1],
				.n_logprobs = q->n_logprobs,
				.mask = samples ? q->mask : -1,
				.logits_row = q->flags & FG_LOGITS ? logits_row++ : -1,
			};
		}
		token += q->n_new;
	}
}

/* The masks that came with the step are ready; the late ones are missing. */
static void copy_masks(fg_mask_rows to, const fg_step *s, int32_t vocab_size) {
	size_t words = fg_mask_words(vocab_size);
	for (int32_t i = 0; i < s->n_masks + s->n_late_masks; i++) {
		int late = i >= s->n_masks;
		if (!late) memcpy(to.words + (size_t)i * to.stride, s->masks + (size_t)i * words, words * sizeof *s->masks);
		__atomic_store_n(&to.state[i], late ? FG_MASK_MISSING : FG_MASK_READY, __ATOMIC_RELEASE);
	}
}

fg_batch *fg_batch_new(const fg_ops *ops, const fg_config *config, const fg_step *s, fg_mask_rows masks,
                       fg_status *status) {
	size_t vocab = (size_t)config->shape.vocab_size;
	row_counts counts = count_rows(s);
	arena a = {0};
	layout(&a, s, counts, vocab);
	a.base = aligned_alloc(64, (a.used + 63) & ~(size_t)63);
	if (!a.base) {
		*status = fg_fail(FG_OUT_OF_MEMORY, "no memory for a step of %d tokens with %zu rows of logits to return",
		                  s->n_tokens, counts.logits_rows);
		return NULL;
	}
	a.used = 0;
	arrays x = layout(&a, s, counts, vocab);
	copy_array(x.seqs, s->seqs, (size_t)s->n_seqs * sizeof *x.seqs);
	copy_array(x.tokens, s->tokens, (size_t)s->n_tokens * sizeof *x.tokens);
	copy_array(x.page_updates, s->page_updates, (size_t)s->n_page_updates * sizeof *x.page_updates);
	copy_masks(masks, s, config->shape.vocab_size);
	x.batch->masks = masks;
	expand(x, s);
	for (int32_t i = 0; i < s->n_fills; i++) {
		fg_fill *fill = &x.batch->fills[i];
		fill->slot = s->fills[i].slot;
		*status = ops->sampler_new(config, &s->fills[i].sampling, &fill->sampler);
		if (*status) {
			fg_fail_slot(*status, fill->slot);
			fg_batch_free(ops, x.batch);
			return NULL;
		}
		x.batch->n_fills++;
	}
	return x.batch;
}

fg_status fg_batch_check_result(const fg_batch *b, const fg_config *config, const fg_result *r) {
	if (!r || (b->n_rows && (!r->ids || !r->logprobs || !r->ranks))) {
		return fg_fail(FG_INVALID, "the result, its ids, logprobs or ranks are NULL");
	}
	if (r->row_capacity < b->n_rows) {
		return fg_fail(FG_INVALID, "the step has %d rows and the result has room for %d", b->n_rows, r->row_capacity);
	}
	if (b->out.top_ids && (!r->top_ids || !r->top_logprobs)) {
		return fg_fail(FG_INVALID, "the step asks for alternatives, and top_ids or top_logprobs is NULL");
	}
	int64_t n_logits = 0;
	for (int32_t i = 0; i < b->n_rows; i++) n_logits += b->rows[i].logits_row >= 0 ? config->shape.vocab_size : 0;
	if (n_logits && (!r->logits || r->logits_capacity < n_logits)) {
		return fg_fail(FG_INVALID, "the step returns %lld logits and the result has room for %lld", (long long)n_logits,
		               (long long)(r->logits ? r->logits_capacity : 0));
	}
	return FG_OK;
}

void fg_batch_copy_result(const fg_batch *b, const fg_config *config, fg_result *r) {
	r->n_rows = b->n_rows;
	r->run_seconds = b->out.run_seconds;
	r->idle_seconds = b->out.idle_seconds;
	r->to_host_seconds = b->out.to_host_seconds;
	r->to_device_seconds = b->out.to_device_seconds;
	size_t vocab = (size_t)config->shape.vocab_size;
	for (int32_t i = 0; i < b->n_rows; i++) {
		const fg_row *row = &b->rows[i];
		r->ids[i] = b->out.ids[i];
		if (row->n_logprobs >= 0) {
			r->logprobs[i] = b->out.logprobs[i];
			r->ranks[i] = b->out.ranks[i];
		}
		if (row->n_logprobs > 0) {
			size_t at = (size_t)i * FG_MAX_LOGPROBS, n = (size_t)row->n_logprobs;
			memcpy(r->top_ids + at, b->out.top_ids + at, n * sizeof *r->top_ids);
			memcpy(r->top_logprobs + at, b->out.top_logprobs + at, n * sizeof *r->top_logprobs);
		}
		if (row->logits_row >= 0) {
			size_t at = (size_t)row->logits_row * vocab;
			memcpy(r->logits + at, b->out.logits + at, vocab * sizeof *r->logits);
		}
	}
}

void fg_batch_free(const fg_ops *ops, fg_batch *batch) {
	if (!batch) return;
	for (int32_t i = 0; i < batch->n_fills; i++) ops->sampler_free(batch->fills[i].sampler);
	free(batch);
}
