/*
 * load.c - the table of tensors that fg_load is given, checked against the shape.
 */
#include "engine.h"
#include "numeric.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static const char *const names[FG_ROLES] = {
	"embed",  "final_norm", "lm_head", "attn_norm", "q",        "k",    "v",  "o",    "q_bias",
	"k_bias", "v_bias",     "q_norm",  "k_norm",    "mlp_norm", "gate", "up", "down",
};

const char *fg_role_name(char *text, fg_role role, int32_t layer) {
	if (role < FG_ATTN_NORM) snprintf(text, 64, "%s", names[role]);
	else snprintf(text, 64, "%s of layer %d", names[role], layer);
	return text;
}

void fg_role_dims(const fg_shape *s, fg_role role, int32_t *rows, int32_t *cols) {
	int32_t q = s->n_heads * s->head_dim, kv = s->n_kv_heads * s->head_dim;
	int32_t hidden = s->hidden_size, inter = s->intermediate_size;
	*cols = 1;
	switch (role) {
	case FG_EMBED: *rows = s->vocab_size, *cols = hidden; return;
	case FG_LM_HEAD: *rows = s->tied_embeddings ? 0 : s->vocab_size, *cols = hidden; return;
	case FG_FINAL_NORM:
	case FG_ATTN_NORM:
	case FG_MLP_NORM: *rows = hidden; return;
	case FG_Q: *rows = q, *cols = hidden; return;
	case FG_K:
	case FG_V: *rows = kv, *cols = hidden; return;
	case FG_O: *rows = hidden, *cols = q; return;
	case FG_Q_BIAS: *rows = s->qkv_bias ? q : 0; return;
	case FG_K_BIAS:
	case FG_V_BIAS: *rows = s->qkv_bias ? kv : 0; return;
	case FG_Q_NORM:
	case FG_K_NORM: *rows = s->qk_norm ? s->head_dim : 0; return;
	case FG_GATE:
	case FG_UP: *rows = inter, *cols = hidden; return;
	case FG_DOWN: *rows = hidden, *cols = inter; return;
	case FG_ROLES: break;
	}
	*rows = 0;
}

uint64_t fg_random_bytes(const fg_config *config) {
	uint64_t bytes = 0;
	for (int32_t layer = 0; layer < config->shape.n_layers; layer++) {
		for (int32_t role = layer ? FG_ATTN_NORM : 0; role < FG_ROLES; role++) {
			int32_t rows, cols;
			fg_role_dims(&config->shape, (fg_role)role, &rows, &cols);
			int32_t dtype = cols == 1 ? FG_F32 : config->options.compute_dtype;
			bytes += (uint64_t)rows * (uint64_t)cols * (uint64_t)fg_dtype_bytes(dtype);
		}
	}
	return bytes;
}

static fg_status add_file(fg_tensor_table *table, fg_file file, int32_t *index) {
	fg_file *files = realloc(table->files, (size_t)(table->n_files + 1) * sizeof *files);
	if (!files) return fg_fail(FG_OUT_OF_MEMORY, "no memory for the tensor table");
	table->files = files;
	files[table->n_files] = file;
	*index = table->n_files++;
	return FG_OK;
}

static fg_status find_file(fg_tensor_table *table, const char *path, int32_t *index) {
	for (int32_t i = table->n_files - 1; i >= 0; i--) { /* tensors of one file come together */
		if (table->files[i].path && !strcmp(table->files[i].path, path)) {
			*index = i;
			return FG_OK;
		}
	}
	struct stat st;
	if (stat(path, &st)) return fg_fail(FG_IO, "cannot read %s: %s", path, strerror(errno));
	if (!S_ISREG(st.st_mode)) return fg_fail(FG_IO, "cannot load %s: it is not a regular file", path);
	char *copy = strdup(path);
	if (!copy) return fg_fail(FG_OUT_OF_MEMORY, "no memory for the tensor table");
	fg_status status = add_file(table, (fg_file){.path = copy, .bytes = (uint64_t)st.st_size}, index);
	if (status) free(copy);
	return status;
}

