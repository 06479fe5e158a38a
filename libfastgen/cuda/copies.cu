/* See copies.cuh. */
#include "context.cuh"

#include <algorithm>

namespace fg {

namespace {

cudaError_t add(CopyStream &copies, void *to, const void *from, size_t bytes, cudaMemcpyKind kind) {
	const cudaError_t error = cudaMemcpyAsync(to, from, bytes, kind, copies.stream);
	if (error != cudaSuccess) return error;
	copies.given++;
	return cudaEventRecord(copies.over[copies.given % CopyStream::RECENT], copies.stream);
}

/* Makes `waiting` wait until a copy is over. In the place of one that was given long ago, a later one is waited for. */
cudaError_t await_copy(const CopyStream &copies, uint64_t number, cudaStream_t waiting) {
	if (number == 0) return cudaSuccess;
	if (number + CopyStream::RECENT <= copies.given) number = copies.given - CopyStream::RECENT + 1;
	return cudaStreamWaitEvent(waiting, copies.over[number % CopyStream::RECENT]);
}

/* Likewise for the stream of the other direction, which may wait for it already. */
cudaError_t await_other(CopyStream &copies, uint64_t number, cudaStream_t waiting) {
	if (number <= copies.awaited) return cudaSuccess;
	copies.awaited = number;
	return await_copy(copies, number, waiting);
}

cudaError_t save(Context *c, const fg_page_copy &copy, char *page, char *host, CopyTimes &times) {
	PageCopies &p = c->copies;
	const uint64_t before = std::max(p.host_read[copy.host_page], p.written[copy.page]);
	cudaError_t error = await_other(p.to_device, before, p.to_host.stream);
	if (!times.to_host && error == cudaSuccess) error = cudaEventRecord(times.to_host_start, p.to_host.stream);
	times.to_host = true;
	if (error == cudaSuccess) error = add(p.to_host, host, page, c->page_bytes, cudaMemcpyDeviceToHost);
	p.host_written[copy.host_page] = p.read[copy.page] = p.to_host.given;
	return error;
}

cudaError_t restore(Context *c, const fg_page_copy &copy, char *page, char *host, CopyTimes &times) {
	PageCopies &p = c->copies;
	cudaError_t error = cudaSuccess;
	if (!times.to_device) {
		error = cudaEventRecord(p.steps_enqueued, c->stream);
		if (error == cudaSuccess) error = cudaStreamWaitEvent(p.to_device.stream, p.steps_enqueued);
	}
	const uint64_t before = std::max(p.host_written[copy.host_page], p.read[copy.page]);
	if (error == cudaSuccess) error = await_other(p.to_host, before, p.to_device.stream);
	if (!times.to_device && error == cudaSuccess) error = cudaEventRecord(times.to_device_start, p.to_device.stream);
	times.to_device = true;
	if (error == cudaSuccess) error = add(p.to_device, page, host, c->page_bytes, cudaMemcpyHostToDevice);
	p.host_read[copy.host_page] = p.written[copy.page] = p.to_device.given;
	return error;
}

float elapsed(cudaEvent_t start, cudaEvent_t end) {
	float ms = 0;
	return cudaEventElapsedTime(&ms, start, end) == cudaSuccess ? ms * 1e-3f : 0;
}

} // namespace

cudaError_t copies_open(Context *c) {
	PageCopies &p = c->copies;
	cudaError_t error = cudaEventCreateWithFlags(&p.steps_enqueued, cudaEventDisableTiming);
	for (CopyStream *copies : {&p.to_host, &p.to_device}) {
		if (error == cudaSuccess) error = cudaStreamCreateWithFlags(&copies->stream, cudaStreamNonBlocking);
		for (cudaEvent_t &event : copies->over)
			if (error == cudaSuccess) error = cudaEventCreateWithFlags(&event, cudaEventDisableTiming);
	}
	for (StepBuffers &b : c->ring)
		for (cudaEvent_t *event :
		     {&b.copies.to_host_start, &b.copies.to_host_end, &b.copies.to_device_start, &b.copies.to_device_end})
			if (error == cudaSuccess) error = cudaEventCreate(event);
	return error;
}

void copies_close(Context *c) {
	PageCopies &p = c->copies;
	for (CopyStream *copies : {&p.to_host, &p.to_device}) {
		if (copies->stream) cudaStreamSynchronize(copies->stream), cudaStreamDestroy(copies->stream);
		for (cudaEvent_t event : copies->over)
			if (event) cudaEventDestroy(event);
	}
	if (p.steps_enqueued) cudaEventDestroy(p.steps_enqueued);
	for (StepBuffers &b : c->ring)
		for (cudaEvent_t event :
		     {b.copies.to_host_start, b.copies.to_host_end, b.copies.to_device_start, b.copies.to_device_end})
			if (event) cudaEventDestroy(event);
}

cudaError_t copies_idle(Context *c) {
	cudaError_t error = cudaStreamSynchronize(c->copies.to_host.stream);
	return error == cudaSuccess ? cudaStreamSynchronize(c->copies.to_device.stream) : error;
}

void await_arrivals(Context *c) {
	PageCopies &p = c->copies;
	if (p.arriving == 0 || p.arriving_beside == c->n_steps) return;
	note(c, await_copy(p.to_device, p.arriving, c->stream), "waiting for KV pages from the host");
	p.arriving = 0;
}

/* A page that goes to the host was last written by a step that is over. A copy to the device waits for the steps that
 * may still read what the page holds. Copies wait for those in the other direction that use the same page or host page,
 * and for no others: so both run at once. The step waits for all copies to the host, and for what it needs of the rest.
 */
void copy_pages(fg_ctx *ctx, const fg_page_copy *copies, int32_t n_copies) {
	Context *c = context(ctx);
	PageCopies &p = c->copies;
	CopyTimes &times = c->ring[c->n_steps % RING].copies;
	await_arrivals(c);
	times.to_host = times.to_device = times.beside = false;
	const fg_status status = guarded([&] {
		p.host_written.resize((size_t)c->n_host_pages), p.host_read.resize((size_t)c->n_host_pages);
		p.written.resize((size_t)c->n_pages), p.read.resize((size_t)c->n_pages);
		return FG_OK;
	});
	if (status) return note(c, status);
	cudaError_t error = cudaSuccess;
	uint64_t needed = 0; /* the last copy to the device that the step waits for */
	for (int32_t i = 0; i < n_copies && error == cudaSuccess; i++) {
		const fg_page_copy &copy = copies[i];
		char *page = c->kv.data + (size_t)copy.page * c->page_bytes,
			 *host = c->host_memory.begin() + (size_t)copy.host_page * c->page_bytes;
		if (copy.direction == FG_TO_HOST) {
			error = save(c, copy, page, host, times);
			continue;
		}
		error = restore(c, copy, page, host, times);
		if (copy.direction == FG_TO_DEVICE_BESIDE) times.beside = true;
		else needed = p.to_device.given;
	}
	if (times.to_host && error == cudaSuccess) error = cudaEventRecord(times.to_host_end, p.to_host.stream);
	if (times.to_host && error == cudaSuccess) error = await_copy(p.to_host, p.to_host.given, c->stream);
	if (times.to_device && error == cudaSuccess) error = cudaEventRecord(times.to_device_end, p.to_device.stream);
	if (error == cudaSuccess) error = await_copy(p.to_device, needed, c->stream);
	if (times.beside) p.arriving = p.to_device.given, p.arriving_beside = c->n_steps;
	note(c, error, "copying KV pages to or from the host");
}

void tell_copy_times(CopyTimes &own, CopyTimes &before, fg_output *out) {
	out->to_host_seconds = own.to_host ? elapsed(own.to_host_start, own.to_host_end) : 0;
	out->to_device_seconds = 0;
	own.to_host = false;
	for (CopyTimes *times : {&own, &before}) {
		if (!times->to_device || (times == &own && own.beside)) continue;
		out->to_device_seconds += elapsed(times->to_device_start, times->to_device_end);
		times->to_device = false;
	}
}

/* The engine accepts no copy that names a host page beyond these. */
int32_t host_pages(fg_ctx *ctx) {
	Context *c = context(ctx);
	return (int32_t)(c->host_memory.usable() / c->page_bytes);
}

void *host_page(fg_ctx *ctx, int32_t host_page) {
	Context *c = context(ctx);
	return c->host_memory.begin() + (size_t)host_page * c->page_bytes;
}

fg_status copies_wait(fg_ctx *ctx) {
	Context *c = context(ctx);
	cudaError_t error = copies_idle(c);
	if (!c->failure && error == cudaSuccess) return FG_OK;
	fg_status status = c->failure;
	c->failure = FG_OK;
	return status ? fg_fail(status, "%s", c->failure_text) : cuda_fail(error, "copying KV pages");
}

} // namespace fg
