/*
 * engine.c - the calls of fastgen.h over the op table, but those of a trace (engine_trace.c). Each rank has a thread
 * (rank_thread.c).
 */
#include "engine_state.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Runs one command on every rank and waits for it. */
static fg_status run(fg_engine *e, fg_command_kind kind, int32_t argument) {
	fg_command *c = fg_command_new(kind);
	if (!c) return FG_OUT_OF_MEMORY;
	c->argument = argument;
	fg_queue_push(&e->queue, c);
	fg_status status = fg_queue_wait(&e->queue, c);
	fg_command_free(c);
	return status;
}

/* ---- life ---- */

FG_API int32_t fg_abi_version(void) {
	return FG_ABI_VERSION;
}

static fg_status start(fg_engine *e) {
	int32_t n_ranks = e->config.options.n_devices;
	for (; e->n_started < n_ranks; e->n_started++) {
		rank_state *r = &e->ranks[e->n_started];
		r->engine = e;
		r->rank = e->n_started;
		int error = pthread_create(&r->thread, NULL, fg_rank_main, r);
		if (error) return fg_fail(FG_OUT_OF_MEMORY, "cannot start a thread: %s", strerror(error));
	}
	return run(e, FG_CMD_OPEN, 0);
}

FG_API fg_status fg_open(const fg_shape *shape, const fg_options *options, fg_engine **out) {
	if (!out) return fg_fail(FG_INVALID, "engine is NULL; it must point to where the engine goes");
	*out = NULL;
	fg_engine *e = calloc(1, sizeof *e);
	if (!e) return fg_fail(FG_OUT_OF_MEMORY, "no memory for an engine");
	e->ops = &fg_device_ops;
	e->load_lock = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
	fg_status status = fg_config_init(&e->config, shape, options);
	if (!status) status = fg_slots_init(&e->slots, &e->config);
	if (!status) status = fg_masks_init(&e->masks, &e->config, e->ops->sampler_fills);
	if (!status) {
		status = fg_queue_init(&e->queue, e->config.options.n_devices);
		if (!status) {
			status = start(e);
			if (!status) {
				*out = e;
				return FG_OK;
			}
			/* fg_close cleans up what has started, and must not change the message */
			char text[FG_ERROR_BYTES];
			snprintf(text, sizeof text, "%s", fg_error());
			fg_close(e);
			return fg_fail(status, "%s", text);
		}
		fg_masks_free(&e->masks);
	}
	fg_slots_free(&e->slots);
	fg_config_free(&e->config);
	free(e);
	return status;
}

static int32_t place_of(uint64_t step) {
	return (int32_t)(step % FG_STEPS_IN_FLIGHT);
}

static void drop_step(fg_engine *e) {
	fg_command *c = e->steps[0];
	fg_masks_end(&e->masks, place_of(c->step));
	fg_batch_free(e->ops, c->batch);
	fg_command_free(c);
	e->n_steps--;
	memmove(e->steps, e->steps + 1, (size_t)e->n_steps * sizeof *e->steps);
}

FG_API void fg_close(fg_engine *e) {
	if (!e) return;
	atomic_store(&e->load_cancel, 1);
	fg_queue_drain(&e->queue);
	for (int32_t r = 0; r < e->n_started; r++) {
		for (int32_t i = 0; i < e->n_steps; i++) e->ops->step_wait(e->ranks[r].ctx, e->steps[i]->batch);
	}
	while (e->n_steps) drop_step(e);
	static const fg_command quit = {.kind = FG_CMD_QUIT};
	fg_command c = quit; /* on the stack: closing must not fail for lack of memory */
	e->queue.n_ranks = e->n_started;
	if (e->n_started) {
		fg_queue_push(&e->queue, &c);
		fg_queue_wait(&e->queue, &c);
	}
	for (int32_t r = 0; r < e->n_started; r++) {
		pthread_join(e->ranks[r].thread, NULL);
		fg_trace_free(e->ranks[r].trace);
	}
	fg_command_free(e->load);
	fg_table_free(&e->table);
	fg_queue_destroy(&e->queue);
	fg_masks_free(&e->masks);
	fg_slots_free(&e->slots);
	fg_config_free(&e->config);
	free(e);
}

