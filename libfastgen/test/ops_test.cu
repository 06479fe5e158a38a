/*
 * ops_test.cu - compares every op of the CUDA library's table with its twin in the CPU's: with the same weights, the
 * same step and the same inputs, over random shapes. Tolerances are in compare.cuh. gemm_test.cu tests every kernel
 * that may make a product.
 *
 *   ops_test          everything; exit status 1 on a difference
 *   ops_test quick    a few small shapes, for compute-sanitizer's memcheck
 *   ops_test own      the same without cuBLASLt, for racecheck, under which cuBLASLt's kernels do not run; sm_90
 *
 * It also compares a step that is replayed from a graph with the same step launched op by op. Without a device it says
 * so and passes.
 */
#include "ops_test.cuh"

#include <thread>

/* ---- the ops ---- */

static Values gather_rows(const Values &v, const fg_batch *batch, int32_t first, int32_t m, size_t width) {
	Values out;
	for (int32_t i = first; i < first + m; i++)
		out.insert(out.end(), v.begin() + batch->rows[i].token * width, v.begin() + (batch->rows[i].token + 1) * width);
	return out;
}

static void test_embed(Twins &t) {
	size_t n = (size_t)t.cpu_batch->n_tokens, H = (size_t)t.shape().hidden_size;
	t.residual.poison(n * H);
	t.both([](const fg_ops &ops, fg_ctx *c, fg_batch *b) { ops.embed(c, b, c->buf.residual); });
	compare("embed", t.residual.from_cuda(n * H), t.residual.from_cpu(n * H), Tolerance(n, H));
}

/* Compares x with the CPU's norm of CUDA's rows, so that what those rows have lost is not counted twice. `pick` returns
 * the weight of either side. */
template <class F> static void check_norm(Twins &t, const char *what, const Buffer &in, int32_t n, F pick) {
	size_t H = (size_t)t.shape().hidden_size, all = (size_t)n * H;
	Values rows = in.from_cuda(all), got = t.x.from_cuda(all);
	std::copy(rows.begin(), rows.end(), in.cpu);
	fg_cpu_ops.add_norm(t.cpu, in.cpu, {}, pick(t.cpu), n, &t.cpu->weights.lm_head, t.x.cpu);
	Values want = t.x.from_cpu(all);
	Tolerance tolerance(want, (size_t)n, H);
	/* The terms of the sum of squares have one sign, and its roundings, about H of them, add up like a random walk; the
	 * root, the quotient and the products add a few more. On both sides. */
	for (size_t r = 0; r < (size_t)n; r++)
		tolerance.slack(r, 2 * (8 + std::sqrt((double)H)) * EPS * largest(&want[r * H], H));
	compare(what, got, want, tolerance);
}

static void test_add_norm(Twins &t, int32_t n) {
	size_t all = (size_t)n * (size_t)t.shape().hidden_size;
	Values in = random_values(all, FG_BF16, uniform(0.1f, 4));
	auto weight = [](fg_ctx *c) { return c->weights.layers[0].attn_norm; };
	t.residual.put(in), t.x.poison(all);
	t.both([&](const fg_ops &ops, fg_ctx *c, fg_batch *) {
		ops.add_norm(c, c->buf.residual, {}, weight(c), n, &c->weights.lm_head, c->buf.x);
	});
	compare("add_norm's residual", t.residual.from_cuda(all), in, Tolerance((size_t)n, all / n));
	check_norm(t, "add_norm", t.residual, n, weight);
}

static double largest_row(const fg_matrix &w) {
	double most = 0;
	for (int32_t p = 0; p < w.n_parts; p++)
		for (int32_t r = 0; r < w.part[p].rows; r++) {
			const uint16_t *row = (const uint16_t *)w.part[p].data + (size_t)r * w.cols;
			double squares = 0;
			for (int32_t i = 0; i < w.cols; i++) squares += (double)fg_from_bf16(row[i]) * fg_from_bf16(row[i]);
			most = std::max(most, squares);
		}
	return std::sqrt(most);
}

/* rows_each: rows of the tolerance per row of x. */
static void summation_slack(Tolerance &tolerance, const Values &x, const fg_matrix &w, size_t rows_each = 1) {
	const size_t cols = (size_t)w.cols;
	const double longest = largest_row(w);
	for (size_t r = 0; r < tolerance.rows; r++)
		tolerance.slack(r, summation_loss(&x[r / rows_each * cols], cols, longest));
}

