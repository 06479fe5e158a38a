/*
 * copies_test.cu - KV pages on their way, on a card that exists on paper (card.h), whose streams run in any order that
 * events allow: pages, host pages and steps must see what they would if all was done in turn. Needs no GPU.
 */
#include "../cuda/context.cuh"
#include "card.hpp"
#include "check.h"

#include <algorithm>
#include <deque>
#include <vector>

using namespace fg;

namespace {

constexpr int32_t PAGES = 12, HOST_PAGES = 6, MOST_COPIES = 24;
constexpr size_t PAGE_BYTES = 4096;

struct Step {
	bool over;
	std::vector<int32_t> written, saved; /* pages that it writes, and host pages that were written with it */
};

size_t choose(size_t n) {
	return (size_t)below((int32_t)n);
}

int *page_at(Context *c, int32_t page) {
	return (int *)(c->kv.data + (size_t)page * PAGE_BYTES);
}
int *host_at(Context *c, int32_t page) {
	return (int *)(c->host_memory.begin() + (size_t)page * PAGE_BYTES);
}

/* A context of pages and streams alone. */
Context *open_pages(void) {
	Context *c = new Context{};
	c->page_bytes = PAGE_BYTES, c->n_pages = PAGES, c->n_host_pages = HOST_PAGES;
	c->kv.data = (char *)calloc(PAGES, PAGE_BYTES);
	CHECK(c->host_memory.start(HOST_PAGES * PAGE_BYTES, PAGE_BYTES, 0), "no host memory");
	c->host_memory.settle();
	cudaStreamCreateWithFlags(&c->stream, cudaStreamNonBlocking);
	CHECK(copies_open(c) == cudaSuccess, "no streams");
	for (int32_t i = 0; i < HOST_PAGES; i++) *host_at(c, i) = 0;
	return c;
}

/* Steps with copies at random, as fastgen.h allows them. `want`, of pages and host pages: what they hold once all that
 * was given before is done. */
struct Rig {
	Context *c = open_pages();
	std::vector<int> page = std::vector<int>(PAGES), host = std::vector<int>(HOST_PAGES);
	std::deque<Step> in_flight;
	int value = 0, wrong = 0;

	bool is_being_written(int32_t p) const {
		return std::any_of(in_flight.begin(), in_flight.end(),
		                   [p](const Step &s) { return std::count(s.written.begin(), s.written.end(), p) > 0; });
	}

	void submit(void) {
		fg_page_copy copies[MOST_COPIES];
		int32_t n_copies = 0;
		std::vector<bool> arrives(PAGES);
		Step &step = in_flight.emplace_back();
		for (int32_t n = below(4) > 0 ? below(MOST_COPIES + 1) : 0; n > 0; n--) {
			const int32_t p = below(PAGES), h = below(HOST_PAGES);
			const int32_t direction = below(2) ? FG_TO_HOST : below(4) ? FG_TO_DEVICE_BESIDE : FG_TO_DEVICE;
			if (direction == FG_TO_HOST) {
				if (is_being_written(p)) continue;
				host[h] = page[p];
				step.saved.push_back(h);
			} else {
				page[p] = host[h];
				arrives[p] = direction == FG_TO_DEVICE_BESIDE;
			}
			copies[n_copies++] = {p, h, direction};
		}
		if (n_copies > 0) copy_pages(&c->base, copies, n_copies);
		await_arrivals(c);
		/* It reads some pages and writes others; not those that arrive beside it. */
		for (int32_t p = 0; p < PAGES; p++) {
			if (arrives[p] || below(3) == 0) continue;
			const int seen = page[p], next = below(2) ? ++value : seen;
			card_enqueue(c->stream, [this, p, seen, next] {
				wrong += *page_at(c, p) != seen;
				*page_at(c, p) = next;
			});
			if (next != seen) step.written.push_back(p);
			page[p] = next;
		}
		card_enqueue(c->stream, [&step] { step.over = true; });
		c->n_steps++;
	}

	/* fg_wait of the oldest step: its host pages can be read then. */
	void wait(void) {
		bool goes_on = true;
		while (goes_on && !in_flight.front().over) goes_on = card_run(choose);
		CHECK(goes_on, "the streams wait for each other");
		const Step step = in_flight.front();
		in_flight.pop_front();
		for (int32_t h : step.saved) {
			const bool again = std::any_of(in_flight.begin(), in_flight.end(), [h](const Step &s) {
				return std::count(s.saved.begin(), s.saved.end(), h) > 0;
			});
			if (!again) wrong += *host_at(c, h) != host[h];
		}
	}

	void close(void) {
		while (!in_flight.empty()) wait();
		while (card_run(choose)) {
		}
		for (int32_t i = 0; i < PAGES; i++) wrong += *page_at(c, i) != page[i];
		card_keep(false);
		copies_close(c);
		c->host_memory.close();
		cudaStreamDestroy(c->stream);
		free(c->kv.data);
		delete c;
	}
};

/* A page goes to a host page that has been read, while another is still on its way from the host: whether it may be
 * there before that one. */
bool goes_first(void) {
	Rig rig;
	const fg_page_copy copies[] = {{0, 0, FG_TO_DEVICE_BESIDE}, {1, 1, FG_TO_DEVICE_BESIDE}, {2, 0, FG_TO_HOST}};
	*host_at(rig.c, 1) = 1, *page_at(rig.c, 2) = 2;
	rig.page = {0, 1, 2}, rig.host = {2, 1};
	rig.page.resize(PAGES), rig.host.resize(HOST_PAGES);
	copy_pages(&rig.c->base, copies, 3);
	while (*page_at(rig.c, 1) != 1 && *host_at(rig.c, 0) != 2 && card_run(choose)) {
	}
	const bool first = *host_at(rig.c, 0) == 2;
	rig.close();
	CHECK(rig.wrong == 0, "%d differences", rig.wrong);
	return first;
}

} // namespace

int main(void) {
	int first = 0;
	for (int i = 0; i < 64; i++) {
		card_keep(true);
		first += goes_first();
	}
	CHECK(first > 0 && first < 64, "of 64 pages that go, %d are there before one that comes", first);
	for (int seed = 1; seed <= 40; seed++) {
		random_state = (uint64_t)seed;
		card_keep(true);
		Rig rig;
		for (int i = 0; i < 200; i++) {
			rig.submit();
			for (int32_t n = below(30); n > 0 && card_run(choose); n--) {
			}
			if (rig.in_flight.size() == FG_STEPS_IN_FLIGHT) rig.wait();
		}
		rig.close();
		CHECK(rig.wrong == 0, "seed %d: %d differences", seed, rig.wrong);
	}
	return report("copies_test");
}
