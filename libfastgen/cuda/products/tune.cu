/* See tune.cuh. */
#include "../context.cuh"
#include "tune.cuh"

extern "C" {
#include "../../forward.h"
}

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <sys/stat.h>
#include <unistd.h>

namespace fg {

namespace {

/* Products of this many tokens or more are limited by the power that the device may draw. A short trial of a product
 * alone says too little about that, so its fastest candidates are timed again within a layer, on a loaded device. */
constexpr int32_t MANY_TOKENS = 1024;

/* ---- the file of choices ---- */

const char *before_algorithm(Method method) {
	return method == Method::UNSCALED ? "unscaled:" : method == Method::WIDENED ? "widened:" : "";
}

/* A choice as the file has it: "gemv:INDEX" or "w8a16:INDEX", "sm90:" and the cut's name, or the bytes of cuBLASLt's
 * algorithm in hexadecimal, behind what is done besides. */
std::string text(const GemmChoice &choice) {
	if (choice.method == Method::GEMV) return "gemv:" + std::to_string(choice.shape);
	if (choice.method == Method::W8A16) return "w8a16:" + std::to_string(choice.shape);
	if (choice.method == Method::SM90) return "sm90:" + choice.cut.name();
	std::string bytes = before_algorithm(choice.method);
	for (size_t i = 0; i < sizeof choice.algorithm; i++) {
		char hex[3];
		snprintf(hex, sizeof hex, "%02x", ((const uint8_t *)&choice.algorithm)[i]);
		bytes += hex;
	}
	return bytes;
}

/* ${XDG_CACHE_HOME:-~/.cache}/fastgen, which is made if missing. Empty if neither variable is set. */
std::string cache_folder() {
	const char *xdg = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
	std::string folder = xdg && *xdg ? xdg : home && *home ? std::string(home) + "/.cache" : "";
	if (folder.empty()) return folder;
	mkdir(folder.c_str(), 0755);
	folder += "/fastgen";
	mkdir(folder.c_str(), 0755);
	return folder;
}

/* A file with one line per choice: rows cols n output scaling choice. */
class ChoiceFile {
  public:
	/* Reads the file, if there is one. A line that cannot be read is skipped; its choice is made anew. */
	ChoiceFile(std::string device, size_t version) {
		for (char &c : device)
			if (!isalnum((unsigned char)c)) c = '-';
		const std::string folder = cache_folder();
		if (!folder.empty()) path = folder + "/products-" + device + "-" + std::to_string(version) + ".txt";
		FILE *f = path.empty() ? nullptr : fopen(path.c_str(), "r");
		char line[512], choice[256];
		GemmKey key;
		int32_t output, scaling;
		while (f && fgets(line, sizeof line, f))
			if (sscanf(line, "%d %d %d %d %d %255s", &key.rows, &key.cols, &key.n, &output, &scaling, choice) == 6)
				key.output = (Output)output, key.scaling = (Scaling)scaling, choices[key] = choice;
		if (f) fclose(f);
	}

	/* NULL if the file holds none. */
	const std::string *find(const GemmKey &key) const {
		auto found = choices.find(key);
		return found == choices.end() ? nullptr : &found->second;
	}

	void set(const GemmKey &key, const GemmChoice &choice) {
		choices[key] = text(choice), changed = true;
	}

	/* A failure to write is no error: the next start makes the choices anew. */
	void save() const {
		if (!changed || path.empty()) return;
		const std::string part =
			path + "." + std::to_string(getpid()) + "-" + std::to_string((uintptr_t)this) + ".part";
		FILE *f = fopen(part.c_str(), "w");
		if (!f) return;
		for (auto &[key, choice] : choices)
			fprintf(f, "%d %d %d %d %d %s\n", key.rows, key.cols, key.n, (int32_t)key.output, (int32_t)key.scaling,
			        choice.c_str());
		if (fclose(f) == 0) rename(part.c_str(), path.c_str());
	}