/* x [n][cols] with zeros in place of the columns that other splits of a product sum over. */
static Values split_of(Values x, size_t cols, size_t split, size_t splits) {
	const SplitColumns columns(cols, split, splits);
	for (size_t i = 0; i < x.size(); i++)
		if (i % cols < columns.from || i % cols >= columns.to) x[i] = 0;
	return x;
}

/* Compares a product x * w^T that `run` makes from t.x in `out`. Only logits are not rounded. */
template <class F>
static void test_product(Twins &t, const char *what, const fg_matrix &w, const Buffer &out, int32_t n, F run) {
	Values x = random_values((size_t)n * w.cols, FG_BF16);
	size_t all = (size_t)n * w.rows;
	t.x.put(x), out.poison(all);
	t.both([&](const fg_ops &ops, fg_ctx *c, fg_batch *) { run(ops, c); });
	Values want = out.from_cpu(all);
	Tolerance tolerance =
		out.dtype == FG_BF16 ? Tolerance(want, (size_t)n, (size_t)w.rows) : Tolerance((size_t)n, (size_t)w.rows);
	summation_slack(tolerance, x, w);
	compare(what, out.from_cuda(all), want, tolerance);
}

static void test_linear(Twins &t, int32_t layer, int32_t n) {
	test_product(t, "linear: q, k, v", t.cpu->weights.layers[layer].qkv, t.qkv, n, [&](const fg_ops &ops, fg_ctx *c) {
		ops.linear(c, c->buf.x, &c->weights.layers[layer].qkv, n, c->buf.qkv);
	});
}

static void test_logits(Twins &t, int32_t n) {
	test_product(t, "logits", t.cpu->weights.lm_head, t.logits, n,
	             [&](const fg_ops &ops, fg_ctx *c) { ops.logits(c, c->buf.x, &c->weights.lm_head, n, c->buf.logits); });
}

/* linear_add, and the ops that add what it leaves pending: gather to its output, add_norm to the stream. */
template <class F> static void test_linear_add(Twins &t, const char *what, const Buffer &in, F pick) {
	const fg_batch *b = t.cpu_batch;
	const int32_t n = b->n_tokens, m = std::min(b->n_rows, t.logit_rows), first = b->n_rows - m;
	const size_t H = (size_t)t.shape().hidden_size, all = (size_t)n * H;
	const fg_matrix &w = *pick(t.cpu);
	Values x = random_values((size_t)n * w.cols, FG_BF16), before = random_values(all, FG_BF16);
	in.put(x), t.residual.put(before), t.x.poison(std::max(all, (size_t)m * H)), t.rows.poison((size_t)m * H);
	CUDA(cudaMemset(fg::context(t.cuda)->delta, 0xff, all * sizeof(uint16_t)));
	CUDA(cudaDeviceSynchronize());
	fg_pending on_cpu = {nullptr, 1, 0}, on_cuda = on_cpu;
	fg_cpu_ops.linear_add(t.cpu, in.cpu, &w, n, t.residual.cpu, &on_cpu);
	fg_device_ops.linear_add(t.cuda, in.cuda, pick(t.cuda), n, t.residual.cuda, &on_cuda);
	fg_cpu_ops.all_reduce(t.cpu, t.residual.cpu, n, &on_cpu);
	fg_device_ops.all_reduce(t.cuda, t.residual.cuda, n, &on_cuda);
	CUDA(cudaDeviceSynchronize());
	expect(on_cpu.count == 0, "the CPU leaves nothing pending");
	/* The product, or each split that it is left in, is rounded on its way to the sum (cuBLASLt may do that too), and
	 * then the sum. */
	Values want = t.residual.from_cpu(all), product(all);
	Tolerance tolerance(want, (size_t)n, H);
	summation_slack(tolerance, x, w);
	const size_t splits = std::max<size_t>((size_t)on_cuda.count, 1);
	for (size_t s = 0; s < splits; s++) {
		in.put(split_of(x, (size_t)w.cols, s, splits));
		fg_cpu_ops.linear(t.cpu, in.cpu, &w, n, product.data());
		tolerance += Tolerance(product, (size_t)n, H);
	}
	if (m > 0) {
		fg_cpu_ops.gather(t.cpu, t.cpu_batch, first, m, t.residual.cpu, on_cpu, t.rows.cpu);
		fg_device_ops.gather(t.cuda, t.cuda_batch, first, m, t.residual.cuda, on_cuda, t.rows.cuda);
		CUDA(cudaDeviceSynchronize());
		Tolerance of_rows((size_t)m, H);
		for (int32_t i = 0; i < m; i++) {
			size_t token = (size_t)b->rows[first + i].token;
			of_rows.row[i] = tolerance.row[token];
			std::copy_n(&tolerance.element[token * H], H, &of_rows.element[i * H]);
		}
		compare("gather with a pending product", t.rows.from_cuda((size_t)m * H), gather_rows(want, b, first, m, H),
		        of_rows);
		auto final_norm = [](fg_ctx *c) { return c->weights.final_norm; };
		t.both([&](const fg_ops &ops, fg_ctx *c, fg_batch *) {
			ops.add_norm(c, c->buf.rows, {}, final_norm(c), m, &c->weights.lm_head, c->buf.x);
		});
		check_norm(t, "add_norm of rows", t.rows, m, final_norm);
		t.x.poison(all);
	}
	auto mlp_norm = [](fg_ctx *c) { return c->weights.layers[1].mlp_norm; };
	fg_cpu_ops.add_norm(t.cpu, t.residual.cpu, on_cpu, mlp_norm(t.cpu), n, &t.cpu->weights.lm_head, t.x.cpu);
	fg_device_ops.add_norm(t.cuda, t.residual.cuda, on_cuda, mlp_norm(t.cuda), n, &t.cuda->weights.lm_head, t.x.cuda);
	CUDA(cudaDeviceSynchronize());
	compare(what, t.residual.from_cuda(all), want, tolerance);
	check_norm(t, "add_norm with a pending product", t.residual, n, mlp_norm);
}

