/*
 * slots.c - what is known of each slot, and the check of a step against it.
 */
#include "engine.h"

#include <stdlib.h>
#include <string.h>

fg_status fg_slots_init(fg_slots *slots, const fg_config *config) {
	size_t n = (size_t)config->options.max_seqs, entries = n * (size_t)config->pages_per_seq;
	memset(slots, 0, sizeof *slots);
	slots->mapped = calloc(entries, sizeof *slots->mapped);
	slots->stamp = calloc(entries, sizeof *slots->stamp);
	slots->mapped_up_to = calloc(n, sizeof *slots->mapped_up_to);
	slots->filled = calloc(n, sizeof *slots->filled);
	slots->sampled = calloc(n, sizeof *slots->sampled);
	slots->in_step = calloc(n, sizeof *slots->in_step);
	slots->in_fills = calloc(n, sizeof *slots->in_fills);
	for (int32_t i = 0; i < config->shape.n_layers; i++) {
		int32_t window = config->shape.layer_window[i];
		if (!window) {
			slots->all_windowed = 0;
			break;
		}
		if (window > slots->all_windowed) slots->all_windowed = window;
	}
	if (!slots->mapped || !slots->stamp || !slots->mapped_up_to || !slots->filled || !slots->sampled ||
	    !slots->in_step || !slots->in_fills) {
		return fg_fail(FG_OUT_OF_MEMORY, "no memory for the page tables of %d slots of %d pages",
		               config->options.max_seqs, config->pages_per_seq);
	}
	return FG_OK;
}

void fg_slots_free(fg_slots *slots) {
	free(slots->mapped);
	free(slots->stamp);
	free(slots->mapped_up_to);
	free(slots->filled);
	free(slots->sampled);
	free(slots->in_step);
	free(slots->in_fills);
	memset(slots, 0, sizeof *slots);
}

static fg_status check_counts(const fg_config *config, const fg_step *s) {
	if (!s) return fg_fail(FG_INVALID, "the step is NULL");
	if (s->n_seqs < 1 || s->n_seqs > config->options.max_seqs) {
		return fg_fail(FG_INVALID, "the step has %d sequences; it must have 1 to max_seqs = %d", s->n_seqs,
		               config->options.max_seqs);
	}
	if (s->n_tokens < 1 || s->n_tokens > config->options.max_step_tokens) {
		return fg_fail(FG_INVALID, "the step has %d tokens; it must have 1 to max_step_tokens = %d", s->n_tokens,
		               config->options.max_step_tokens);
	}
	if (s->n_page_updates < 0 || s->n_fills < 0 || s->n_masks < 0 || s->n_copies < 0 || s->n_late_masks < 0 ||
	    s->n_fills > config->options.max_seqs || s->n_late_masks > s->n_seqs - s->n_masks) {
		return fg_fail(FG_INVALID,
		               "the step has %d page updates, %d fills, %d masks, %d late masks and %d copies; none may be "
		               "negative, fills at most max_seqs = %d, masks and late masks together at most n_seqs = %d",
		               s->n_page_updates, s->n_fills, s->n_masks, s->n_late_masks, s->n_copies,
		               config->options.max_seqs, s->n_seqs);
	}
	if (!s->seqs || !s->tokens || (s->n_page_updates && !s->page_updates) || (s->n_fills && !s->fills) ||
	    (s->n_masks && !s->masks) || (s->n_copies && !s->copies)) {
		return fg_fail(FG_INVALID, "an array of the step is NULL but its count is not 0");
	}
	return FG_OK;
}

fg_status fg_copies_check(int32_t n_pages, int32_t n_host_pages, const fg_page_copy *copies, int32_t n_copies) {
	if (n_copies < 0) return fg_fail(FG_INVALID, "n_copies is %d; it must not be negative", n_copies);
	if (n_copies && !copies) return fg_fail(FG_INVALID, "copies is NULL but n_copies is not 0");
	for (int32_t i = 0; i < n_copies; i++) {
		const fg_page_copy *p = &copies[i];
		if (p->page < 0 || p->page >= n_pages) {
			return fg_fail(FG_INVALID, "copy %d names page %d; there are %d", i, p->page, n_pages);
		}
		if (p->host_page < 0 || p->host_page >= n_host_pages) {
			return fg_fail(FG_INVALID, "copy %d names host page %d; there are %d", i, p->host_page, n_host_pages);
		}
		if (p->direction < FG_TO_HOST || p->direction > FG_TO_DEVICE_BESIDE) {
			return fg_fail(FG_INVALID,
			               "copy %d has direction %d; it must be FG_TO_HOST, FG_TO_DEVICE or FG_TO_DEVICE_BESIDE", i,
			               p->direction);
		}
	}
	return FG_OK;
}