/* ---- loading ---- */

static fg_status start_load(fg_engine *e, uint64_t bytes) {
	fg_command *c = fg_command_new(FG_CMD_LOAD);
	if (!c) return FG_OUT_OF_MEMORY;
	fg_command_free(e->load);
	e->load = c;
	e->loading = 1;
	pthread_mutex_lock(&e->load_lock);
	atomic_store(&e->load_left, e->config.options.n_devices);
	atomic_store(&e->load_done, 0);
	e->load_total = bytes;
	pthread_mutex_unlock(&e->load_lock);
	fg_queue_push(&e->queue, c);
	return FG_OK;
}

/* Whether nothing runs that uses the memory of an engine that is ready. */
static fg_status check_idle(const fg_engine *e) {
	if (e->n_steps) return fg_fail(FG_BUSY, "%d steps are in flight; call fg_wait for each of them first", e->n_steps);
	if (!e->loading) return FG_OK;
	if (atomic_load(&e->load_left)) return fg_fail(FG_BUSY, "the engine is still loading; wait for fg_ready");
	return fg_fail(FG_INVALID, "call fg_ready first: weights have been loaded since");
}

static fg_status fail_never_ready(void) {
	return fg_fail(FG_INVALID, "the engine did not become ready; open another engine");
}

static fg_status check_loadable(const fg_engine *e) {
	if (!e) return fg_fail(FG_INVALID, "engine is NULL");
	if (!e->load) return FG_OK;
	fg_status status = check_idle(e);
	if (status) return status;
	if (!e->ready) return fail_never_ready();
	if (e->asleep & FG_WAKE_WEIGHTS) {
		return fg_fail(FG_INVALID, "the weights sleep; call fg_wake with FG_WAKE_WEIGHTS first");
	}
	return FG_OK;
}

/* Checks e->table, and opens what it names beside files. `before`: what was loaded last. */
static fg_status prepare_table(fg_engine *e, const fg_tensor *tensors, int32_t n_tensors,
                               const fg_tensor_table *before) {
	fg_status status = fg_table_init(&e->table, &e->config, tensors, n_tensors);
	if (!status && e->ready) status = fg_table_match(&e->config, e->random ? NULL : before, &e->table);
	if (status || !fg_table_imports(&e->table)) return status;
	if (e->ops->import) return run(e, FG_CMD_IMPORT, 0);
	return fg_fail(FG_UNSUPPORTED, "ipc_handle names memory of a GPU, which the CPU library cannot read; give a file "
	                               "(in /dev/shm, for example) or data");
}

FG_API fg_status fg_load(fg_engine *e, const fg_tensor *tensors, int32_t n_tensors) {
	fg_status status = check_loadable(e);
	if (status) return status;
	fg_tensor_table before = e->table;
	const int32_t random = e->random;
	status = prepare_table(e, tensors, n_tensors, &before);
	if (!status) {
		e->random = 0; /* before start_load: from then on rank threads read it */
		status = start_load(e, e->table.bytes);
	}
	if (status) {
		fg_table_free(&e->table);
		e->table = before;
		e->random = random;
		return status;
	}
	fg_table_free(&before);
	return FG_OK;
}

FG_API fg_status fg_load_random(fg_engine *e, uint64_t seed) {
	fg_status status = check_loadable(e);
	if (!status && e->ready && !e->random) status = fg_table_match(&e->config, &e->table, NULL);
	if (status) return status;
	const int32_t random = e->random;
	e->random = 1;
	e->random_seed = seed;
	status = start_load(e, fg_random_bytes(&e->config));
	if (status) e->random = random;
	return status;
}