/* With nothing pending, gather only copies. */
static void test_gather(Twins &t) {
	const fg_batch *b = t.cpu_batch;
	const size_t H = (size_t)t.shape().hidden_size;
	t.both([](const fg_ops &ops, fg_ctx *c, fg_batch *batch) { ops.embed(c, batch, c->buf.residual); });
	Values residual = t.residual.from_cpu((size_t)b->n_tokens * H);
	for (int32_t first = 0, m; first < b->n_rows; first += m) {
		m = std::min(b->n_rows - first, t.logit_rows);
		t.rows.poison((size_t)m * H);
		t.both([&](const fg_ops &ops, fg_ctx *c, fg_batch *batch) {
			ops.gather(c, batch, first, m, c->buf.residual, {}, c->buf.rows);
		});
		compare("gather", t.rows.from_cuda((size_t)m * H), gather_rows(residual, b, first, m, H),
		        Tolerance((size_t)m, H));
	}
}

static void test_qkv_rope(Twins &t, int32_t layer) {
	const fg_shape &s = t.shape();
	const size_t n = (size_t)t.cpu_batch->n_tokens, D = (size_t)s.head_dim, q_width = (size_t)s.n_heads * D,
				 width = q_width + 2 * (size_t)s.n_kv_heads * D;
	t.qkv.put(random_values(n * width, FG_BF16));
	t.put_pool(std::vector<uint16_t>((size_t)t.n_pages * t.page_values, 0xffff));
	t.both([&](const fg_ops &ops, fg_ctx *c, fg_batch *b) { ops.qkv_rope(c, b, layer, c->buf.qkv); });

	/* Each head is a row. The sum of a norm loses as much as in add_norm. Sine, cosine and the rotation add a few
	 * roundings of both elements of a pair; before the rotation, neither was more than sqrt(2) times the largest
	 * element after it. */
	auto check = [&](const char *what, const Values &got, const Values &want) {
		size_t n_rows = want.size() / D;
		Tolerance tolerance(want, n_rows, D);
		for (size_t r = 0; r < n_rows; r++)
			tolerance.slack(r, 2 * (20 + std::sqrt((double)D)) * EPS * largest(&want[r * D], D));
		compare(what, got, want, tolerance);
	};
	Values got, want, on_cuda = t.qkv.from_cuda(n * width);
	for (size_t i = 0; i < n; i++) {
		got.insert(got.end(), &on_cuda[i * width], &on_cuda[i * width] + q_width);
		want.insert(want.end(), t.qkv.cpu + i * width, t.qkv.cpu + i * width + q_width);
	}
	check("qkv_rope's queries", got, want);

	/* All that either side has written to the pool: where only one has, the other has NaN. */
	std::vector<uint16_t> pool = t.pool_of_cuda(), cpu_pool = t.pool_of_cpu();
	got.clear(), want.clear();
	for (size_t i = 0; i < pool.size(); i += D)
		if (std::any_of(&pool[i], &pool[i] + D, [](uint16_t x) { return x != 0xffff; }) ||
		    std::any_of(&cpu_pool[i], &cpu_pool[i] + D, [](uint16_t x) { return x != 0xffff; }))
			for (size_t d = 0; d < D; d++)
				got.push_back(fg_from_bf16(pool[i + d])), want.push_back(fg_from_bf16(cpu_pool[i + d]));
	expect(want.size() == n * 2 * (size_t)s.n_kv_heads * D, "qkv_rope writes a key and a value of each token and head");
	check("qkv_rope's keys and values", got, want);
}