static fg_status check_slot(const fg_config *config, const char *what, int32_t i, int32_t slot) {
	if (slot >= 0 && slot < config->options.max_seqs) return FG_OK;
	return fg_fail(FG_INVALID, "%s %d has slot %d; slots go from 0 to %d", what, i, slot, config->options.max_seqs - 1);
}

static fg_status check_fills(fg_slots *slots, const fg_config *config, const fg_step *s) {
	for (int32_t i = 0; i < s->n_fills; i++) {
		const fg_slot_fill *f = &s->fills[i];
		fg_status status = check_slot(config, "fill", i, f->slot);
		if (status) return status;
		if (f->reserved) return fg_fail(FG_INVALID, "fill %d: reserved is %d; it must be 0", i, f->reserved);
		if (slots->in_fills[f->slot] == slots->check) return fg_fail(FG_INVALID, "slot %d is filled twice", f->slot);
		slots->in_fills[f->slot] = slots->check;
	}
	return FG_OK;
}

static int is_filled(const fg_slots *slots, int32_t slot) {
	return slots->filled[slot] || slots->in_fills[slot] == slots->check;
}

static fg_status check_updates(fg_slots *slots, const fg_config *config, int32_t n_pages, const fg_step *s) {
	for (int32_t i = 0; i < s->n_page_updates; i++) {
		const fg_page_update *u = &s->page_updates[i];
		fg_status status = check_slot(config, "page update", i, u->slot);
		if (status) return status;
		if (!is_filled(slots, u->slot)) {
			return fg_fail(FG_INVALID, "page update %d is for slot %d, which was never filled", i, u->slot);
		}
		if (u->index < 0 || u->index >= config->pages_per_seq) {
			return fg_fail(FG_INVALID, "page update %d is for page %d of slot %d; max_context = %d leaves 0 to %d", i,
			               u->index, u->slot, config->options.max_context, config->pages_per_seq - 1);
		}
		if (u->page < 0 || u->page >= n_pages) {
			return fg_fail(FG_INVALID, "page update %d names page %d; there are %d pages", i, u->page, n_pages);
		}
		uint64_t *stamp = &slots->stamp[(size_t)u->slot * (size_t)config->pages_per_seq + (size_t)u->index];
		if (*stamp == slots->check) {
			return fg_fail(FG_INVALID, "page %d of slot %d is updated twice", u->index, u->slot);
		}
		*stamp = slots->check;
	}
	return FG_OK;
}

/* Every page that this sequence's new tokens read or write must be known. */
static fg_status check_pages(const fg_slots *slots, const fg_config *config, const fg_step_seq *q) {
	int refilled = slots->in_fills[q->slot] == slots->check;
	size_t row = (size_t)q->slot * (size_t)config->pages_per_seq;
	int32_t first = 0, last = (q->context - 1) / FG_PAGE_TOKENS;
	if (slots->all_windowed) {
		int32_t oldest = q->context - q->n_new - slots->all_windowed + 1; /* that the first new token sees */
		if (oldest > 0) first = oldest / FG_PAGE_TOKENS;
	}
	if (!refilled && slots->mapped_up_to[q->slot] > first) first = slots->mapped_up_to[q->slot];
	for (int32_t i = first; i <= last; i++) {
		if (slots->stamp[row + (size_t)i] == slots->check) continue;
		if (!refilled && slots->mapped[row + (size_t)i]) continue;
		return fg_fail(FG_INVALID,
		               "slot %d needs positions up to %d, but its page %d (positions %d to %d) was never given",
		               q->slot, q->context - 1, i, i * FG_PAGE_TOKENS, i * FG_PAGE_TOKENS + FG_PAGE_TOKENS - 1);
	}
	return FG_OK;
}