static int32_t host_pages(const fg_engine *e) {
	int32_t n = e->capacity.n_host_pages;
	for (int32_t r = 0; e->ops->host_pages && r < e->n_started; r++) {
		int32_t made = e->ops->host_pages(e->ranks[r].ctx);
		if (made < n) n = made;
	}
	return n;
}

FG_API fg_status fg_progress(fg_engine *e, fg_load_progress *progress) {
	if (!e || !progress) return fg_fail(FG_INVALID, "engine or progress is NULL");
	*progress = (fg_load_progress){.n_host_pages = e->ready ? host_pages(e) : 0};
	pthread_mutex_lock(&e->load_lock);
	progress->total = e->load_total;
	progress->finished = e->load_total && !atomic_load(&e->load_left);
	progress->done = atomic_load(&e->load_done); /* last: where it has finished, all of it is counted */
	pthread_mutex_unlock(&e->load_lock);
	return FG_OK;
}

FG_API fg_status fg_ready(fg_engine *e, fg_capacity *capacity) {
	if (!e || !capacity) return fg_fail(FG_INVALID, "engine or capacity is NULL");
	if (!e->load) return fg_fail(FG_INVALID, "the engine has no weights; call fg_load or fg_load_random first");
	fg_status status = fg_queue_wait(&e->queue, e->load);
	if (e->loading) e->loading = 0, e->whole = !status;
	if (status) return status;
	if (e->never_ready) return fail_never_ready();
	if (!e->ready) {
		status = run(e, FG_CMD_READY, 0);
		e->never_ready = status != FG_OK;
		if (status) return status;
		e->capacity = e->ranks[0].capacity;
		for (int32_t r = 1; r < e->n_started; r++) { /* a page exists only if every rank has it */
			const fg_capacity *other = &e->ranks[r].capacity;
			if (other->n_pages < e->capacity.n_pages) e->capacity.n_pages = other->n_pages;
			if (other->n_host_pages < e->capacity.n_host_pages) e->capacity.n_host_pages = other->n_host_pages;
		}
		e->capacity.follows = e->ops->sampler_fills && e->masks.n_started == 0;
		for (int32_t i = 0; i < FG_STEPS_IN_FLIGHT; i++) e->masks.rows[i] = e->ops->masks(e->ranks[0].ctx, i);
		e->ready = 1;
	}
	*capacity = e->capacity;
	return FG_OK;
}

/* ---- sleeping ---- */

static fg_status check_sleeper(const fg_engine *e) {
	if (!e) return fg_fail(FG_INVALID, "engine is NULL");
	fg_status status = check_idle(e);
	if (status || e->ready) return status;
	return fg_fail(FG_INVALID, "the engine is not ready; call fg_load and fg_ready first");
}

FG_API fg_status fg_sleep(fg_engine *e, int32_t level) {
	fg_status status = check_sleeper(e);
	if (status) return status;
	if (level != 1 && level != 2) return fg_fail(FG_INVALID, "level is %d; it must be 1 or 2", level);
	status = run(e, FG_CMD_SLEEP, level);
	if (status && status != FG_DEVICE) return status;
	e->asleep = FG_WAKE_WEIGHTS | FG_WAKE_KV_CACHE;
	if (status || level == 2) e->whole = 0;
	return status;
}

FG_API fg_status fg_wake(fg_engine *e, int32_t what) {
	fg_status status = check_sleeper(e);
	if (status) return status;
	const int32_t all = FG_WAKE_WEIGHTS | FG_WAKE_KV_CACHE;
	if (what <= 0 || what > all) {
		return fg_fail(FG_INVALID, "what is %d; it must be FG_WAKE_WEIGHTS (%d), FG_WAKE_KV_CACHE (%d), or their sum",
		               what, FG_WAKE_WEIGHTS, FG_WAKE_KV_CACHE);
	}
	status = run(e, FG_CMD_WAKE, what);
	if (!status) e->asleep &= ~what;
	return status;
}