  private:
	std::string path; /* empty: nothing is remembered */
	std::map<GemmKey, std::string> choices;
	bool changed = false;
};

/* ---- candidates ---- */

std::vector<Sm90Cut> cuts(const Context *c, const GemmKey &key) {
	if (c->arch != 90 || c->gemm.cublaslt_method(key) != Method::CUBLASLT) return {};
	/* Where power is the limit, the bytes that a cut brings in say more than a short trial. */
	return gemm_sm90_cuts(key.rows, key.n, key.scaling, key.output, key.n >= MANY_TOKENS ? 1.03 : 1.15);
}

/* How many ways gemv, or gemm_w8a16 can make the product. */
int gemv_shapes(const GemmKey &key) {
	if (key.scaling != scaling_of_w(key.scaling)) return 0;
	if (key.scaling == Scaling::PLAIN) return key.n <= GEMV_MOST ? GEMV_SHAPES_COUNT : 0;
	return key.n <= GEMV_FP8_MOST && key.output != Output::F32 ? GEMV_FP8_SHAPES_COUNT : 0;
}

int w8a16_shapes(const GemmKey &key) {
	/* For more, widening a matrix once is cheaper than to do so in every tile of tokens. */
	constexpr int32_t MOST = 512;
	return key.scaling != scaling_of_w(key.scaling) && key.n <= MOST ? W8A16_SHAPES_COUNT : 0;
}

/* Reads a line's choice; false if it is not one for this product on this device. */
bool parse(const Context *c, const GemmKey &key, const std::string &line, GemmChoice *choice) {
	if (sscanf(line.c_str(), "gemv:%d", &choice->shape) == 1) {
		choice->method = Method::GEMV;
		return choice->shape >= 0 && choice->shape < gemv_shapes(key);
	}
	if (sscanf(line.c_str(), "w8a16:%d", &choice->shape) == 1) {
		choice->method = Method::W8A16;
		return choice->shape >= 0 && choice->shape < w8a16_shapes(key);
	}
	if (line.starts_with("sm90:")) {
		choice->method = Method::SM90;
		for (const Sm90Cut &cut : cuts(c, key)) {
			choice->cut = cut;
			if (line == text(*choice)) return true;
		}
		return false;
	}
	choice->method = c->gemm.cublaslt_method(key);
	const std::string before = before_algorithm(choice->method);
	if (!line.starts_with(before) || line.size() != before.size() + 2 * sizeof choice->algorithm) return false;
	for (size_t i = 0; i < sizeof choice->algorithm; i++) {
		unsigned byte = 0;
		if (sscanf(line.c_str() + before.size() + 2 * i, "%2x", &byte) != 1) return false;
		((uint8_t *)&choice->algorithm)[i] = (uint8_t)byte;
	}
	return c->gemm.cublaslt().has(c->gemm.lt_product(key), choice->algorithm);
}

std::vector<GemmChoice> candidates(const Context *c, const GemmKey &key) {
	std::vector<GemmChoice> all;
	/* With cuBLASLt, SiLU·mul takes another pass. Where our own tiles come out even, that pass costs more time than a
	 * faster product can save. In FP8 either takes a pass, which quantises. */
	const bool own_is_better = c->arch == 90 && key.scaling == Scaling::PLAIN && key.output == Output::SILU_MUL &&
	                           key.n > GEMV_MOST && gemm_sm90_even(key.n);
	if (try_cublaslt && !own_is_better) {
		constexpr int MOST = 16;
		cublasLtMatmulAlgo_t found[MOST];
		/* Splits must not be rounded to bf16 before they are added up. */
		const uint32_t reductions = CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE;
		const int n = c->gemm.cublaslt().suggest(c->gemm.lt_product(key), reductions, found, MOST);
		for (int i = 0; i < n; i++) all.push_back({c->gemm.cublaslt_method(key), found[i], 0, {}});
	}
	for (int shape = 0; shape < gemv_shapes(key); shape++) all.push_back({Method::GEMV, {}, shape, {}});
	for (int shape = 0; shape < w8a16_shapes(key); shape++) all.push_back({Method::W8A16, {}, shape, {}});
	for (const Sm90Cut &cut : cuts(c, key)) all.push_back({Method::SM90, {}, 0, cut});
	return all;
}

/* ---- timing ---- */

/* What candidates are timed on. y and scratch are overwritten. Weights are used in turn, as a step uses them, so that
 * none is in the L2 cache. */
struct Trial {
	void *x;
	std::vector<const fg_matrix *> w; /* of the layers that make such a product */
	LinearInput y;                    /* as the next: as Gemm::run's */
	void *scratch;
};

struct Timed {
	GemmChoice choice;
	float ms; /* INFINITY: it does not work */
};

void sort_by_time(std::vector<Timed> *timed) {
	std::stable_sort(timed->begin(), timed->end(), [](const Timed &a, const Timed &b) { return a.ms < b.ms; });
}

class Timer {
  public:
	explicit Timer(Context *c) : c(c), products_only(fg_device_ops) {
		note(c, cudaEventCreate(&from), "creating an event");
		note(c, cudaEventCreate(&to), "creating an event");
		/* Attention takes the same time whichever kernels make the products. all_reduce would wait for other ranks. */
		products_only.qkv_rope = [](fg_ctx *, const fg_batch *, int32_t, void *) {};
		products_only.attention = [](fg_ctx *, const fg_batch *, int32_t, const void *, const fg_matrix *, void *) {};
		products_only.all_reduce = [](fg_ctx *, void *, int32_t, fg_pending *) {};
	}
	~Timer() {
		cudaEventDestroy(from), cudaEventDestroy(to);
	}
	Timer(const Timer &) = delete;