static void test_attention(Twins &t, const RandomStep &step) {
	const fg_shape &s = t.shape();
	const size_t n = (size_t)t.cpu_batch->n_tokens, D = (size_t)s.head_dim, heads = (size_t)s.n_heads,
				 width = (heads + 2 * (size_t)s.n_kv_heads) * D, all = n * heads * D;
	const double longest_key = fill_pool(t, step);
	Values qkv = random_values(n * width, FG_BF16, below(2) ? 4 : 1), got[2], want[2]; /* 4: peaked weights */
	t.qkv.put(qkv);
	for (int32_t layer = 0; layer < 2; layer++) {
		t.attn.poison(all);
		t.both([&](const fg_ops &ops, fg_ctx *c, fg_batch *b) {
			ops.attention(c, b, layer, c->buf.qkv, &c->weights.layers[layer].o, c->buf.attn);
		});
		got[layer] = t.attn.from_cuda(all), want[layer] = t.attn.from_cpu(all);
	}
	/* Besides the result, CUDA rounds the softmax weights, each by at most 2^-9 of itself. So an element loses at most
	 * 2^-9 of the sum of weight * |value|, which is the CPU's attention over absolute values. The values here are
	 * independent and have mean 0, so on average a row's norm loses at most 2^-9 of itself too. Both are allowed twice
	 * that. */
	for (size_t i = 0; i < (size_t)t.n_pages * t.page_values; i++)
		if (i / (FG_PAGE_TOKENS * D) / (size_t)s.n_kv_heads % 2) t.cpu_pool()[i] &= 0x7fff;
	for (int32_t layer = 0; layer < 2; layer++) {
		fg_cpu_ops.attention(t.cpu, t.cpu_batch, layer, t.qkv.cpu, &t.cpu->weights.layers[layer].o, t.attn.cpu);
		Values absolute = t.attn.from_cpu(all);
		Tolerance tolerance(want[layer], n * heads, D);
		for (size_t r = 0; r < n * heads; r++) {
			for (size_t i = r * D; i < (r + 1) * D; i++) tolerance.element[i] += 2 * 0x1p-9 * absolute[i];
			tolerance.row[r] += 2 * 0x1p-9 * norm(&want[layer][r * D], D);
			/* A weight is the exponential of a score. It changes in proportion to the score's roundings, which are
			 * relative to at most |q| |k| / sqrt(D). */
			double score = norm(&qkv[r / heads * width + r % heads * D], D) * longest_key / std::sqrt((double)D);
			tolerance.slack(r, 8 * EPS * (1 + score) * largest(&absolute[r * D], D));
		}
		compare(s.layer_window[layer] ? "attention in a window" : "attention", got[layer], want[layer], tolerance);
	}
}