static fg_status find_import(fg_tensor_table *table, const void *handle, int32_t *index) {
	fg_file import = {0};
	for (int32_t i = table->n_files - 1; i >= 0; i--) {
		if (!table->files[i].path && !memcmp(table->files[i].handle, handle, sizeof import.handle)) {
			*index = i;
			return FG_OK;
		}
	}
	memcpy(import.handle, handle, sizeof import.handle);
	return add_file(table, import, index);
}

static int is_matrix(fg_role role) {
	return role == FG_EMBED || role == FG_LM_HEAD || (role >= FG_Q && role <= FG_O) || role >= FG_GATE;
}

static int32_t blocks(int32_t n) {
	return n / FG_SCALE_BLOCK + (n % FG_SCALE_BLOCK != 0);
}

/* Whether an FP8 tensor's scales are those of an FG_ROWS matrix, or of an FG_BLOCKS one. A small tensor's may be both.
 */
static int scaled_by_rows(const fg_tensor *t) {
	return t->scale_cols == 1 && (t->scale_rows == 1 || t->scale_rows == t->rows);
}

static int scaled_by_blocks(const fg_tensor *t) {
	return t->scale_rows == blocks(t->rows) && t->scale_cols == blocks(t->cols) && t->input_scale == 0 &&
	       t->input_bound == 0;
}

static fg_status check_scale(const fg_tensor *t, const char *name) {
	if (t->dtype != FG_FP8_E4M3) {
		if (!t->scale && !t->scale_rows && !t->scale_cols && t->input_scale == 0 && t->input_bound == 0) return FG_OK;
		return fg_fail(FG_INVALID, "%s has scales, which only FP8 tensors have", name);
	}
	if (!is_matrix((fg_role)t->role)) return fg_fail(FG_UNSUPPORTED, "%s is FP8; only matrices may be", name);
	if (!t->scale) return fg_fail(FG_INVALID, "%s is FP8 and has no scale", name);
	if (!(t->input_scale >= 0 && t->input_bound >= 0) || isinf(t->input_scale) || isinf(t->input_bound)) {
		return fg_fail(FG_INVALID, "%s: input_scale is %g and input_bound %g; both must be finite and not negative",
		               name, (double)t->input_scale, (double)t->input_bound);
	}
	if (!scaled_by_rows(t) && !scaled_by_blocks(t)) {
		return fg_fail(
			FG_INVALID,
			"%s has scales [%d][%d]; [1][1], [%d][1], or [%d][%d] with no input_scale or input_bound, is needed", name,
			t->scale_rows, t->scale_cols, t->rows, blocks(t->rows), blocks(t->cols));
	}
	size_t n = (size_t)t->scale_rows * (size_t)t->scale_cols;
	for (size_t i = 0; i < n; i++) {
		if (!(t->scale[i] > 0) || isinf(t->scale[i])) {
			return fg_fail(FG_INVALID, "%s: scale %zu is %g; scales must be finite and above 0", name, i,
			               (double)t->scale[i]);
		}
	}
	return FG_OK;
}

