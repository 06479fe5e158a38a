/*
 * placement.cuh - where weights.cu puts every matrix of a rank, in which format, and the parts that it is loaded from.
 */
#ifndef FG_PLACEMENT_CUH
#define FG_PLACEMENT_CUH

#include "context.cuh"

extern "C" {
#include "../engine.h"
}

#include <cstring>
#include <vector>

namespace fg {

constexpr size_t ALIGN = 256; /* bytes of a matrix, and floats of its scales */

/* A rank's shard of a tensor. */
struct Shard {
	int32_t rows, cols, first_row, first_col;
	int32_t all_cols; /* of the tensor */
	int32_t ranks;    /* that the tensor is split over */

	static Shard of(const Context *c, fg_role role) {
		Shard s = {};
		fg_role_dims(&c->base.config->shape, role, &s.rows, &s.cols);
		s.all_cols = s.cols, s.ranks = c->ranks.count();
		const int32_t rank = c->base.rank;
		switch (role) {
		case FG_Q:
		case FG_K:
		case FG_V:
		case FG_Q_BIAS:
		case FG_K_BIAS:
		case FG_V_BIAS:
		case FG_GATE:
		case FG_UP: s.rows /= s.ranks, s.first_row = rank * s.rows; break;
		case FG_O:
		case FG_DOWN: s.cols /= s.ranks, s.first_col = rank * s.cols; break;
		default: s.ranks = 1;
		}
		return s;
	}
	size_t elements() const {
		return (size_t)rows * (size_t)cols;
	}
	size_t first() const { /* index in the tensor of the shard's first element */
		return (size_t)first_row * (size_t)all_cols + (size_t)first_col;
	}
	bool whole_rows() const {
		return cols == all_cols;
	}
};

struct Part {
	fg_role role;
	int32_t layer;
	char *to; /* [rows][cols]: bf16 if plain, else e4m3 */
	Shard shard;
	Scaling scaling;
	size_t scale; /* index of the part's first in Placer::scales */

	size_t element() const {
		return scaling == Scaling::PLAIN ? sizeof(bf16) : sizeof(fp8);
	}
};

/* Rows of block scales of `rows` rows of a matrix. */
inline int32_t scale_rows(int32_t rows) {
	return (rows + SCALE_BLOCK - 1) / SCALE_BLOCK;
}

/* Places every matrix in one block of memory, in the order of the checkpoint's layers, with all scales behind them, and
 * lists the parts that it is loaded from. With `base` NULL it only measures. */
struct Placer {
	Context *c;
	const fg_tensor_table *table; /* NULL: random */
	char *base;
	size_t used = 0;     /* bytes of matrices */
	size_t scales = 0;   /* floats */
	size_t matrices = 0; /* bytes of all of them, once they have been measured */
	std::vector<Part> parts = {};

	/* The checkpoint's scheme. Where no product takes its weights, a plain one: they are then widened as they load.
	 * Where the device does not multiply FP8 so, one with plain inputs. */
	fg_scheme scheme(int32_t layer, std::initializer_list<fg_role> roles) const {
		fg_scheme s = fg_table_scheme(table, c->base.config, layer, (int32_t)roles.size(), std::data(roles));
		constexpr int32_t ALIGNED = 16; /* elements: TMA, and cuBLASLt */
		bool fits = true;
		int32_t rows = 0;
		for (fg_role role : roles) {
			const Shard shard = Shard::of(c, role);
			/* A block must not be in two parts, nor in two shards. */
			const int32_t blocks = rows | shard.first_row | shard.first_col;
			if (s.scaling == FG_BLOCKS && blocks % SCALE_BLOCK) fits = false;
			rows += shard.rows;
			if (rows % ALIGNED || shard.cols % ALIGNED || shard.cols > QUANTISE_MOST) fits = false;
		}
		if (!fits || s.scaling == FG_PLAIN) return {FG_PLAIN, 0, 0};
		if (c->gemm.fp8_way(c->arch, (Scaling)s.scaling) != Fp8Way::WIDENED) return s;
		return {s.scaling == FG_ROWS ? FG_WIDE_ROWS : FG_WIDE_BLOCKS, 0, 0};
	}

	void matrix(fg_matrix *m, int32_t layer, std::initializer_list<fg_role> roles) {
		memset(m, 0, sizeof *m);
		used = (used + ALIGN - 1) / ALIGN * ALIGN;
		m->scheme = scheme(layer, roles);
		const Scaling scaling = scaling_of_w((Scaling)m->scheme.scaling);
		m->n_parts = 1;
		m->part[0].data = base ? base + used : nullptr;
		m->part[0].dtype = scaling == Scaling::PLAIN ? FG_BF16 : FG_FP8_E4M3;
		const size_t first_scale = scales;
		for (fg_role role : roles) {
			const Part part = {role, layer, base + used, Shard::of(c, role), scaling, scales};
			if (base) parts.push_back(part);
			m->rows += part.shard.rows, m->cols = part.shard.cols;
			used += part.shard.elements() * part.element();
			if (scaling == Scaling::ROWS) scales += (size_t)part.shard.rows;
			if (scaling == Scaling::BLOCKS) scales += (size_t)scale_rows(part.shard.rows) * block_scale_stride(m->cols);
		}
		scales = (scales + ALIGN - 1) / ALIGN * ALIGN;
		m->part[0].rows = m->rows;
		if (scaling != Scaling::PLAIN) m->part[0].scale = of_base(first_scale);
	}

	void all() {
		fg_weights &w = c->base.weights;
		const fg_shape &s = c->base.config->shape;
		matrices = used, used = scales = 0;
		matrix(&w.embed, 0, {FG_EMBED});
		for (int32_t i = 0; i < s.n_layers; i++) {
			matrix(&w.layers[i].qkv, i, {FG_Q, FG_K, FG_V});
			matrix(&w.layers[i].o, i, {FG_O});
			matrix(&w.layers[i].gate_up, i, {FG_GATE, FG_UP});
			matrix(&w.layers[i].down, i, {FG_DOWN});
		}
		if (s.tied_embeddings) w.lm_head = w.embed;
		else matrix(&w.lm_head, 0, {FG_LM_HEAD});
	}

	/* After all(). */
	size_t bytes() const {
		return (used + ALIGN - 1) / ALIGN * ALIGN + scales * sizeof(float);
	}
	float *of_base(size_t scale) const {
		return base ? (float *)(base + (matrices + ALIGN - 1) / ALIGN * ALIGN) + scale : nullptr;
	}
};

} // namespace fg

#endif
