/* See libraries.h. */
#include "libraries.h"
#include "../error.h"

#include <dlfcn.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *try(const char *folder, const char *name) {
	char path[4096];
	int n = snprintf(path, sizeof path, "%s/%s", folder, name);
	return n > 0 && (size_t)n < sizeof path ? dlopen(path, RTLD_NOW | RTLD_LOCAL) : NULL;
}

static void *try_list(const char *folders, const char *name) {
	for (const char *at = folders; at && *at;) {
		size_t n = strcspn(at, ":");
		char folder[4096];
		snprintf(folder, sizeof folder, "%.*s", (int)n, at);
		void *library = n ? try(folder, name) : NULL;
		if (library) return library;
		at += n + (at[n] == ':');
	}
	return NULL;
}

/* Tries the folders that a shell would expand root + pattern to. */
static void *try_glob(const char *root, const char *pattern, const char *name) {
	if (!root || !*root) return NULL;
	char full[4096];
	snprintf(full, sizeof full, "%s%s", root, pattern);
	glob_t found;
	void *library = NULL;
	if (glob(full, 0, NULL, &found) == 0) {
		for (size_t i = 0; i < found.gl_pathc && !library; i++) library = try(found.gl_pathv[i], name);
		globfree(&found);
	}
	return library;
}

static void *find(const char *name) {
	void *library = try_list(getenv("FASTGEN_CUDA_LIBS"), name);
	if (!library) library = dlopen(name, RTLD_NOW | RTLD_LOCAL);
	const char *home = getenv("CUDA_HOME");
	if (!library && home) library = try_glob(home, "/lib64", name);
	if (!library && home) library = try_glob(home, "/lib", name);
	if (!library && home) library = try_glob(home, "/extras/CUPTI/lib64", name);
	if (!library) library = try("/usr/local/cuda/lib64", name);
	if (!library) library = try("/usr/local/cuda/extras/CUPTI/lib64", name);
	static const char *const environments[] = {"VIRTUAL_ENV", "CONDA_PREFIX"};
	static const char *const patterns[] = {"/lib/python3*/site-packages/nvidia/*/lib",
	                                       "/lib/python3*/dist-packages/nvidia/*/lib"};
	for (size_t p = 0; p < 2 && !library; p++) {
		for (size_t e = 0; e < 2 && !library; e++) library = try_glob(getenv(environments[e]), patterns[p], name);
		if (!library) library = try_glob("/usr/local", patterns[p], name);
		if (!library) library = try_glob("/usr", patterns[p], name);
	}
	return library;
}

void *fg_open_library(const char *const *names, const char *what, const fg_function *functions, int n_functions) {
	void *library = NULL;
	for (const char *const *name = names; *name && !library; name++) library = find(*name);
	if (!library) {
		fg_fail(
			FG_UNSUPPORTED,
			"%s was not found. Install %s, and set FASTGEN_CUDA_LIBS to the folder that holds it, unless that is one "
			"of the system's, CUDA_HOME's or a Python environment's",
			names[0], what);
		return NULL;
	}
	for (int i = 0; i < n_functions; i++) {
		*functions[i].address = dlsym(library, functions[i].name);
		if (*functions[i].address) continue;
		fg_fail(FG_UNSUPPORTED, "the %s that was found lacks %s; install %s", names[0], functions[i].name, what);
		dlclose(library);
		return NULL;
	}
	return library;
}
