/*
 * guard.cuh - no exception may leave the library, whose callers are C and JavaScript. What throws here is the C++
 * library: for lack of memory, or of threads.
 */
#ifndef FG_GUARD_CUH
#define FG_GUARD_CUH

extern "C" {
#include "../error.h"
}

#include <exception>
#include <new>

namespace fg {

/* What f returns; FG_OUT_OF_MEMORY or FG_DEVICE, with fg_error's text set, if it throws. */
template <class F> fg_status guarded(F f) {
	try {
		return f();
	} catch (const std::bad_alloc &) {
		return fg_fail(FG_OUT_OF_MEMORY, "the host has no memory left; end other programs, or lower swap_space");
	} catch (const std::exception &e) {
		return fg_fail(FG_DEVICE, "the host refused something that the CUDA library needs: %s", e.what());
	}
}

/* F, guarded: for tables of functions that C calls. */
template <auto F> struct Guard;
template <class... A, fg_status (*F)(A...)> struct Guard<F> {
	static fg_status call(A... arguments) {
		return guarded([&] { return F(arguments...); });
	}
};
template <auto F> constexpr auto guard = Guard<F>::call;

} // namespace fg

#endif