/* ---- steps ---- */

static fg_status check_ready(fg_engine *e) {
	if (!e) return fg_fail(FG_INVALID, "engine is NULL");
	if (!e->load) return fg_fail(FG_INVALID, "the engine has no weights; call fg_load or fg_load_random first");
	if (atomic_load(&e->load_left)) return fg_fail(FG_BUSY, "the engine is still loading; wait for fg_ready");
	if (e->loading || !e->ready) return fg_fail(FG_INVALID, "call fg_ready before the next step");
	if (e->asleep) return fg_fail(FG_INVALID, "the engine sleeps; call fg_wake for its weights and its KV cache first");
	if (e->whole) return FG_OK;
	return fg_fail(FG_INVALID, "the weights are incomplete: load a whole set (fg_load), then call fg_ready");
}

/* A command with a list of copies of its own. NULL, with fg_error's text set, on failure. */
static fg_command *new_command(fg_command_kind kind, const fg_page_copy *copies, int32_t n_copies) {
	fg_command *c = fg_command_new(kind);
	if (!c || n_copies == 0) return c;
	size_t bytes = (size_t)n_copies * sizeof *copies;
	c->copies = malloc(bytes);
	if (!c->copies) {
		fg_fail(FG_OUT_OF_MEMORY, "no memory for a list of %d page copies", n_copies);
		fg_command_free(c);
		return NULL;
	}
	memcpy(c->copies, copies, bytes);
	c->n_copies = n_copies;
	return c;
}

FG_API fg_status fg_copy(fg_engine *e, const fg_page_copy *copies, int32_t n_copies) {
	fg_status status = check_ready(e);
	if (!status) status = check_idle(e);
	if (!status) status = fg_copies_check(e->capacity.n_pages, host_pages(e), copies, n_copies);
	if (status) return status;
	fg_command *c = new_command(FG_CMD_COPY, copies, n_copies);
	if (!c) return FG_OUT_OF_MEMORY;
	fg_queue_push(&e->queue, c);
	status = fg_queue_wait(&e->queue, c);
	fg_command_free(c);
	return status;
}

FG_API fg_status fg_host_page(fg_engine *e, int32_t rank, int32_t host_page, void **bytes) {
	if (!e || !bytes) return fg_fail(FG_INVALID, "engine or bytes is NULL");
	if (!e->ready) return fg_fail(FG_INVALID, "the engine is not ready; call fg_load and fg_ready first");
	if (rank < 0 || rank >= e->n_started) {
		return fg_fail(FG_INVALID, "rank is %d; there are %d ranks", rank, e->n_started);
	}
	int32_t n = host_pages(e);
	if (host_page < 0 || host_page >= n) return fg_fail(FG_INVALID, "host page is %d; there are %d", host_page, n);
	*bytes = e->ops->host_page(e->ranks[rank].ctx, host_page);
	return FG_OK;
}

/* The step as a command that owns all it needs. NULL, with fg_error's text set, on failure. */
static fg_command *new_step(fg_engine *e, const fg_step *step, fg_status *status) {
	fg_command *c = new_command(FG_CMD_STEP, step->copies, step->n_copies);
	if (!c) {
		*status = FG_OUT_OF_MEMORY;
		return NULL;
	}
	c->step = e->next_step;
	c->n_masks = step->n_masks, c->n_late_masks = step->n_late_masks;
	c->batch = fg_batch_new(e->ops, &e->config, step, e->masks.rows[place_of(c->step)], status);
	if (c->batch) {
		c->batch->place = place_of(c->step);
		c->batch->mask_fills = e->masks.n_started ? NULL : &e->masks;
		return c;
	}
	fg_command_free(c);
	return NULL;
}