static void test_gate_up(Twins &t, int32_t layer, int32_t n) {
	const fg_layer &on_cpu = t.cpu->weights.layers[layer], &on_cuda = t.cuda->weights.layers[layer];
	const fg_matrix &w = on_cpu.gate_up;
	const size_t I = (size_t)t.shape().intermediate_size, H = (size_t)w.cols;
	const Values x = gate_inputs(n, H);
	t.x.put(x), t.gate_up.poison(2 * n * I), t.act.poison(n * I);
	fg_cpu_ops.gate_up(t.cpu, t.x.cpu, &w, n, &on_cpu.down, t.gate_up.cpu, t.act.cpu);
	fg_device_ops.gate_up(t.cuda, t.x.cuda, &on_cuda.gate_up, n, &on_cuda.down, t.gate_up.cuda, t.act.cuda);
	CUDA(cudaDeviceSynchronize());
	Values want = t.act.from_cpu(n * I);
	Tolerance product(2 * (size_t)n, I);
	summation_slack(product, x, w, 2);
	compare("gate_up", t.act.from_cuda(n * I), want,
	        gated_tolerance(t.gate_up.from_cpu(2 * n * I), product, true, want));
}

/* Enqueues the sampling of all rows, from the same logits on both sides; check_samples compares once the step is over.
 */
static Values run_sample(Twins &t) {
	const size_t V = (size_t)t.shape().vocab_size, n = (size_t)t.cpu_batch->n_rows;
	fg::Context *c = fg::context(t.cuda);
	Values all = random_values(n * V, FG_F32, 2);
	CUDA(cudaMemset(c->out, 0x55, n * sizeof(fg::Sampled)));
	for (int32_t first = 0, m; first < (int32_t)n; first += m) {
		m = std::min((int32_t)n - first, t.logit_rows);
		t.logits.put(Values(all.begin() + first * V, all.begin() + (first + m) * V));
		t.both([&](const fg_ops &ops, fg_ctx *ctx, fg_batch *b) { ops.sample(ctx, b, first, m, ctx->buf.logits); });
	}
	return all;
}

static void check_samples(const Twins &t, const Values &logits) {
	const fg_batch *a = t.cpu_batch, *b = t.cuda_batch;
	const size_t V = (size_t)t.shape().vocab_size;
	size_t ids = 0, logprobs = 0, ranks = 0, tops = 0, copied = 0;
	for (int32_t r = 0; r < a->n_rows; r++) {
		const fg_row &row = a->rows[r];
		ids += a->out.ids[r] != b->out.ids[r];
		logprobs += row.n_logprobs >= 0 && !same_logprob(b->out.logprobs[r], a->out.logprobs[r]);
		ranks += row.n_logprobs >= 0 && b->out.ranks[r] != a->out.ranks[r];
		for (int32_t i = 0; i < row.n_logprobs; i++) {
			size_t at = (size_t)r * FG_MAX_LOGPROBS + i;
			tops += a->out.top_ids[at] != b->out.top_ids[at] ||
			        !same_logprob(b->out.top_logprobs[at], a->out.top_logprobs[at]);
		}
		if (row.logits_row < 0) continue;
		/* The logits themselves, or what both libraries make of them, to the bit. */
		const float *cpu_row = a->out.logits + row.logits_row * V, *cuda_row = b->out.logits + row.logits_row * V;
		const bool raw = t.modes[row.slot] == FG_RAW_LOGPROBS || row.target >= 0;
		copied += memcmp(cuda_row, raw ? &logits[r * V] : cpu_row, V * sizeof(float)) != 0;
		copied += raw && memcmp(cpu_row, &logits[r * V], V * sizeof(float)) != 0;
	}
	expect(ids == 0, "sample: ids");
	expect(logprobs == 0, "sample: log probabilities");
	expect(ranks == 0, "sample: ranks");
	expect(tops == 0, "sample: alternatives");
	expect(copied == 0, "sample: copies of the logits");
}

/* The next step's embed reads what the slots sampled last. */
static void test_last_sampled(Twins &t, const RandomStep &before) {
	Array<fg_step_seq> seqs(new fg_step_seq[before.step.n_seqs]);
	fg_step step = {};
	for (int32_t i = before.step.n_seqs - 1; i >= 0; i--) {
		if (!(before.seqs[i].flags & FG_SAMPLE)) continue;
		seqs[step.n_seqs++] = {before.seqs[i].slot, 1, before.seqs[i].context, 0, 0, -1, -1};
	}
	if (step.n_seqs == 0) return;
	std::vector<int32_t> tokens(step.n_seqs, FG_LAST_SAMPLED);
	step.n_tokens = step.n_seqs, step.seqs = seqs.get(), step.tokens = tokens.data();
	t.begin(step);
	test_embed(t);
	t.end();
	t.forget();
}

