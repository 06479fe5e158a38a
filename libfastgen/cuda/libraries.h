/*
 * libraries.h - finds NVIDIA's libraries at run time, so that the executable starts on machines that have none.
 */
#ifndef FG_LIBRARIES_H
#define FG_LIBRARIES_H

#ifdef __cplusplus
extern "C" {
#endif

/* A function wanted of a library, and where its address goes. */
typedef struct {
	void **address;
	const char *name;
} fg_function;

/* dlopen of a library by its file names (most wanted first, NULL-terminated), in this order: FASTGEN_CUDA_LIBS (folders
 * separated by colons), the loader's own search, CUDA_HOME/lib64 and lib, /usr/local/cuda/lib64, the nvidia folder of
 * the Python environment (VIRTUAL_ENV, CONDA_PREFIX, then the system's); and the addresses of its functions. NULL when
 * there is none, or it lacks one of them: fg_error's text then says to install `what`. */
void *fg_open_library(const char *const *names, const char *what, const fg_function *functions, int n_functions);

#ifdef __cplusplus
}
#endif

#endif
