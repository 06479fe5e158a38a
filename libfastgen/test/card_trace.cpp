/* See card.h. Graphs, which are lists of what they run, and CUPTI, which tells what the cards have run: a kernel takes
 * 1 us of their time, which is the host's at first, and begins a little before the one before it ends. */
extern "C" {
#include "../clock.h"
#include "../error.h"
}
#include "card.hpp"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <cupti.h>
#include <deque>
#include <mutex>
#include <string>
#include <vector>

int card_cupti, card_untold;

namespace {

struct Part {
	const char *name;
	size_t bytes;
};

struct Graph {
	std::vector<Part> parts;
};

/* One record of each kind that the library reads. */
union Record {
	CUpti_Activity any;
	CUpti_ActivityAPI call;
	CUpti_ActivityKernel9 kernel;
	CUpti_ActivityMemcpy5 copy;
};

thread_local Graph *captured;

std::mutex mutex;
std::deque<Record> records;
int n_enabled;
uint32_t n_calls;
uint64_t busy_until;
CUpti_BuffersCallbackRequestFunc request;
CUpti_BuffersCallbackCompleteFunc complete;
CUpti_TimestampCallbackFunc now = fg_clock_ns;

void run(const Part *parts, size_t n, cudaStream_t stream) {
	const OwnMemory own;
	const std::lock_guard lock(mutex);
	if (!n_enabled) return;
	Record call = {};
	call.call.kind = CUPTI_ACTIVITY_KIND_RUNTIME;
	call.call.correlationId = ++n_calls;
	call.call.start = call.call.end = now();
	records.push_back(call);
	for (size_t i = 0; i < n; i++) {
		const uint64_t start = std::max(busy_until, call.call.start + 100) - 50, end = start + 1000;
		busy_until = end;
		Record r = {};
		if (parts[i].name) {
			r.kernel.kind = CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL;
			r.kernel.name = parts[i].name;
			r.kernel.deviceId = (uint32_t)card_device;
			r.kernel.start = start, r.kernel.end = end;
			r.kernel.correlationId = n_calls, r.kernel.streamId = (uint32_t)(size_t)stream % 1000;
		} else {
			r.copy.kind = CUPTI_ACTIVITY_KIND_MEMCPY;
			r.copy.copyKind = CUPTI_ACTIVITY_MEMCPY_KIND_HTOD;
			r.copy.bytes = parts[i].bytes;
			r.copy.deviceId = (uint32_t)card_device;
			r.copy.start = start, r.copy.end = end;
			r.copy.correlationId = n_calls, r.copy.streamId = (uint32_t)(size_t)stream % 1000;
		}
		if (!card_untold || n == 1 || i > 0) records.push_back(r);
	}
}

CUptiResult use_clock(CUpti_TimestampCallbackFunc clock) {
	now = clock;
	return CUPTI_SUCCESS;
}
CUptiResult use_buffers(CUpti_BuffersCallbackRequestFunc give, CUpti_BuffersCallbackCompleteFunc take) {
	request = give, complete = take;
	return CUPTI_SUCCESS;
}
CUptiResult enable(CUpti_ActivityKind) {
	const std::lock_guard lock(mutex);
	n_enabled++;
	return CUPTI_SUCCESS;
}
CUptiResult disable(CUpti_ActivityKind) {
	const std::lock_guard lock(mutex);
	n_enabled--;
	return CUPTI_SUCCESS;
}
/* Buffers of 100 records. */
CUptiResult flush(uint32_t) {
	const OwnMemory own;
	std::unique_lock lock(mutex);
	std::deque<Record> all = std::move(records);
	records = {};
	lock.unlock();
	while (!all.empty()) {
		uint8_t *buffer = nullptr;
		size_t bytes = 0, most = 0, n = std::min<size_t>(all.size(), 100);
		request(&buffer, &bytes, &most);
		for (size_t i = 0; i < n; i++) ((Record *)buffer)[i] = all[i];
		all.erase(all.begin(), all.begin() + (long)n);
		complete(nullptr, 0, buffer, bytes, n * sizeof(Record));
	}
	return CUPTI_SUCCESS;
}
CUptiResult next(uint8_t *buffer, size_t bytes, CUpti_Activity **record) {
	Record *after = *record ? (Record *)*record + 1 : (Record *)buffer;
	if ((uint8_t *)after >= buffer + bytes) return CUPTI_ERROR_MAX_LIMIT_REACHED;
	*record = &after->any;
	return CUPTI_SUCCESS;
}
CUptiResult text(CUptiResult, const char **text) {
	*text = "as the card has it";
	return CUPTI_SUCCESS;
}

} // namespace

void card_ran(const char *name, size_t bytes, cudaStream_t stream) {
	const OwnMemory own;
	const Part part = {name, bytes};
	if (captured) captured->parts.push_back(part);
	else run(&part, 1, stream);
}

void *card_open_cupti(const fg_function *functions, int n_functions) {
	static const struct {
		const char *name;
		void *address;
	} ours[] = {
		{"cuptiActivityRegisterTimestampCallback", (void *)use_clock},
		{"cuptiActivityRegisterCallbacks", (void *)use_buffers},
		{"cuptiActivityEnable", (void *)enable},
		{"cuptiActivityDisable", (void *)disable},
		{"cuptiActivityFlushAll", (void *)flush},
		{"cuptiActivityGetNextRecord", (void *)next},
		{"cuptiGetResultString", (void *)text},
	};
	if (!card_cupti) {
		fg_fail(FG_UNSUPPORTED, "there is no CUPTI on paper");
		return nullptr;
	}
	for (int i = 0; i < n_functions; i++)
		for (const auto &[name, address] : ours)
			if (!strcmp(name, functions[i].name)) *functions[i].address = address;
	return &card_cupti;
}

extern "C" {

cudaError_t cudaStreamBeginCapture(cudaStream_t, cudaStreamCaptureMode) {
	const OwnMemory own;
	captured = new Graph();
	return cudaSuccess;
}
cudaError_t cudaStreamEndCapture(cudaStream_t, cudaGraph_t *graph) {
	*graph = (cudaGraph_t)captured;
	captured = nullptr;
	return cudaSuccess;
}
cudaError_t cudaStreamGetCaptureInfo(cudaStream_t, cudaStreamCaptureStatus *status, unsigned long long *,
                                     cudaGraph_t *graph, const cudaGraphNode_t **, const cudaGraphEdgeData **,
                                     size_t *) {
	*status = captured ? cudaStreamCaptureStatusActive : cudaStreamCaptureStatusNone;
	*graph = (cudaGraph_t)captured;
	return cudaSuccess;
}
cudaError_t cudaGraphGetNodes(cudaGraph_t graph, cudaGraphNode_t *, size_t *n) {
	*n = ((Graph *)graph)->parts.size();
	return cudaSuccess;
}
cudaError_t cudaGraphInstantiate(cudaGraphExec_t *exec, cudaGraph_t graph, unsigned long long) {
	const OwnMemory own;
	*exec = (cudaGraphExec_t) new Graph(*(Graph *)graph);
	return cudaSuccess;
}
cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
	const OwnMemory own;
	delete (Graph *)graph;
	return cudaSuccess;
}
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec) {
	const OwnMemory own;
	delete (Graph *)exec;
	return cudaSuccess;
}
cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream) {
	const Graph *graph = (const Graph *)exec;
	run(graph->parts.data(), graph->parts.size(), stream);
	return cudaSuccess;
}
}
