/*
 * rank_thread.c - the thread of a rank, which takes commands in order. What a command's ops enqueue may still be
 * running when the thread takes the next command (CUDA).
 */
#include "engine_state.h"
#include "forward.h"

/* A recorded pass in place of the forward pass, if the device has one. Returns whether it has. */
static int replay(rank_state *r, fg_command *c, fg_traced_step *traced) {
	const fg_ops *ops = r->engine->ops;
	/* To time an op, a trace must see it, unless the device tells what it runs. */
	if (!ops->replay || (traced && !r->watched)) return 0;
	if (!traced) return ops->replay(r->ctx, c->batch);
	traced->replay_start = ops->mark(r->ctx);
	const int done = ops->replay(r->ctx, c->batch);
	traced->replay_end = ops->mark(r->ctx);
	if (done) traced->replayed = ops->replayed(r->ctx);
	return done;
}

static void run_step(rank_state *r, fg_command *c) {
	const fg_ops *ops = r->engine->ops;
	fg_trace *trace = c->traced ? r->trace : NULL;
	fg_traced_step traced = {.number = c->step, .n_seqs = c->batch->n_seqs, .n_tokens = c->batch->n_tokens};
	if (c->n_copies) ops->copy_pages(r->ctx, c->copies, c->n_copies);
	if (trace) traced.start = ops->mark(r->ctx);
	ops->step_begin(r->ctx, c->batch);
	if (!replay(r, c, trace ? &traced : NULL)) fg_forward(ops, r->ctx, c->batch, trace);
	ops->step_end(r->ctx, c->batch);
	if (!trace) return;
	traced.end = ops->mark(r->ctx);
	fg_trace_step(trace, traced);
}

static fg_status run_copies(rank_state *r, const fg_command *c) {
	const fg_ops *ops = r->engine->ops;
	if (c->n_copies) ops->copy_pages(r->ctx, c->copies, c->n_copies);
	return ops->copies_wait ? ops->copies_wait(r->ctx) : FG_OK;
}

static fg_status run_load(rank_state *r) {
	fg_engine *e = r->engine;
	atomic_ullong ignored = 0;
	atomic_ullong *done = r->rank == 0 ? &e->load_done : &ignored;
	fg_status status = e->random ? e->ops->load_random(r->ctx, e->random_seed, done, &e->load_cancel)
	                             : e->ops->load(r->ctx, &e->table, done, &e->load_cancel);
	atomic_fetch_sub(&e->load_left, 1);
	return status;
}

void *fg_rank_main(void *argument) {
	rank_state *r = argument;
	fg_engine *e = r->engine;
	for (;;) {
		fg_command *c = fg_queue_take(&e->queue, r->rank);
		fg_command_kind kind = c->kind; /* the command may be gone once it is finished */
		fg_status status = FG_OK;
		switch (kind) {
		case FG_CMD_OPEN: status = e->ops->open(&e->config, r->rank, &r->ctx); break;
		case FG_CMD_IMPORT: status = e->ops->import(r->ctx, &e->table); break;
		case FG_CMD_LOAD: status = run_load(r); break;
		case FG_CMD_READY: status = e->ops->ready(r->ctx, &r->capacity); break;
		case FG_CMD_SLEEP: status = e->ops->sleep(r->ctx, c->argument); break;
		case FG_CMD_WAKE: status = e->ops->wake(r->ctx, c->argument); break;
		case FG_CMD_COPY: status = run_copies(r, c); break;
		case FG_CMD_STEP: run_step(r, c); break;
		case FG_CMD_QUIT:
			if (r->ctx) e->ops->close(r->ctx);
			r->ctx = NULL;
			break;
		}
		fg_queue_finish(&e->queue, c, status);
		if (kind == FG_CMD_QUIT) return NULL;
	}
}