	/* Milliseconds per call, of several calls in a row: as in a step, a call begins while the one before it ends. */
	float call(const GemmKey &key, const GemmChoice &choice, const Trial &trial, int calls) {
		bool works = true;
		const float ms = enqueued([&] {
			for (int i = 0; i < calls && works; i++) {
				const fg_matrix &w = *trial.w[turn++ % trial.w.size()];
				works =
					c->gemm.run(key, choice, operands(c, trial.x, w), trial.y, trial.scratch, c->stream) == cudaSuccess;
			}
		});
		if (!works) {
			cudaGetLastError(); /* a refused launch must not show up in the next check */
			return INFINITY;
		}
		/* The next norm reads what is pending from the L2 cache, at about this speed. */
		constexpr double BYTES_PER_MS = 3e9;
		const int pending = key.output == Output::SPLITS ? choice.splits() : 0;
		return ms / (float)calls + (float)((double)pending * key.n * key.rows * sizeof(bf16) / BYTES_PER_MS);
	}

	/* Milliseconds of `count` layers of n tokens, without their attention. */
	float layers(int32_t n, int count) {
		fg_batch batch = {};
		batch.n_tokens = n;
		fg_pending pending = {};
		return enqueued([&] {
			for (int i = 0; i < count; i++)
				fg_forward_layer(&products_only, &c->base, &batch, i % c->base.config->shape.n_layers, &pending,
				                 nullptr);
		});
	}

  private:
	/* Milliseconds of what f enqueues; INFINITY when the device fails, which is noted. */
	template <class F> float enqueued(F f) {
		note(c, cudaEventRecord(from, c->stream), "recording an event");
		f();
		note(c, cudaEventRecord(to, c->stream), "recording an event");
		note(c, cudaEventSynchronize(to), "timing products");
		float ms = INFINITY;
		if (!c->failure) cudaEventElapsedTime(&ms, from, to);
		return ms;
	}