static fg_status check_tensor(fg_tensor_table *table, const fg_config *config, int32_t i) {
	const fg_tensor *t = &table->tensors[i];
	if (t->role < 0 || t->role >= FG_ROLES) {
		return fg_fail(FG_INVALID, "tensor %d has role %d; roles go from 0 to %d", i, t->role, FG_ROLES - 1);
	}
	int32_t n_layers = t->role < FG_ATTN_NORM ? 1 : config->shape.n_layers, rows, cols;
	if (t->layer < 0 || t->layer >= n_layers) {
		return fg_fail(FG_INVALID, "tensor %d is %s of layer %d; there are %d layers", i, names[t->role], t->layer,
		               n_layers);
	}
	char name[64];
	fg_role_name(name, (fg_role)t->role, t->layer);
	if (t->reserved) return fg_fail(FG_INVALID, "%s: reserved is %d; it must be 0", name, t->reserved);
	int32_t *index = &table->index[(size_t)t->layer * FG_ROLES + (size_t)t->role];
	if (*index >= 0) return fg_fail(FG_INVALID, "%s is in the table twice", name);
	*index = i;
	fg_role_dims(&config->shape, (fg_role)t->role, &rows, &cols);
	if (!rows) return fg_fail(FG_INVALID, "%s is in the table, but the shape has no such tensor", name);
	if (t->rows != rows || t->cols != cols) {
		return fg_fail(FG_INVALID, "%s is [%d][%d]; the shape needs [%d][%d]", name, t->rows, t->cols, rows, cols);
	}
	if (t->dtype != FG_F32 && t->dtype != FG_F16 && t->dtype != FG_BF16 && t->dtype != FG_FP8_E4M3) {
		return fg_fail(FG_UNSUPPORTED, "%s has dtype %d; weights are float32, float16, bfloat16 or FP8 (E4M3)", name,
		               t->dtype);
	}
	fg_status status = check_scale(t, name);
	if (status) return status;
	uint64_t bytes = (uint64_t)rows * (uint64_t)cols * (uint64_t)fg_dtype_bytes(t->dtype);
	if (t->bytes != bytes) {
		return fg_fail(FG_INVALID, "%s has %" PRIu64 " bytes; [%d][%d] of its dtype takes %" PRIu64, name, t->bytes,
		               rows, cols, bytes);
	}
	table->bytes += bytes;
	table->file_of[i] = -1;
	int places = (t->path != NULL) + (t->data != NULL) + (t->ipc_handle != NULL);
	if (places != 1) {
		return fg_fail(FG_INVALID, "%s has %d of path, data and ipc_handle; it must have one", name, places);
	}
	if (t->data) return FG_OK;
	if (t->ipc_handle) return find_import(table, t->ipc_handle, &table->file_of[i]);
	status = find_file(table, t->path, &table->file_of[i]);
	if (status) return status;
	const fg_file *file = &table->files[table->file_of[i]];
	if (t->offset > file->bytes || bytes > file->bytes - t->offset) {
		return fg_fail(FG_IO,
		               "%s lies at bytes %" PRIu64 " to %" PRIu64 " of %s, which has only %" PRIu64
		               ": the file is truncated; fetch it again",
		               name, t->offset, t->offset + bytes, file->path, file->bytes);
	}
	return FG_OK;
}

fg_status fg_table_init(fg_tensor_table *table, const fg_config *config, const fg_tensor *tensors, int32_t n_tensors) {
	memset(table, 0, sizeof *table);
	if (!tensors || n_tensors <= 0) return fg_fail(FG_INVALID, "the tensor table is empty");
	size_t n = (size_t)n_tensors, n_index = (size_t)config->shape.n_layers * FG_ROLES;
	table->n_tensors = n_tensors;
	table->tensors = malloc(n * sizeof *tensors);
	table->file_of = malloc(n * sizeof *table->file_of);
	table->index = malloc(n_index * sizeof *table->index);
	if (!table->tensors || !table->file_of || !table->index) {
		return fg_fail(FG_OUT_OF_MEMORY, "no memory for the tensor table");
	}
	memcpy(table->tensors, tensors, n * sizeof *tensors);
	for (size_t i = 0; i < n_index; i++) table->index[i] = -1;
	for (int32_t i = 0; i < n_tensors; i++) {
		fg_status status = check_tensor(table, config, i);
		if (status) return status;
	}
	for (int32_t layer = 0; layer < config->shape.n_layers; layer++) {
		for (int32_t role = layer ? FG_ATTN_NORM : 0; role < FG_ROLES; role++) {
			int32_t rows, cols;
			char name[64];
			fg_role_dims(&config->shape, (fg_role)role, &rows, &cols);
			if (rows && table->index[(size_t)layer * FG_ROLES + (size_t)role] < 0) {
				return fg_fail(FG_INVALID, "%s [%d][%d] is missing from the tensor table",
				               fg_role_name(name, (fg_role)role, layer), rows, cols);
			}
		}
	}
	for (int32_t i = 0; i < n_tensors; i++) { /* the caller's; files[] has copies */
		table->tensors[i].path = NULL, table->tensors[i].ipc_handle = NULL;
	}
	return FG_OK;
}

