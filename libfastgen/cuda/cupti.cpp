/* See cupti.cuh. */
#include "cupti.cuh"
#include "guard.cuh"
#include "libraries.h"

extern "C" {
#include "../clock.h"
}

#include <algorithm>
#include <cstdlib>
#include <cuda_runtime.h>
#include <cupti.h>
#include <cxxabi.h>
#include <iterator>
#include <map>
#include <mutex>
#include <string>
#include <unordered_map>

namespace fg {

namespace {

/* CUPTI goes with the runtime that this library is linked with. */
#if CUDART_VERSION >= 13000
constexpr const char *NAME = "libcupti.so.13";
#else
constexpr const char *NAME = "libcupti.so.12";
#endif

constexpr size_t BUFFER_BYTES = 4 << 20; /* that CUPTI fills at once */
constexpr size_t LONGEST_NAME = 160;

constexpr CUpti_ActivityKind KINDS[] = {
	CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL, CUPTI_ACTIVITY_KIND_MEMCPY, CUPTI_ACTIVITY_KIND_MEMSET,
	CUPTI_ACTIVITY_KIND_RUNTIME,           CUPTI_ACTIVITY_KIND_DRIVER,
};

/* The fields that are read here have stood at the same places since CUDA 12.9. */
using Kernel = CUpti_ActivityKernel9;
using Copy = CUpti_ActivityMemcpy5;
using Set = CUpti_ActivityMemset4;

/* "void fg::gemv<8, 2>(fg::Args)" as "fg::gemv<8, 2>": parameters tell nothing that the name does not. */
std::string short_name(const char *mangled) {
	int status = 0;
	char *readable = abi::__cxa_demangle(mangled, nullptr, nullptr, &status);
	std::string name = readable ? readable : mangled;
	free(readable);
	static const std::string anonymous = "(anonymous namespace)::";
	for (size_t at; (at = name.find(anonymous)) != std::string::npos;) name.erase(at, anonymous.size());
	int depth = 0;
	for (size_t i = 0; i < name.size(); i++) {
		if (name[i] == '<') depth++;
		if (name[i] == '>') depth--;
		if (name[i] != '(' || depth > 0) continue;
		name.resize(i);
		break;
	}
	if (name.rfind("void ", 0) == 0) name.erase(0, 5);
	if (name.size() > LONGEST_NAME) name.resize(LONGEST_NAME);
	return name;
}

const char *copy_name(int kind) {
	switch (kind) {
	case CUPTI_ACTIVITY_MEMCPY_KIND_HTOD: return "copy to the device";
	case CUPTI_ACTIVITY_MEMCPY_KIND_DTOH: return "copy to the host";
	case CUPTI_ACTIVITY_MEMCPY_KIND_PTOP: return "copy between devices";
	default: return "copy";
	}
}

/* Something that a device did; `call` finds the host's call that asked for it. */
struct Record {
	fg_activity activity;
	uint32_t call;
};

struct Session {
	size_t limit, dropped;
	std::vector<Record> records;
};

/* CUPTI, of which a process has one. */
struct Recorder {
	/* Held, before the other one, while a session begins or ends, so that recording is switched on and off in the order
	 * of the sessions. CUPTI's own thread never waits for it. */
	std::mutex switching;
	std::mutex mutex; /* of all below: CUPTI has a thread of its own that hands buffers over */
	void *library = nullptr;
	decltype(&cuptiActivityRegisterTimestampCallback) use_clock;
	decltype(&cuptiActivityRegisterCallbacks) use_buffers;
	decltype(&cuptiActivityEnable) enable;
	decltype(&cuptiActivityDisable) disable;
	decltype(&cuptiActivityFlushAll) flush;
	decltype(&cuptiActivityGetNextRecord) next;
	decltype(&cuptiGetResultString) result_text;

	std::map<uint32_t, Session> sessions;         /* by device */
	std::unordered_map<uint32_t, uint64_t> calls; /* when each began, by its number */
	std::map<std::string, std::string> names;     /* of kernels: short ones, which activities point to */

	static Recorder &get() {
		static Recorder *recorder = new Recorder(); /* never freed: CUPTI's thread may outlive this file's end */
		return *recorder;
	}

	fg_status check(CUptiResult result, const char *what) const {
		if (result == CUPTI_SUCCESS) return FG_OK;
		const char *text = "an unknown error";
		result_text(result, &text);
		return fg_fail(FG_UNSUPPORTED, "CUPTI failed in %s: %s", what, text);
	}

