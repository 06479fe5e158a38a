/* See card.h and card.hpp. Streams and events. */
#include "card.hpp"

#include <cstdint>
#include <cstdlib>
#include <deque>
#include <map>
#include <mutex>
#include <vector>

int card_events;
double card_clock_ms;

namespace {

struct Event {
	double ms;               /* when it was recorded last */
	uint64_t recorded, over; /* how often that was asked for, and done */
};

/* What a stream is to do, once `event` is over as often as `times`. */
struct Work {
	const Event *event;
	uint64_t times;
	std::function<void()> run;
};

bool keeps;
std::map<cudaStream_t, std::deque<Work>> streams;

bool can_run(const std::deque<Work> &stream) {
	return !stream.empty() && (!stream.front().event || stream.front().event->over >= stream.front().times);
}

} // namespace

void card_keep(bool keep) {
	keeps = keep;
}

void card_enqueue(cudaStream_t stream, std::function<void()> run) {
	if (keeps) streams[stream].push_back({nullptr, 0, std::move(run)});
	else run();
}

bool card_run(size_t (*choose)(size_t)) {
	std::vector<std::deque<Work> *> ready;
	for (auto &[_, stream] : streams)
		if (can_run(stream)) ready.push_back(&stream);
	if (ready.empty()) return false;
	std::deque<Work> &stream = *ready[choose(ready.size())];
	const Work work = std::move(stream.front());
	stream.pop_front();
	if (work.run) work.run();
	return true;
}

extern "C" {

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned) {
	*stream = (cudaStream_t)malloc(1);
	return cudaSuccess;
}
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
	free(stream);
	return cudaSuccess;
}
cudaError_t cudaStreamSynchronize(cudaStream_t) {
	return cudaSuccess;
}
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
	const OwnMemory own;
	const Event *e = (const Event *)event;
	if (keeps) streams[stream].push_back({e, e->recorded, nullptr});
	return cudaSuccess;
}
cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned) {
	*event = (cudaEvent_t)calloc(1, sizeof(Event));
	__atomic_fetch_add(&card_events, 1, __ATOMIC_RELAXED);
	return cudaSuccess;
}
cudaError_t cudaEventCreate(cudaEvent_t *event) {
	return cudaEventCreateWithFlags(event, 0);
}
cudaError_t cudaEventDestroy(cudaEvent_t event) {
	free(event);
	__atomic_fetch_sub(&card_events, 1, __ATOMIC_RELAXED);
	return cudaSuccess;
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
	const OwnMemory own;
	Event *e = (Event *)event;
	const uint64_t times = ++e->recorded;
	card_enqueue(stream, [e, times] {
		static std::mutex clock; /* of all ranks */
		const std::lock_guard lock(clock);
		e->ms = card_clock_ms += 0.005;
		e->over = times;
	});
	return cudaSuccess;
}
cudaError_t cudaEventQuery(cudaEvent_t) {
	return cudaSuccess;
}
cudaError_t cudaEventSynchronize(cudaEvent_t) {
	return cudaSuccess;
}
cudaError_t cudaEventElapsedTime(float *ms, cudaEvent_t from, cudaEvent_t to) {
	*ms = (float)(((Event *)to)->ms - ((Event *)from)->ms);
	return cudaSuccess;
}
}
