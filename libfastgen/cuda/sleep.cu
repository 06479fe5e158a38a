/*
 * sleep.cu - an engine's weights and KV pages leave the device and come back. All ranks do so together: where one of
 * them has no memory, none does.
 */
#include "context.cuh"

#include <algorithm>

namespace fg {

namespace {

fg_status idle(Context *c) {
	cudaError_t error = cudaStreamSynchronize(c->stream);
	if (error == cudaSuccess) error = copies_idle(c);
	return error == cudaSuccess ? FG_OK : cuda_fail(error, "going to sleep or waking");
}

/* Copies the weights between the device and the host, and waits for the end. */
cudaError_t copy_weights(Context *c, cudaMemcpyKind kind) {
	const size_t bytes = c->weight_memory.size(), piece = c->kept_weights.piece_size();
	cudaError_t error = cudaSuccess;
	for (size_t at = 0; at < bytes && error == cudaSuccess; at += piece) {
		char *device = (char *)c->weight_memory.begin() + at, *host = c->kept_weights.begin() + at;
		const bool out = kind == cudaMemcpyDeviceToHost;
		error = cudaMemcpyAsync(out ? host : device, out ? device : host, std::min(piece, bytes - at), kind, c->stream);
	}
	return error == cudaSuccess ? cudaStreamSynchronize(c->stream) : error;
}

/* Copies the weights to the host. */
fg_status keep_weights(Context *c) {
	constexpr double GIB = 1 << 30;
	const size_t bytes = c->weight_memory.size();
	bool room = c->kept_weights.start(bytes, 1, c->device);
	c->kept_weights.settle();
	if (!room || c->kept_weights.usable() < bytes)
		return fg_fail(
			FG_OUT_OF_MEMORY,
			"the host has no room for the weights (%.1f GiB on each device); sleep with level 2, which drops "
			"them, or end other programs",
			(double)bytes / GIB);
	const cudaError_t error = copy_weights(c, cudaMemcpyDeviceToHost);
	return error == cudaSuccess ? FG_OK : cuda_fail(error, "copying weights to the host");
}

fg_status restore_weights(Context *c) {
	if (!c->kept_weights.begin()) return FG_OK;
	const cudaError_t error = copy_weights(c, cudaMemcpyHostToDevice);
	c->kept_weights.close();
	return error == cudaSuccess ? FG_OK : cuda_fail(error, "copying weights from the host");
}

} // namespace

fg_status sleep(fg_ctx *ctx, int32_t level) {
	Context *c = context(ctx);
	const bool keeps = level == 1 && c->weight_memory.is_there();
	fg_status status = guarded([&] {
		if (!c->weight_memory.can_release() || !c->kv_memory.can_release())
			return fg_fail(FG_UNSUPPORTED, "the driver of %s cannot give memory back while its addresses stay",
			               c->name);
		fg_status ended = idle(c);
		return !ended && keeps ? keep_weights(c) : ended;
	});
	status = c->ranks.meet(status);
	if ((status && keeps) || (!status && level == 2)) c->kept_weights.close();
	if (!status) status = c->weight_memory.release();
	return status ? status : c->kv_memory.release();
}

fg_status wake(fg_ctx *ctx, int32_t what) {
	Context *c = context(ctx);
	const bool weights = (what & FG_WAKE_WEIGHTS) && !c->weight_memory.is_there(),
			   pages = (what & FG_WAKE_KV_CACHE) && !c->kv_memory.is_there();
	fg_status status = weights ? c->weight_memory.restore(c->stream) : FG_OK;
	if (!status && pages) status = c->kv_memory.restore(c->stream);
	if (!status) status = idle(c);
	status = c->ranks.meet(status);
	if (!status) return weights ? restore_weights(c) : FG_OK;
	char text[FG_ERROR_BYTES];
	snprintf(text, sizeof text, "%s", fg_error());
	idle(c);
	if (weights) c->weight_memory.release();
	if (pages) c->kv_memory.release();
	return fg_fail(status, "%s", text);
}

} // namespace fg