	fg_status open();
	fg_status set_enabled(bool on);
	void take(const uint8_t *buffer, size_t bytes);
	void add(uint32_t device, uint32_t call, const fg_activity &activity);
	const char *name_of(const char *mangled);
};

uint64_t clock_ns() {
	return fg_clock_ns();
}

void CUPTIAPI give_buffer(uint8_t **buffer, size_t *bytes, size_t *most_records) {
	*buffer = (uint8_t *)aligned_alloc(8, BUFFER_BYTES);
	*bytes = *buffer ? BUFFER_BYTES : 0;
	*most_records = 0;
}

void CUPTIAPI take_buffer(CUcontext, uint32_t, uint8_t *buffer, size_t, size_t bytes) {
	Recorder &r = Recorder::get();
	/* What does not fit into memory is lost, and nothing else. */
	guarded([&] {
		const std::lock_guard lock(r.mutex);
		r.take(buffer, bytes);
		return FG_OK;
	});
	free(buffer);
}

fg_status Recorder::open() {
	if (library) return FG_OK;
	static const char *const names_of_it[] = {NAME, nullptr};
	const fg_function functions[] = {
		{(void **)&use_clock, "cuptiActivityRegisterTimestampCallback"},
		{(void **)&use_buffers, "cuptiActivityRegisterCallbacks"},
		{(void **)&enable, "cuptiActivityEnable"},
		{(void **)&disable, "cuptiActivityDisable"},
		{(void **)&flush, "cuptiActivityFlushAll"},
		{(void **)&next, "cuptiActivityGetNextRecord"},
		{(void **)&result_text, "cuptiGetResultString"},
	};
	library = fg_open_library(names_of_it, "CUPTI (`pip install nvidia-cuda-cupti`, or CUDA's own)", functions,
	                          (int)std::size(functions));
	if (!library) return FG_UNSUPPORTED;
	fg_status status = check(use_clock(clock_ns), "setting its clock");
	if (!status) status = check(use_buffers(give_buffer, take_buffer), "setting its buffers");
	if (status) library = nullptr; /* for another try; CUPTI must not be closed */
	return status;
}

/* All kinds, or on failure none. */
fg_status Recorder::set_enabled(bool on) {
	fg_status status = FG_OK;
	for (CUpti_ActivityKind kind : KINDS) {
		if (on && !status) status = check(enable(kind), "beginning to record");
		else disable(kind);
	}
	if (status) set_enabled(false);
	return status;
}

const char *Recorder::name_of(const char *mangled) {
	const std::string key = mangled ? mangled : "a kernel";
	auto at = names.find(key);
	if (at == names.end()) at = names.emplace(key, short_name(key.c_str())).first;
	return at->second.c_str();
}

void Recorder::add(uint32_t device, uint32_t call, const fg_activity &activity) {
	const auto at = sessions.find(device);
	if (at == sessions.end()) return;
	Session &s = at->second;
	if (s.records.size() < s.limit) s.records.push_back({activity, call});
	else s.dropped++;
}

void Recorder::take(const uint8_t *buffer, size_t bytes) {
	CUpti_Activity *record = nullptr;
	while (next((uint8_t *)buffer, bytes, &record) == CUPTI_SUCCESS) {
		switch (record->kind) {
		case CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL: {
			const Kernel *k = (const Kernel *)record;
			add(k->deviceId, k->correlationId, {name_of(k->name), k->start, k->end, 0, 0, k->streamId});
			break;
		}
		case CUPTI_ACTIVITY_KIND_MEMCPY: {
			const Copy *c = (const Copy *)record;
			add(c->deviceId, c->correlationId, {copy_name(c->copyKind), c->start, c->end, 0, c->bytes, c->streamId});
			break;
		}
		case CUPTI_ACTIVITY_KIND_MEMSET: {
			const Set *s = (const Set *)record;
			add(s->deviceId, s->correlationId, {"memset", s->start, s->end, 0, s->bytes, s->streamId});
			break;
		}
		case CUPTI_ACTIVITY_KIND_RUNTIME:
		case CUPTI_ACTIVITY_KIND_DRIVER: {
			/* A call of the runtime and the driver's inside of it have one number. */
			const CUpti_ActivityAPI *a = (const CUpti_ActivityAPI *)record;
			if (calls.size() >= 2 * FG_TRACE_EVENTS) break;
			uint64_t &start = calls.emplace(a->correlationId, a->start).first->second;
			start = std::min(start, a->start);
			break;
		}
		default: break;
		}
	}
}

} // namespace

fg_status Watch::start(int32_t of, size_t limit) {
	Recorder &r = Recorder::get();
	const std::lock_guard switching(r.switching);
	std::unique_lock lock(r.mutex);
	if (r.sessions.count((uint32_t)of))
		return fg_fail(FG_UNSUPPORTED, "another engine's trace is recording device %d", of);
	fg_status status = r.open();
	if (status) return status;
	const bool first = r.sessions.empty();
	r.sessions[(uint32_t)of] = {limit, 0, {}};
	lock.unlock(); /* CUPTI may hand buffers over meanwhile */
	if (first) status = r.set_enabled(true);
	lock.lock();
	if (status) r.sessions.erase((uint32_t)of);
	else device = of;
	return status;
}

fg_activities Watch::stop() {
	if (device < 0) return {};
	Recorder &r = Recorder::get();
	const std::lock_guard switching(r.switching);
	r.flush(0);
	std::unique_lock lock(r.mutex);
	const auto at = r.sessions.find((uint32_t)device);
	const Session session = std::move(at->second);
	/* It has ended, also where there is no memory for what it has found. */
	r.sessions.erase(at);
	device = -1;
	found.clear();
	size_t dropped = session.dropped;
	const fg_status status = guarded([&] {
		found.reserve(session.records.size());
		for (const Record &record : session.records) {
			const auto call = r.calls.find(record.call);
			found.push_back(record.activity);
			found.back().called = call == r.calls.end() ? 0 : call->second;
		}
		return FG_OK;
	});
	if (status) dropped += session.records.size();
	const bool last = r.sessions.empty();
	if (last) r.calls.clear();
	lock.unlock(); /* CUPTI may hand buffers over meanwhile */
	if (last) r.set_enabled(false);
	return {found.data(), found.size(), dropped};
}

void Watch::forget() {
	stop();
	found = {};
}

} // namespace fg