	Context *c;
	fg_ops products_only;
	cudaEvent_t from = nullptr, to = nullptr;
	size_t turn = 0; /* index, without bound, of the next weights */
};

/* ---- choosing ---- */

/* The fastest of the candidates that work, best first. Each is timed over a few calls. The best are timed again, in
 * turn over several rounds, so that all of them run at the same clock. */
std::vector<Timed> fastest(Timer *timer, const GemmKey &key, const Trial &trial, const std::vector<GemmChoice> &all) {
	constexpr int TRIALS = 2, ROUNDS = 3, CALLS = 3;
	constexpr size_t FINALISTS = 5;
	std::vector<Timed> timed;
	for (const GemmChoice &choice : all) {
		timer->call(key, choice, trial, 1); /* the first call loads the kernel */
		timed.push_back({choice, timer->call(key, choice, trial, TRIALS)});
	}
	std::erase_if(timed, [](const Timed &t) { return t.ms == INFINITY; });
	sort_by_time(&timed);
	if (key.n >= MANY_TOKENS) return timed;
	timed.resize(std::min(timed.size(), FINALISTS));
	for (Timed &t : timed) t.ms = 0;
	for (int round = 0; round < ROUNDS; round++)
		for (Timed &t : timed) t.ms += timer->call(key, t.choice, trial, CALLS);
	sort_by_time(&timed);
	return timed;
}

/* Fills a product's input with numbers that look like activations: zeros would take less power. */
fg_status fill_input(const Context *c, const GemmKey &key, void *x) {
	const uint64_t n = c->most_tokens() * (uint64_t)key.cols;
	cudaError_t error;
	if (scaling_of_x(key.scaling) == Scaling::PLAIN) {
		error = fill_random((bf16 *)x, n, (uint64_t)key.cols, 1, c->stream);
	} else {
		error = fill_random((fp8 *)x, n, (uint64_t)key.cols, FP8_MOST, c->stream);
		/* Scales of 0.0029: values of about 1. */
		if (error == cudaSuccess) error = cudaMemsetAsync((char *)x + n, 0x3b, n, c->stream);
	}
	return error == cudaSuccess ? FG_OK : cuda_fail(error, "filling activations");
}

struct Tuner {
	Context *c;
	ChoiceFile file;
	Timer timer;
	bool settled = false; /* the device has been loaded until its clock was what its power sustains */

	explicit Tuner(Context *c) : c(c), file(c->name, c->gemm.cublaslt().version()), timer(c) {
	}

	void choose(const GemmKey &key, const GemmChoice &choice) {
		c->gemm.choose(key, choice);
		file.set(key, choice);
	}

	/* Chooses for one product. *rivals: the fastest, best first, if they should be timed within a layer too. */
	fg_status tune(const GemmKey &key, const Trial &trial, std::vector<Timed> *rivals) {
		constexpr size_t RIVALS = 3;
		rivals->clear();
		if (c->gemm.has_chosen(key)) return FG_OK;
		fg_status status = c->gemm.add(key);
		if (status) return status;
		GemmChoice recalled = {};
		const std::string *line = file.find(key);
		if (line && parse(c, key, *line, &recalled)) {
			c->gemm.choose(key, recalled);
			return FG_OK;
		}
		const std::vector<GemmChoice> all = candidates(c, key);
		if (all.size() == 1 || (!try_cublaslt && !all.empty())) {
			choose(key, all[0]);
			return FG_OK;
		}
		if ((status = fill_input(c, key, trial.x))) return status;
		std::vector<Timed> best = fastest(&timer, key, trial, all);
		if (c->failure) return failure_of(c);
		if (best.empty())
			return fg_fail(FG_UNSUPPORTED, "there is no product of [%d][%d] with [%d][%d]^T", key.n, key.cols, key.rows,
			               key.cols);
		choose(key, best[0].choice);
		best.resize(std::min(best.size(), RIVALS));
		if (key.n >= MANY_TOKENS) *rivals = best;
		return FG_OK;
	}

