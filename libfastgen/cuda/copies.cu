/* See copies.cuh. */
#include "context.cuh"

namespace fg {

namespace {

constexpr uint64_t ORDERED = FG_STEPS_IN_FLIGHT + 1;

/* Whether the last copy to the device that `stamp` tells of may still be under way. It came with step stamp - 1, and is
 * over when the step after that is: once that was waited for, FG_STEPS_IN_FLIGHT more have been submitted at most. */
bool may_run(const Context *c, uint64_t stamp) {
	return stamp > 0 && stamp + ORDERED > c->n_steps + 1;
}

/* Makes `waiting` wait for what `stream` has been given so far. */
cudaError_t order(cudaStream_t stream, cudaEvent_t event, cudaStream_t waiting) {
	cudaError_t error = cudaEventRecord(event, stream);
	return error == cudaSuccess ? cudaStreamWaitEvent(waiting, event) : error;
}

cudaError_t save(Context *c, const fg_page_copy &copy, char *page, char *host, CopyTimes &times) {
	PageCopies &p = c->copies;
	cudaError_t error = cudaSuccess;
	if (may_run(c, p.host_read[copy.host_page]) || may_run(c, p.written[copy.page]))
		error = order(p.to_device, p.arrivals_done, p.to_host);
	if (!times.to_host && error == cudaSuccess) error = cudaEventRecord(times.to_host_start, p.to_host);
	times.to_host = true;
	return error == cudaSuccess ? cudaMemcpyAsync(host, page, c->page_bytes, cudaMemcpyDeviceToHost, p.to_host) : error;
}

/* was_saved: a page was copied to the host since the last copy to the device: this one may need its place. */
cudaError_t restore(Context *c, const fg_page_copy &copy, char *page, char *host, CopyTimes &times, bool was_saved) {
	PageCopies &p = c->copies;
	cudaError_t error = cudaSuccess;
	if (!times.to_device) error = order(c->stream, p.steps_enqueued, p.to_device);
	if (was_saved && error == cudaSuccess) error = order(p.to_host, p.copies_done, p.to_device);
	if (!times.to_device && error == cudaSuccess) error = cudaEventRecord(times.to_device_start, p.to_device);
	times.to_device = true;
	p.host_read[copy.host_page] = p.written[copy.page] = c->n_steps + 1;
	return error == cudaSuccess ? cudaMemcpyAsync(page, host, c->page_bytes, cudaMemcpyHostToDevice, p.to_device)
	                            : error;
}

float elapsed(cudaEvent_t start, cudaEvent_t end) {
	float ms = 0;
	return cudaEventElapsedTime(&ms, start, end) == cudaSuccess ? ms * 1e-3f : 0;
}

} // namespace

cudaError_t copies_open(Context *c) {
	PageCopies &p = c->copies;
	cudaError_t error = cudaStreamCreateWithFlags(&p.to_host, cudaStreamNonBlocking);
	if (error == cudaSuccess) error = cudaStreamCreateWithFlags(&p.to_device, cudaStreamNonBlocking);
	for (cudaEvent_t *event : {&p.steps_enqueued, &p.copies_done, &p.arrivals_done})
		if (error == cudaSuccess) error = cudaEventCreateWithFlags(event, cudaEventDisableTiming);
	for (StepBuffers &b : c->ring)
		for (cudaEvent_t *event :
		     {&b.copies.to_host_start, &b.copies.to_host_end, &b.copies.to_device_start, &b.copies.to_device_end})
			if (error == cudaSuccess) error = cudaEventCreate(event);
	return error;
}

void copies_close(Context *c) {
	PageCopies &p = c->copies;
	for (cudaStream_t stream : {p.to_host, p.to_device})
		if (stream) cudaStreamSynchronize(stream), cudaStreamDestroy(stream);
	for (cudaEvent_t event : {p.steps_enqueued, p.copies_done, p.arrivals_done})
		if (event) cudaEventDestroy(event);
	for (StepBuffers &b : c->ring)
		for (cudaEvent_t event :
		     {b.copies.to_host_start, b.copies.to_host_end, b.copies.to_device_start, b.copies.to_device_end})
			if (event) cudaEventDestroy(event);
}

cudaError_t copies_idle(Context *c) {
	cudaError_t error = cudaStreamSynchronize(c->copies.to_host);
	return error == cudaSuccess ? cudaStreamSynchronize(c->copies.to_device) : error;
}

void await_arrivals(Context *c) {
	PageCopies &p = c->copies;
	if (!p.are_arriving || p.arriving_beside == c->n_steps) return;
	p.are_arriving = false;
	note(c, cudaStreamWaitEvent(c->stream, p.arrivals_done), "waiting for KV pages from the host");
}

/* A page that goes to the host was last written by a step that is over. A copy to the device waits for the steps that
 * may still read what the page holds; and so does the next copy to the host that needs what this one reads. */
void copy_pages(fg_ctx *ctx, const fg_page_copy *copies, int32_t n_copies) {
	Context *c = context(ctx);
	PageCopies &p = c->copies;
	CopyTimes &times = c->ring[c->n_steps % RING].copies;
	await_arrivals(c);
	p.host_read.resize((size_t)c->n_host_pages), p.written.resize((size_t)c->n_pages);
	cudaError_t error = cudaSuccess;
	times.to_host = times.to_device = times.beside = false;
	bool was_saved = false, is_needed = false; /* is_needed: the step waits for copies to the device so far */
	for (int32_t i = 0; i < n_copies && error == cudaSuccess; i++) {
		const fg_page_copy &copy = copies[i];
		char *page = c->kv.data + (size_t)copy.page * c->page_bytes,
			 *host = c->host_memory.begin() + (size_t)copy.host_page * c->page_bytes;
		if (copy.direction == FG_TO_HOST) {
			error = save(c, copy, page, host, times);
			was_saved = true;
			continue;
		}
		const bool beside = copy.direction == FG_TO_DEVICE_BESIDE;
		if (beside && is_needed) error = order(p.to_device, p.arrivals_done, c->stream);
		if (error == cudaSuccess) error = restore(c, copy, page, host, times, was_saved);
		was_saved = false, is_needed = !beside, times.beside |= beside;
	}
	if (times.to_host && error == cudaSuccess) error = cudaEventRecord(times.to_host_end, p.to_host);
	if (times.to_host && error == cudaSuccess) error = order(p.to_host, p.copies_done, c->stream);
	if (times.to_device && error == cudaSuccess) error = cudaEventRecord(times.to_device_end, p.to_device);
	if (is_needed && error == cudaSuccess) error = order(p.to_device, p.arrivals_done, c->stream);
	if (times.beside && error == cudaSuccess) error = cudaEventRecord(p.arrivals_done, p.to_device);
	p.are_arriving = times.beside;
	p.arriving_beside = c->n_steps;
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

} // namespace fg