static fg_status check_seq(fg_slots *slots, const fg_config *config, const fg_step *s, int32_t i) {
	const fg_step_seq *q = &s->seqs[i];
	fg_status status = check_slot(config, "sequence", i, q->slot);
	if (status) return status;
	if (slots->in_step[q->slot] == slots->check) return fg_fail(FG_INVALID, "slot %d is in the step twice", q->slot);
	slots->in_step[q->slot] = slots->check;
	if (!is_filled(slots, q->slot)) return fg_fail(FG_INVALID, "slot %d runs but was never filled", q->slot);
	if (q->context < 1 || q->context > config->options.max_context) {
		return fg_fail(FG_INVALID, "slot %d has a context of %d tokens; it must be 1 to max_context = %d", q->slot,
		               q->context, config->options.max_context);
	}
	if (q->n_new < 1 || q->n_new > q->context) {
		return fg_fail(FG_INVALID, "slot %d has %d new tokens; it must have 1 to its context of %d", q->slot, q->n_new,
		               q->context);
	}
	if (q->flags & ~(FG_SAMPLE | FG_SCORE | FG_LOGITS)) {
		return fg_fail(FG_INVALID, "slot %d has unknown flags %#x", q->slot, (unsigned)q->flags);
	}
	if (q->n_logprobs < -1 || q->n_logprobs > FG_MAX_LOGPROBS) {
		return fg_fail(FG_INVALID, "slot %d asks for %d log probabilities; it may ask for -1 to %d", q->slot,
		               q->n_logprobs, FG_MAX_LOGPROBS);
	}
	if ((q->flags & FG_SCORE) && !(q->flags & FG_SAMPLE) &&
	    (q->next_token < 0 || q->next_token >= config->shape.vocab_size)) {
		return fg_fail(FG_INVALID, "slot %d is scored up to next_token %d; token ids go from 0 to %d", q->slot,
		               q->next_token, config->shape.vocab_size - 1);
	}
	if (q->mask < -1 || q->mask >= s->n_masks + s->n_late_masks) {
		return fg_fail(FG_INVALID, "slot %d names mask %d; the step has %d, of them %d late (-1 = none)", q->slot,
		               q->mask, s->n_masks + s->n_late_masks, s->n_late_masks);
	}
	return check_pages(slots, config, q);
}

static fg_status check_tokens(const fg_slots *slots, const fg_config *config, const fg_step_seq *q,
                              const int32_t *tokens) {
	int sampled = slots->sampled[q->slot] && slots->in_fills[q->slot] != slots->check;
	for (int32_t i = 0; i < q->n_new; i++) {
		if (tokens[i] == FG_LAST_SAMPLED) {
			if (q->n_new != 1) {
				return fg_fail(FG_INVALID,
				               "slot %d has %d new tokens, one of them FG_LAST_SAMPLED, which needs n_new = 1", q->slot,
				               q->n_new);
			}
			if (!sampled)
				return fg_fail(FG_INVALID, "slot %d takes FG_LAST_SAMPLED but has sampled nothing yet", q->slot);
		} else if (tokens[i] < 0 || tokens[i] >= config->shape.vocab_size) {
			return fg_fail(FG_INVALID, "slot %d has token %d; token ids go from 0 to %d", q->slot, tokens[i],
			               config->shape.vocab_size - 1);
		}
	}
	return FG_OK;
}

fg_status fg_slots_check(fg_slots *slots, const fg_config *config, int32_t n_pages, int32_t n_host_pages,
                         const fg_step *s) {
	slots->check++;
	fg_status status = check_counts(config, s);
	if (!status) status = fg_copies_check(n_pages, n_host_pages, s->copies, s->n_copies);
	if (!status) status = check_fills(slots, config, s);
	if (!status) status = check_updates(slots, config, n_pages, s);
	int64_t n_tokens = 0;
	for (int32_t i = 0; !status && i < s->n_seqs; i++) {
		const fg_step_seq *q = &s->seqs[i];
		status = check_seq(slots, config, s, i);
		if (!status && n_tokens + q->n_new <= s->n_tokens) {
			status = check_tokens(slots, config, q, s->tokens + n_tokens);
		}
		fg_fail_slot(status, q->slot);
		n_tokens += q->n_new;
	}
	if (!status && n_tokens != s->n_tokens) {
		status = fg_fail(FG_INVALID, "n_tokens is %d and the sequences have %lld new tokens", s->n_tokens,
		                 (long long)n_tokens);
	}
	return status;
}

void fg_slots_apply(fg_slots *slots, const fg_config *config, const fg_step *s) {
	size_t pages = (size_t)config->pages_per_seq;
	for (int32_t i = 0; i < s->n_fills; i++) {
		int32_t slot = s->fills[i].slot;
		memset(slots->mapped + (size_t)slot * pages, 0, pages);
		slots->mapped_up_to[slot] = 0;
		slots->filled[slot] = 1;
		slots->sampled[slot] = 0;
	}
	for (int32_t i = 0; i < s->n_page_updates; i++) {
		int32_t slot = s->page_updates[i].slot, *up_to = &slots->mapped_up_to[slot];
		uint8_t *mapped = slots->mapped + (size_t)slot * pages;
		mapped[s->page_updates[i].index] = 1;
		while (*up_to < config->pages_per_seq && mapped[*up_to]) ++*up_to;
	}
	for (int32_t i = 0; i < s->n_seqs; i++) {
		if (s->seqs[i].flags & FG_SAMPLE) slots->sampled[s->seqs[i].slot] = 1;
	}
}