int fg_table_imports(const fg_tensor_table *table) {
	for (int32_t i = 0; i < table->n_files; i++) {
		if (!table->files[i].path) return 1;
	}
	return 0;
}

fg_status fg_table_match(const fg_config *config, const fg_tensor_table *from, const fg_tensor_table *to) {
	static const struct {
		int32_t n;
		fg_role roles[3];
	} matrices[] = {{3, {FG_Q, FG_K, FG_V}}, {1, {FG_O}}, {2, {FG_GATE, FG_UP}}, {1, {FG_DOWN}}};
	for (int32_t layer = 0; layer < config->shape.n_layers; layer++) {
		for (size_t i = 0; i < sizeof matrices / sizeof *matrices; i++) {
			const fg_role *roles = matrices[i].roles;
			fg_scheme a = fg_table_scheme(from, config, layer, matrices[i].n, roles),
					  b = fg_table_scheme(to, config, layer, matrices[i].n, roles);
			if (a.scaling == b.scaling && a.input_scale == b.input_scale && a.input_bound == b.input_bound) continue;
			char name[64];
			return fg_fail(
				FG_INVALID,
				"%s is scaled otherwise than the weights that were loaded before (plain or FP8, by row or by "
				"block, input_scale, input_bound); load weights of the same format, or open another engine",
				fg_role_name(name, roles[0], layer));
		}
	}
	return FG_OK;
}

void fg_table_free(fg_tensor_table *table) {
	for (int32_t i = 0; i < table->n_files; i++) free(table->files[i].path);
	free(table->files);
	free(table->tensors);
	free(table->file_of);
	free(table->index);
	memset(table, 0, sizeof *table);
}

const fg_tensor *fg_table_find(const fg_tensor_table *table, int32_t layer, fg_role role, const fg_file **file) {
	int32_t i = table->index[(size_t)layer * FG_ROLES + (size_t)role];
	*file = i >= 0 && table->file_of[i] >= 0 ? &table->files[table->file_of[i]] : NULL;
	return i >= 0 ? &table->tensors[i] : NULL;
}

/* Whether the plain parts of a matrix are to be quantised. */
static int quantizes(const fg_config *config, int32_t n, const fg_role *roles) {
	if (config->options.quantization != FG_QUANTIZE_FP8_LARGE) return config->options.quantization == FG_QUANTIZE_FP8;
	int64_t elements = 0;
	for (int32_t i = 0; i < n; i++) {
		int32_t rows, cols;
		fg_role_dims(&config->shape, roles[i], &rows, &cols);
		elements += (int64_t)rows * cols;
	}
	return elements >= FG_FP8_LARGE;
}

fg_scheme fg_table_scheme(const fg_tensor_table *table, const fg_config *config, int32_t layer, int32_t n,
                          const fg_role *roles) {
	int quantize = quantizes(config, n, roles);
	if (roles[0] < FG_ATTN_NORM) return (fg_scheme){.scaling = FG_PLAIN};
	if (!table) return (fg_scheme){.scaling = quantize ? FG_ROWS : FG_PLAIN};
	int32_t by_rows = 0, by_blocks = 0, n_static = 0;
	float input_scale = 0, input_bound = 0;
	for (int32_t i = 0; i < n; i++) {
		const fg_file *file;
		const fg_tensor *t = fg_table_find(table, layer, roles[i], &file);
		int fp8 = t->dtype == FG_FP8_E4M3;
		by_rows += fp8 ? scaled_by_rows(t) : quantize;
		by_blocks += fp8 && scaled_by_blocks(t);
		n_static += t->input_scale > 0;
		if (t->input_scale > input_scale) input_scale = t->input_scale;
		if (t->input_bound > input_bound) input_bound = t->input_bound;
	}
	if (by_rows == n) return (fg_scheme){FG_ROWS, n_static == n ? input_scale : 0, input_bound};
	return (fg_scheme){.scaling = by_blocks == n ? FG_BLOCKS : FG_PLAIN};
}
