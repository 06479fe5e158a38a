/*
 * engine.h - what the shared files of an engine know of one another. Not part of the ABI.
 */
#ifndef FG_ENGINE_H
#define FG_ENGINE_H

#include "ops.h"

/* ---- config.c ---- */

/* Checks and copies what was passed to fg_open. Free with fg_config_free, also after a failure. */
fg_status fg_config_init(fg_config *config, const fg_shape *shape, const fg_options *options);
void fg_config_free(fg_config *config);

/* ---- load.c ---- */

/* Checks `tensors` against the shape and copies them. Free with fg_table_free, also after a failure. */
fg_status fg_table_init(fg_tensor_table *table, const fg_config *config, const fg_tensor *tensors, int32_t n_tensors);
void fg_table_free(fg_tensor_table *table);

/* Whether every matrix of the table `to` is scaled as it is in `from`; NULL: as random weights are. */
fg_status fg_table_match(const fg_config *config, const fg_tensor_table *from, const fg_tensor_table *to);
/* Whether the table names memory of other processes. */
int fg_table_imports(const fg_tensor_table *table);

/* Dimensions that a role has in this shape; rows is 0 where the shape has no such tensor, cols is 1 for
 * vectors. */
void fg_role_dims(const fg_shape *shape, fg_role role, int32_t *rows, int32_t *cols);

/* Bytes of random weights: matrices in compute_dtype, norms and biases in float32. */
uint64_t fg_random_bytes(const fg_config *config);

/* "q of layer 3": for messages. `text` holds at least 64 bytes and is returned. */
const char *fg_role_name(char *text, fg_role role, int32_t layer);

/* ---- slots.c ---- */

/* What the engine knows of each slot once the steps submitted so far have run, so that a step can be refused before it
 * changes anything. */
typedef struct {
	uint8_t *mapped;       /* [max_seqs][pages_per_seq]: 1 = the slot's page table has a page there */
	uint64_t *stamp;       /* [max_seqs][pages_per_seq]: the check that last saw an update of this entry */
	int32_t *mapped_up_to; /* [max_seqs]: entries before this one are all mapped */
	uint8_t *filled;       /* [max_seqs] */
	uint8_t *sampled;      /* [max_seqs]: has sampled a token since it was filled */
	uint64_t *in_step;     /* [max_seqs]: the check that last saw the slot among the sequences */
	uint64_t *in_fills;    /* [max_seqs]: ... among the fills */
	uint64_t check;        /* counts checks, good and bad */
	int32_t all_windowed;  /* the largest window when every layer has one, else 0 */
} fg_slots;

fg_status fg_slots_init(fg_slots *slots, const fg_config *config);
void fg_slots_free(fg_slots *slots);

/* Refuses copies that name a page that does not exist. */
fg_status fg_copies_check(int32_t n_pages, int32_t n_host_pages, const fg_page_copy *copies, int32_t n_copies);

/* Refuses a step that cannot run. Changes nothing that a later check could see. */
fg_status fg_slots_check(fg_slots *slots, const fg_config *config, int32_t n_pages, int32_t n_host_pages,
                         const fg_step *step);

/* Applies a step that fg_slots_check has accepted. */
void fg_slots_apply(fg_slots *slots, const fg_config *config, const fg_step *step);

/* ---- batch.c ---- */

/* Copies a checked step and expands it, token by token and row by row; its masks go to `masks`, which no step in flight
 * uses. Free with fg_batch_free. NULL, with fg_error's text set, on failure. */
fg_batch *fg_batch_new(const fg_ops *ops, const fg_config *config, const fg_step *step, fg_mask_rows masks,
                       fg_status *status);

/* Refuses a result without room for what the batch returns. */
fg_status fg_batch_check_result(const fg_batch *batch, const fg_config *config, const fg_result *result);

/* Copies what a batch has computed into a result that has room for it. */
void fg_batch_copy_result(const fg_batch *batch, const fg_config *config, fg_result *result);

void fg_batch_free(const fg_ops *ops, fg_batch *batch);

#endif