FG_API fg_status fg_submit(fg_engine *e, const fg_step *step) {
	fg_status status = check_ready(e);
	if (status) return status;
	if (e->n_steps == FG_STEPS_IN_FLIGHT) {
		return fg_fail(FG_BUSY, "%d steps are in flight already; call fg_wait first", FG_STEPS_IN_FLIGHT);
	}
	status = fg_slots_check(&e->slots, &e->config, e->capacity.n_pages, host_pages(e), step);
	if (status) return status;
	fg_command *c = new_step(e, step, &status);
	if (!c) return status;
	fg_slots_apply(&e->slots, &e->config, step);
	e->next_step++;
	c->traced = e->tracing && e->trace_left != 0;
	if (c->traced && e->trace_left > 0) e->trace_left--;
	e->steps[e->n_steps++] = c;
	fg_queue_push(&e->queue, c);
	return FG_OK;
}

/* Gives late mask `mask` of step number `step`. */
static fg_status give_mask(fg_engine *e, uint64_t step, int32_t mask, fg_mask_job job) {
	const fg_command *c = NULL;
	for (int32_t i = 0; i < e->n_steps; i++)
		if (e->steps[i]->step == step) c = e->steps[i];
	if (!c) {
		return fg_fail(FG_INVALID, "step %llu is not in flight; it must be submitted and not waited for",
		               (unsigned long long)step);
	}
	int32_t end = c->n_masks + c->n_late_masks, place = place_of(step);
	if (mask < c->n_masks || mask >= end) {
		return fg_fail(FG_INVALID, "mask %d of step %llu is not a late one; it has %d, from %d on", mask,
		               (unsigned long long)step, c->n_late_masks, c->n_masks);
	}
	if (__atomic_load_n(&e->masks.rows[place].state[mask], __ATOMIC_RELAXED) != FG_MASK_MISSING) {
		return fg_fail(FG_INVALID, "mask %d of step %llu was given before", mask, (unsigned long long)step);
	}
	fg_masks_give(&e->masks, place, mask, job);
	return FG_OK;
}

FG_API fg_status fg_mask(fg_engine *e, uint64_t step, int32_t mask, fg_mask_fill fill, fg_mask_check check,
                         void *source) {
	if (!e) return fg_fail(FG_INVALID, "engine is NULL");
	if (!fill && !source) return fg_fail(FG_INVALID, "fill and source are NULL; one of them must give the mask");
	return give_mask(e, step, mask, (fg_mask_job){.how = {.fill = fill, .check = check}, .source = source});
}

FG_API fg_status fg_follow(fg_engine *e, uint64_t step, int32_t mask, const fg_follower *follower, void *source) {
	if (!e || !follower) return fg_fail(FG_INVALID, "engine or follower is NULL");
	if (!follower->fill || !follower->known || !follower->take) {
		return fg_fail(FG_INVALID, "fill, known or take of the follower is NULL");
	}
	if (e->masks.n_started > 0 || !e->ops->sampler_fills) {
		return fg_fail(FG_UNSUPPORTED, "masks are filled before their rows are sampled here: follow by fg_mask");
	}
	return give_mask(e, step, mask, (fg_mask_job){*follower, source});
}

FG_API fg_status fg_wait(fg_engine *e, fg_result *result) {
	if (!e) return fg_fail(FG_INVALID, "engine is NULL");
	if (!e->n_steps) return fg_fail(FG_INVALID, "no step is in flight; call fg_submit first");
	fg_command *c = e->steps[0];
	fg_status status = fg_batch_check_result(c->batch, &e->config, result);
	if (status) return status;
	status = fg_queue_wait(&e->queue, c);
	for (int32_t r = e->n_started - 1; r >= 0; r--) { /* rank 0 last: its results stay in the batch */
		fg_status other = e->ops->step_wait(e->ranks[r].ctx, c->batch);
		if (!status) status = other;
	}
	result->step = c->step;
	result->n_rows = 0;
	if (!status) fg_batch_copy_result(c->batch, &e->config, result);
	drop_step(e);
	return status;
}