/* In one list, two pages go to the host and come back in each other's place; and again in the next list, beside the
 * step, so that the host pages are needed before they have been read. */
static void test_copy_pages(Twins &t) {
	std::vector<uint16_t> bits((size_t)t.n_pages * t.page_values);
	for (uint16_t &x : bits) x = (uint16_t)next_random();
	t.put_pool(bits);
	const int32_t from = below(t.n_pages), to = (from + 1 + below(t.n_pages - 1)) % t.n_pages;
	const fg_page_copy copies[] = {
		{from, 1, FG_TO_HOST}, {to, 0, FG_TO_HOST}, {to, 1, FG_TO_DEVICE}, {from, 0, FG_TO_DEVICE}};
	fg_page_copy beside[4];
	for (int i = 0; i < 4; i++) beside[i] = copies[i];
	beside[2].direction = beside[3].direction = FG_TO_DEVICE_BESIDE;
	t.both([&](const fg_ops &ops, fg_ctx *c, fg_batch *) {
		while (ops.host_pages && ops.host_pages(c) < 2) std::this_thread::yield(); /* made in the background */
		ops.copy_pages(c, copies, 4);
		ops.copy_pages(c, beside, 4);
		ops.copy_pages(c, copies, 4);
	});
	std::swap_ranges(&bits[from * t.page_values], &bits[from * t.page_values] + t.page_values,
	                 &bits[to * t.page_values]);
	expect(t.pool_of_cuda() == bits && t.pool_of_cpu() == bits, "copy_pages");
}

static void test_weights(const Twins &t) {
	auto check = [](const char *what, const fg_matrix &a, const fg_matrix &b) {
		std::vector<uint16_t> got((size_t)b.rows * b.cols), want;
		CUDA(cudaMemcpy(got.data(), b.part[0].data, got.size() * sizeof got[0], cudaMemcpyDeviceToHost));
		for (int32_t p = 0; p < a.n_parts; p++) {
			const uint16_t *data = (const uint16_t *)a.part[p].data;
			want.insert(want.end(), data, data + (size_t)a.part[p].rows * a.cols);
		}
		expect(got == want, what);
	};
	const fg_weights &a = t.cpu->weights, &b = t.cuda->weights;
	check("weights: embed", a.embed, b.embed);
	check("weights: lm_head", a.lm_head, b.lm_head);
	for (int32_t i = 0; i < t.shape().n_layers; i++) {
		check("weights: q, k, v", a.layers[i].qkv, b.layers[i].qkv);
		check("weights: o", a.layers[i].o, b.layers[i].o);
		check("weights: gate, up", a.layers[i].gate_up, b.layers[i].gate_up);
		check("weights: down", a.layers[i].down, b.layers[i].down);
	}
}

static void test_step(Twins &t, Kind kind) {
	const std::string shape = shape_text;
	const RandomStep s(t, kind);
	char text[64];
	snprintf(text, sizeof text, ", %s: %d in %d", KIND_NAMES[kind], s.step.n_tokens, s.step.n_seqs);
	shape_text += text;
	t.begin(s.step);
	const int32_t n = s.step.n_tokens, layer = below(2), m = std::min(std::max(t.cpu_batch->n_rows, 1), t.logit_rows);
	test_embed(t);
	test_add_norm(t, n);
	test_linear(t, layer, n);
	test_qkv_rope(t, layer);
	test_attention(t, s);
	test_linear_add(t, "linear_add: o", t.attn, [&](fg_ctx *c) { return &c->weights.layers[layer].o; });
	test_gate_up(t, layer, n);
	test_linear_add(t, "linear_add: down", t.act, [&](fg_ctx *c) { return &c->weights.layers[layer].down; });
	test_gather(t);
	test_logits(t, m);
	const Values logits = run_sample(t);
	t.end();
	check_samples(t, logits);
	t.forget();
	test_last_sampled(t, s);
	shape_text = shape;
}

