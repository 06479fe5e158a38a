/*
 * libraries.h - finds NVIDIA's libraries at run time, so that the executable starts on machines that have none.
 */
#ifndef FG_LIBRARIES_H
#define FG_LIBRARIES_H

#ifdef __cplusplus
extern "C" {
#endif

/* A function that a library must have, and where its address goes. */
typedef struct {
	void **address;
	const char *name;
} fg_function;

/* Opens a library by one of its file names (best first, NULL-terminated) and looks up its functions. Searches, in this
 * order: FASTGEN_CUDA_LIBS (folders separated by colons), the loader's own path, CUDA_HOME/lib64, lib
 * and extras/CUPTI/lib64, the same of /usr/local/cuda, and the nvidia folder of the Python environment (VIRTUAL_ENV,
 * CONDA_PREFIX, then the system's). NULL when there is no such library or it lacks a function: fg_error's text then
 * says to install `what`. */
void *fg_open_library(const char *const *names, const char *what, const fg_function *functions, int n_functions);

#ifdef __cplusplus
}
#endif

#endif
