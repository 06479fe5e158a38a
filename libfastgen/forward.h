/*
 * forward.h - the forward pass, written once over the op table.
 */
#ifndef FG_FORWARD_H
#define FG_FORWARD_H

#include "ops.h"
#include "trace.h"

/* Runs (or enqueues) the ops of one step, between step_begin and step_end. `trace` is NULL when nothing is recorded. */
void fg_forward(const fg_ops *ops, fg_ctx *ctx, const fg_batch *batch, fg_trace *trace);

/* One layer of it. *pending: what the residual stream lacks, before and after. */
void fg_forward_layer(const fg_ops *ops, fg_ctx *ctx, const fg_batch *batch, int32_t layer, fg_pending *pending,
                      fg_trace *trace);

#endif
