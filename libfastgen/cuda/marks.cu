/* See marks.cuh. */
#include "marks.cuh"

extern "C" {
#include "../clock.h"
}

namespace fg {

/* Events are looked at from this many on: there is no need to ask after each mark. */
constexpr size_t MANY_EVENTS = 1024;

cudaError_t Marks::record(cudaStream_t stream, uint64_t *mark) {
	*mark = times.empty() ? events.size() : times.size() - 1 + events.size();
	while (events.size() >= MANY_EVENTS && cudaEventQuery(events[1]) == cudaSuccess) settle_first();
	cudaEvent_t event = nullptr;
	const bool first = times.empty() && events.empty();
	cudaError_t error = first ? cudaStreamSynchronize(stream) : cudaSuccess;
	if (error != cudaSuccess) return error;
	if (spare.empty()) error = cudaEventCreate(&event);
	else event = spare.back(), spare.pop_back();
	if (error != cudaSuccess) return error;
	events.push_back(event);
	error = cudaEventRecord(event, stream);
	if (!first || error != cudaSuccess) return error;
	error = cudaEventSynchronize(event);
	first_ns = (double)fg_clock_ns();
	return error;
}

/* Finds the time of the first mark that has none yet. From mark to mark: a float32 holds milliseconds exactly enough
 * for a step, but not for hours. */
void Marks::settle_first() {
	if (times.empty()) {
		times.push_back(first_ns);
		return;
	}
	float ms = 0;
	cudaEventElapsedTime(&ms, events[0], events[1]);
	times.push_back(times.back() + (double)ms * 1e6);
	spare.push_back(events.front());
	events.pop_front();
}

uint64_t Marks::ns(uint64_t mark) {
	while (times.size() <= mark && (times.empty() ? 0u : 1u) < events.size()) {
		cudaEventSynchronize(events[times.empty() ? 0 : 1]);
		settle_first();
	}
	return mark < times.size() ? (uint64_t)times[mark] : 0;
}

void Marks::clear() {
	for (cudaEvent_t event : events) cudaEventDestroy(event);
	for (cudaEvent_t event : spare) cudaEventDestroy(event);
	events.clear();
	spare = {}, times = {};
}

} // namespace fg