	/* Chooses again, among a product's rivals, by the time of whole layers under load. */
	void tune_in_layer(const GemmKey &key, std::vector<Timed> rivals) {
		constexpr int TOKENS = 8192, ROUNDS = 3; /* a round has as many layers as make TOKENS tokens */
		constexpr float SETTLED_MS = 500;
		const int count = std::max(1, TOKENS / key.n);
		if (rivals.size() < 2) return;
		for (float ms = 0; !settled && ms < SETTLED_MS;) ms += timer.layers(key.n, count);
		settled = true;
		for (Timed &rival : rivals) rival.ms = 0;
		for (int round = 0; round < ROUNDS; round++)
			for (Timed &rival : rivals) {
				c->gemm.choose(key, rival.choice);
				rival.ms += timer.layers(key.n, count);
			}
		sort_by_time(&rivals);
		choose(key, rivals[0].choice);
	}
};

/* Tunes the products of a layer, for n tokens. */
fg_status tune_layer(Tuner *tuner, int32_t n) {
	Context *c = tuner->c;
	const fg_buffers &b = c->base.buf;
	/* Each of several ranks makes one term of a sum of o's and down's products. */
	const bool alone = c->ranks.count() == 1;
	const Output sum_output = alone ? Output::SPLITS : Output::BF16;
	void *sum = alone ? b.residual : c->delta;
	/* The slowest first: the others are then timed beside its choice. */
	const struct {
		const fg_matrix &(*of)(const fg_layer &);
		Output output;
		void *x, *y, *scratch;
	} products[] = {
		{[](const fg_layer &l) -> const fg_matrix & { return l.gate_up; }, Output::SILU_MUL, b.x, b.act, b.gate_up},
		{[](const fg_layer &l) -> const fg_matrix & { return l.down; }, sum_output, b.act, sum, c->delta},
		{[](const fg_layer &l) -> const fg_matrix & { return l.qkv; }, Output::BF16, b.x, b.qkv, nullptr},
		{[](const fg_layer &l) -> const fg_matrix & { return l.o; }, sum_output, b.attn, sum, c->delta}};
	std::vector<std::pair<GemmKey, std::vector<Timed>>> contests;
	for (const auto &p : products) {
		/* Some layers may be quantised and others not. */
		std::map<Scaling, Trial> trials;
		for (int32_t i = 0; i < c->base.config->shape.n_layers; i++) {
			const fg_layer &l = c->base.weights.layers[i];
			const fg_matrix &w = p.of(l);
			Trial &trial = trials[(Scaling)w.scheme.scaling];
			trial.x = p.x, trial.scratch = p.scratch, trial.w.push_back(&w);
			trial.y = p.output == Output::SILU_MUL ? linear_input(c, p.y, l.down, n) : LinearInput{p.y};
		}
		for (const auto &[scaling, trial] : trials) {
			const GemmKey key = {trial.w[0]->rows, trial.w[0]->cols, n, p.output, scaling};
			std::vector<Timed> rivals;
			fg_status status = tuner->tune(key, trial, &rivals);
			if (status) return status;
			contests.push_back({key, rivals});
		}
	}
	for (const auto &[key, rivals] : contests) tuner->tune_in_layer(key, rivals);
	return failure_of(c);
}

} // namespace

fg_status tune_products(Context *c) {
	const fg_matrix &lm_head = c->base.weights.lm_head;
	const fg_buffers &b = c->base.buf;
	fg_status status = FG_OK;
	Tuner tuner(c);
	std::vector<int32_t> sizes = Gemm::buckets(c->base.config->options.max_step_tokens);
	std::reverse(sizes.begin(), sizes.end()); /* large sizes follow each other, so that the device settles only once */
	for (int32_t n : sizes)
		if (!status) status = tune_layer(&tuner, n);
	std::vector<Timed> none;
	for (int32_t n : Gemm::buckets(b.logit_rows))
		if (!status)
			status = tuner.tune({lm_head.rows, lm_head.cols, n, Output::F32, Scaling::PLAIN},
			                    {b.x, {&lm_head}, LinearInput{b.logits}, nullptr}, &none);
	if (!status) tuner.file.save();
	return status;
}

} // namespace fg