/* ---- the whole pass, replayed and launched ---- */

struct Sampled {
	std::vector<int32_t> ids;
	Values logprobs;
};

static Sampled run_pass(Twins &t, fg_step step, fg_step_seq *seqs, bool replayed) {
	const fg_shape &s = t.shape();
	fg_ctx *c = t.cuda;
	fg_status status = FG_OK;
	/* Graphs return no logits, so a step that asks for logits is launched op by op. */
	seqs[0].flags = replayed ? FG_SAMPLE : FG_SAMPLE | FG_LOGITS;
	fg_batch *batch = fg_batch_new(&fg_device_ops, &t.config, &step, fg_device_ops.masks(c, 0), &status);
	MUST(status);
	const size_t n = (size_t)step.n_seqs, H = (size_t)s.hidden_size, D = (size_t)s.head_dim;
	t.residual.poison(n * H), t.x.poison(n * H), t.attn.poison(n * s.n_heads * D);
	t.act.poison(n * s.intermediate_size), t.gate_up.poison(2 * n * s.intermediate_size);
	t.qkv.poison(n * (s.n_heads + 2 * s.n_kv_heads) * D);
	CUDA(cudaMemset(fg::context(c)->out, 0x55, n * sizeof(fg::Sampled)));
	CUDA(cudaDeviceSynchronize());
	fg_device_ops.step_begin(c, batch);
	const bool did = fg_device_ops.replay(c, batch);
	if (!did) fg_forward(&fg_device_ops, c, batch, nullptr);
	fg_device_ops.step_end(c, batch);
	MUST(fg_device_ops.step_wait(c, batch));
	expect(did == replayed, "a decoding step is replayed, and one that returns logits is not");
	Sampled out = {{batch->out.ids, batch->out.ids + n}, Values(batch->out.logprobs, batch->out.logprobs + n)};
	fg_batch_free(&fg_device_ops, batch);
	return out;
}

/* Two steps, the second continuing from what the first sampled. */
static void test_replay(Twins &t, int32_t n) {
	RandomStep s(t, DECODES);
	n = std::min(n, s.step.n_seqs);
	fill_pool(t, s);
	s.step.n_seqs = s.step.n_tokens = s.step.n_fills = n, s.step.n_masks = 0;
	for (int32_t i = 0; i < n; i++) {
		s.seqs[i].flags = FG_SAMPLE, s.seqs[i].n_logprobs = 0, s.seqs[i].mask = -1;
		if (s.seqs[i].context % FG_PAGE_TOKENS == 0) s.seqs[i].context--; /* so that the page has room for a token */
	}
	fg_step next = {};
	Array<fg_step_seq> seqs(new fg_step_seq[n]);
	const std::vector<int32_t> tokens(n, FG_LAST_SAMPLED);
	for (int32_t i = 0; i < n; i++) seqs[i] = s.seqs[i], seqs[i].context++;
	next.n_seqs = next.n_tokens = n, next.seqs = seqs.get(), next.tokens = tokens.data();
	Sampled first[2], second[2];
	for (int replayed = 0; replayed < 2; replayed++) {
		first[replayed] = run_pass(t, s.step, s.seqs.get(), replayed);
		second[replayed] = run_pass(t, next, seqs.get(), replayed);
	}
	expect(first[0].ids == first[1].ids && second[0].ids == second[1].ids, "replayed: ids");
	/* The same kernels run, whatever the padding, so the bits are the same. */
	expect(first[0].logprobs == first[1].logprobs && second[0].logprobs == second[1].logprobs,
	       "replayed: log probabilities");
	for (int32_t id : second[0].ids) expect(id >= 0 && id < t.shape().vocab_size, "replayed: an id of the vocabulary");
}

/* ---- shapes ---- */

struct Size {
	int32_t head_dim, group, kv_heads, hidden, intermediate, vocab, max_seqs, max_step_tokens, n_pages;
};

static void test_shape(const Size &z) {
	static const int32_t device = 0, windows[] = {1, 7, 64, 65, 100, 200};
	const int32_t window[2] = {below(3) ? 0 : windows[below(6)], windows[below(6)]};
	float inv_freq[64];
	for (int32_t i = 0; i < z.head_dim / 2; i++) inv_freq[i] = std::pow(10000.0f, -2.0f * (float)i / (float)z.head_dim);
	fg_shape s = {};
	s.n_layers = 2, s.hidden_size = z.hidden, s.n_heads = z.group * z.kv_heads, s.n_kv_heads = z.kv_heads;
	s.head_dim = z.head_dim, s.intermediate_size = z.intermediate, s.vocab_size = z.vocab;
	s.qkv_bias = below(2), s.qk_norm = below(2), s.tied_embeddings = below(2);
	s.rms_norm_eps = 1e-5f, s.rope_scale = below(2) ? 1 : 1.25f;
	s.rope_inv_freq = inv_freq, s.layer_window = window;
	fg_options o = {};
	const uint64_t page = (uint64_t)4 * z.kv_heads * FG_PAGE_TOKENS * z.head_dim * sizeof(uint16_t);
	o.devices = &device, o.n_devices = 1, o.max_seqs = z.max_seqs, o.max_step_tokens = z.max_step_tokens;
	o.max_context = std::min(700, (z.n_pages - 1) * FG_PAGE_TOKENS), o.compute_dtype = o.kv_dtype = FG_BF16;
	o.kv_bytes = page * z.n_pages, o.host_kv_bytes = 2 * page, o.memory_utilization = 0.5;

	char text[256];
	snprintf(
		text, sizeof text,
		"head_dim %d, %d x %d heads, hidden %d, intermediate %d, vocab %d, windows %d %d, bias %d, norm %d, tied %d",
		z.head_dim, z.kv_heads, z.group, z.hidden, z.intermediate, z.vocab, window[0], window[1], s.qkv_bias, s.qk_norm,
		s.tied_embeddings);
	shape_text = text;
	Twins t(s, o, next_random());
	test_weights(t);
	test_copy_pages(t);
	for (int kind = 0; kind < KINDS; kind++) test_step(t, (Kind)kind);
	for (int32_t n : {1, 3, z.max_seqs}) test_replay(t, n);
	t.both([](const fg_ops &ops, fg_ctx *c, fg_batch *) {
		const uint64_t from = ops.mark(c), to = ops.mark(c);
		expect(ops.mark_ns(c, from) <= ops.mark_ns(c, to), "marks");
	});
}

int main(int argc, char **argv) {
	if (no_device("ops")) return 0;
	/* Without a home there is no file of choices. So products are timed anew, what is tested does not depend on an
	 * older run, and no choice for these odd sizes stays in the user's cache. */
	unsetenv("XDG_CACHE_HOME"), unsetenv("HOME");
	random_state = 1;
	const bool own = argc > 1 && !strcmp(argv[1], "own");
	fg::try_cublaslt = !own;
	if (own || (argc > 1 && !strcmp(argv[1], "quick"))) {
		for (const Size &z : {Size{32, 3, 1, 40, 24, 67, 4, 20, 8}, Size{64, 2, 2, 72, 136, 100, 3, 12, 8},
		                      Size{128, 8, 1, 64, 48, 129, 4, 20, 8}})
			test_shape(z);
	} else {
		for (int32_t head_dim : {32, 64, 128})
			for (int32_t group : {1, 2, 3, 4, 5, 6, 7, 8, 16}) {
				const int32_t max_seqs = 4 + below(40);
				test_shape({head_dim, group, 1 + below(group > 4 ? 2 : 4), 8 * (5 + below(60)), 8 * (3 + below(80)),
				            20 + below(2000), max_seqs, max_seqs + below(300), 64});
			}
		/* Rows wider than a block, also with an odd number of 16-byte pieces. */
		for (int32_t width : {2056, 4104, 8200, 16384}) test_shape({64, 2, 1, width, 88, 100 + below(100), 4, 12, 8});
		test_shape({128, 4, 1, 96, 6008, 32000, 8, 40, 16});
		/* Products of many tiles, each long enough to be shared by several blocks. */
		test_shape({128, 4, 2, 1032, 1160, 777, 300, 320, 64});
		/* Products of more tiles than there are multiprocessors: whole ones, then halves. */
		test_shape({128, 8, 8, 264, 9000, 17000, 300, 320, 64});
	}
	printf("ops: %d passed, %d failed\n", passed, failed);
	return failed > 0;
}
